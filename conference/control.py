"""The meeting's own socket: /status and /metrics over HTTP on a Unix socket, for the box's other programs and people.

Whoever may open the socket (the service's group) may ask, and may have the service start anew. The page's port answers
the same questions to the box itself only.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import web

from conference import figures, metrics, unix_socket
from conference.guard import Gate
from conference.meetings import Meetings

ANSWERED = 0.2
"""Seconds in which the answer to a restart reaches the one who asked."""


class Figures:
    """Answers of both doors."""

    def __init__(self, meetings: Meetings, gate: Gate) -> None:
        """What they are about."""
        self._meetings = meetings
        self._gate = gate

    async def status(self, _request: web.Request) -> web.Response:
        """Everything, as JSON."""
        found = figures.status(self._meetings, self._gate.refused)
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def metrics(self, _request: web.Request) -> web.Response:
        """The same for Prometheus."""
        text = metrics.prometheus(figures.status(self._meetings, self._gate.refused))
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4"})


async def _restart(_request: web.Request) -> web.Response:
    """End as on SIGTERM; the service manager starts the service again, and without one nothing is ended."""
    if "NOTIFY_SOCKET" not in os.environ:
        raise web.HTTPConflict(text="no service manager would start the meeting again")
    asyncio.get_running_loop().call_later(ANSWERED, signal.raise_signal, signal.SIGTERM)
    return web.Response()


@asynccontextmanager
async def serve(path: Path | None, answers: Figures) -> AsyncIterator[None]:
    """Answer while the block runs. Raises OSError where the socket cannot be made."""
    if path is None:
        yield
        return
    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/status", answers.status), web.get("/metrics", answers.metrics)])
    app.add_routes([web.post("/restart", _restart)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    async with unix_socket.served(runner, path):
        yield
