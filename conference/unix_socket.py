"""HTTP on a Unix socket that the service's group may open: how the agent and the meeting answer the box's programs."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

MODE = 0o660
"""Owner and group of the service."""


@asynccontextmanager
async def served(runner: web.AppRunner, path: Path) -> AsyncIterator[None]:
    """The application answers while the block runs. Raises OSError where the socket cannot be made."""
    listening = _listen(path)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    try:
        yield
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)  # noqa: ASYNC240  # at the very end, when nothing else waits


def _listen(path: Path) -> socket.socket:
    """The socket with its mode set before anyone can connect; one left behind is replaced.

    Nobody answers on it any more: the service's lock, or its port, is ours.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(MODE)
    listening.listen(16)
    return listening
