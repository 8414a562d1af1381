"""The terminal speaks to a Unix socket on a box with little memory: OpenSSL, which asyncio brings along, stays out."""

from __future__ import annotations

import sys


def without_tls() -> None:
    """Import asyncio and http.client as on a Python that was built without TLS, which both allow for: 4.5 MB less.

    Only the first to be asked in a process; whoever imports `ssl` afterwards gets it.
    """
    if "ssl" in sys.modules or "asyncio" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]  # so that importing it fails (importlib, sys.modules)
    try:
        import asyncio  # noqa: F401
        import http.client  # noqa: F401
    finally:
        del sys.modules["ssl"]
