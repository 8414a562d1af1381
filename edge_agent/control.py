"""The control socket: HTTP over a Unix socket, JSON. The terminal and the one-shot commands are its only clients.

GET /status, /points, /journal, /ledger?since=HOUR. Whoever may open the socket (the service's group) may ask.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from edge_agent import status

if TYPE_CHECKING:
    from edge_agent.app import App

log = logging.getLogger("edge.control")

MODE = 0o660
"""Owner and group of the service."""


@asynccontextmanager
async def serve(app: App) -> AsyncIterator[None]:
    """Answer questions while the block runs. Raises OSError where the socket cannot be made."""
    path = app.config.control
    listening = _listen(path)
    runner = web.AppRunner(_application(app), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    try:
        yield
    finally:
        await runner.cleanup()
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    """The socket with its mode set before anyone can connect; one left behind is replaced, for the lock is ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(MODE)
    listening.listen(16)
    return listening


def _application(app: App) -> web.Application:
    async def of_status(_: web.Request) -> web.Response:
        return _json(await status.status(app))

    async def of_points(_: web.Request) -> web.Response:
        return _json(app.board.points())

    async def of_journal(_: web.Request) -> web.Response:
        return _json(await status.journal_stat(app))

    async def of_ledger(request: web.Request) -> web.Response:
        try:
            since = int(request.query.get("since", "0"))
        except ValueError:
            raise web.HTTPBadRequest(text="since: hours since 1970, a whole number") from None
        return _json(await status.ledger(app, since))

    application = web.Application(client_max_size=64 << 10)
    application.add_routes(
        [
            web.get("/status", of_status),
            web.get("/points", of_points),
            web.get("/journal", of_journal),
            web.get("/ledger", of_ledger),
        ]
    )
    return application


def _json(answer: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
