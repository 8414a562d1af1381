"""The control socket: HTTP over a Unix socket, JSON. The terminal and the one-shot commands are its only clients.

Whoever may open the socket (the service's group) may ask (GET). Changing something (POST) needs the maintenance lock.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from conference import unix_socket
from drivers.http import web
from edge_agent import diagnosis, point, restart, status
from edge_agent.changes import change_routes
from edge_agent.status import worse
from edge_agent.text import LANGUAGES, texts
from edge_agent.uplink import uplinks

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from edge_agent.app import App

log = logging.getLogger("edge.control")

MOST_BODY = 512 << 10
"""Bytes of a question; a configuration has 256 KiB at most."""
RARE = {
    "edge_agent.bench_routes": (
        "GET /modbus/plan",
        "GET /modbus/read",
        "GET /modbus/scan",
        "GET /modbus/line",
        "GET /modbus/watch",
    ),
    "edge_agent.write_routes": ("GET /modbus/writable", "POST /modbus/write"),
    "edge_agent.journal_routes": (
        "POST /journal/resend",
        "POST /journal/release",
        "POST /journal/drop",
        "POST /journal/import",
    ),
    "edge_agent.meeting_routes": ("GET /meeting", "POST /meeting/restart"),
    "edge_agent.net_routes": ("GET /net",),
}
"""What somebody at the box asks, by the module that answers, which is imported then: memory and start are for all."""


@asynccontextmanager
async def serve(app: App) -> AsyncIterator[None]:
    """Answer questions while the block runs. Raises OSError where the socket cannot be made."""
    runner = web.AppRunner(_application(app), access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    async with unix_socket.served(runner, app.config.control):
        yield


def _application(app: App) -> web.Application:
    application = web.Application(client_max_size=MOST_BODY)
    application.add_routes([*_questions(app), *_details(app), *change_routes(app)])
    application.add_routes(restart.routes(app))
    for module, ways in RARE.items():
        application.add_routes(_later(app, module, ways))
    return application


def _later(app: App, module: str, ways: Iterable[str]) -> list[web.RouteDef]:
    """The routes of a module that is imported when the first of them is asked for."""

    @cache
    def handlers() -> dict[str, Handler]:
        return {f"{route.method} {route.path}": route.handler for route in import_module(module).routes(app)}

    def handler(way: str) -> Handler:
        async def asked(request: web.Request) -> web.StreamResponse:
            return await handlers()[way](request)

        return asked

    return [web.route(method, path, handler(f"{method} {path}")) for method, path in map(str.split, ways)]


def _questions(app: App) -> list[web.RouteDef]:
    async def of_status(_: web.Request) -> web.Response:
        return answer(await status.status(app))

    async def of_points(_: web.Request) -> web.Response:
        return answer(app.board.points())

    async def of_journal(_: web.Request) -> web.Response:
        return answer(await status.journal_stat(app))

    async def of_ledger(request: web.Request) -> web.Response:
        since = _number(request, "since", "hours since 1970, a whole number")
        try:
            return answer(await status.ledger(app, since))
        except sqlite3.Error as error:
            from edge_agent.journal_routes import failed

            raise failed(app, error) from None

    async def of_findings(request: web.Request) -> web.Response:
        language = request.query.get("language", "")
        text = texts(language) if language in LANGUAGES else app.text
        found = await diagnosis.findings(app, text)
        now = await status.status(app)
        return answer(diagnosis.summed(found, worse(now.verdict, found), text))

    return [
        web.get("/status", of_status),
        web.get("/points", of_points),
        web.get("/journal", of_journal),
        web.get("/ledger", of_ledger),
        web.get("/findings", of_findings),
    ]


def _details(app: App) -> list[web.RouteDef]:
    async def of_point(request: web.Request) -> web.Response:
        found = point.detail(app, request.match_info["point"])
        if found is None:
            raise web.HTTPNotFound(text=app.text("point.unknown", point=request.match_info["point"]))
        return answer(found)

    async def of_trends(_: web.Request) -> web.Response:
        return answer(app.board.trends())

    async def of_box(_: web.Request) -> web.Response:
        box, _certificates = await app.machine.now()
        if box is None:
            raise web.HTTPServiceUnavailable(text=app.text("box.silent", folder=str(app.config.state)))
        return answer(box)

    async def of_uplink(_: web.Request) -> web.Response:
        return answer(await uplinks(app))

    async def of_report(_: web.Request) -> web.Response:
        from edge_agent import report

        return web.Response(body=await report.bundle(app), content_type="application/gzip")

    async def of_log(request: web.Request) -> web.StreamResponse:
        since = _number(request, "since", "a line's number")
        if request.query.get("follow") != "1":
            return answer(app.logbook.since(since))
        return await _follow(app, request, since)

    return [
        web.get("/point/{point:.+}", of_point),
        web.get("/trends", of_trends),
        web.get("/box", of_box),
        web.get("/uplink", of_uplink),
        web.get("/report", of_report),
        web.get("/log", of_log),
    ]


async def _follow(app: App, request: web.Request, number: int) -> web.StreamResponse:
    """One JSON object a line, for ever, until the other end goes."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    while True:
        for line in await app.logbook.wait(number):
            number = max(number, line.number)
            await response.write(msgspec.json.encode(line) + b"\n")


def _number(request: web.Request, name: str, meaning: str) -> int:
    try:
        return int(request.query.get(name, "0"))
    except ValueError:
        raise web.HTTPBadRequest(text=f"{name}: {meaning}") from None


def answer(found: object) -> web.Response:
    """Any Struct, or a list of them, as JSON."""
    return web.Response(body=msgspec.json.encode(found), content_type="application/json")
