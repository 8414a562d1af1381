"""aiohttp, imported without the system's authorities and types of files, and without a library of C++ for its lists.

aiohttp reads all of them as it is imported, for connections that say nothing of whom they believe: 1.5 MB of memory and
25 ms of every start, where most connections here are sockets of this box or name their own authority. Who speaks TLS to
others gives its own context (`ssl.create_default_context()`); one that forgets to believes nobody.

For files that a server gives away it also reads the system's lists of their types, another 0.4 MB; here none does.

frozenlist holds the few handlers of aiohttp's signals; its compiled form brings libstdc++ along, 1 MB that nothing else
in the agent needs. `FROZENLIST_NO_EXTENSIONS` is its own switch.
"""

from __future__ import annotations

import mimetypes
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

PLAIN = "FROZENLIST_NO_EXTENSIONS"


@contextmanager
def _plain_lists() -> Iterator[None]:
    """frozenlist in Python, unless it is imported already."""
    usual = os.environ.get(PLAIN)
    os.environ[PLAIN] = "1"
    try:
        yield
    finally:
        del os.environ[PLAIN]
        if usual is not None:
            os.environ[PLAIN] = usual


@contextmanager
def _believing_nobody() -> Iterator[None]:
    """Default contexts verify, and hold no authority."""
    usual = ssl.create_default_context
    ssl.create_default_context = partial(ssl.SSLContext, ssl.PROTOCOL_TLS_CLIENT)
    try:
        yield
    finally:
        ssl.create_default_context = usual


@contextmanager
def _knowing_usual_types() -> Iterator[None]:
    """Types of files are those that Python itself knows."""
    usual, mimetypes.knownfiles = mimetypes.knownfiles, []
    try:
        yield
    finally:
        mimetypes.knownfiles = usual


with _believing_nobody(), _plain_lists(), _knowing_usual_types():
    import aiohttp
    from aiohttp import web

__all__ = ["aiohttp", "web"]
