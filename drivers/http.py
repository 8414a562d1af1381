"""aiohttp, imported without reading the system's certificate authorities.

aiohttp reads all of them as it is imported, for connections that say nothing of whom they believe: 1.5 MB of memory and
25 ms of every start, where most connections here are sockets of this box or name their own authority. Who speaks TLS to
others gives its own context (`ssl.create_default_context()`); one that forgets to believes nobody.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def _believing_nobody() -> Iterator[None]:
    """Default contexts verify, and hold no authority."""
    usual = ssl.create_default_context
    ssl.create_default_context = partial(ssl.SSLContext, ssl.PROTOCOL_TLS_CLIENT)
    try:
        yield
    finally:
        ssl.create_default_context = usual


with _believing_nobody():
    import aiohttp
    from aiohttp import web

__all__ = ["aiohttp", "web"]
