"""The part of the control socket that changes something: the maintenance lock, and a configuration on trial.

Every change needs the lock's token in the header `X-Maintain` and leaves an audit line, also when it fails. A refusal
is answered with 409 and a `Refusal`, which has its sentence. A change that has begun runs to its end, audit line
included, although its asker goes meanwhile (Ctrl-C, time-out): `whole`.
"""

from __future__ import annotations

import asyncio
import logging
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from edge_agent.maintain import Busy, Holder, NoLock
from edge_agent.trial import Refused

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from edge_agent.app import App

log = logging.getLogger("edge.control")

HEADER = "X-Maintain"
MOST_NAME = 40


class Refusal(msgspec.Struct, frozen=True):
    """Why a change was not made."""

    what: str
    sentence: str


class Ask(msgspec.Struct, frozen=True):
    """POST /maintain."""

    name: str
    steal: bool = False


def whole(routes: Iterable[web.RouteDef]) -> list[web.RouteDef]:
    """The same routes, where those that change something go on without their asker; a question ends with it."""
    under_way: set[asyncio.Task[web.StreamResponse]] = set()

    def uncut(change: Handler) -> Handler:
        async def made(request: web.Request) -> web.StreamResponse:
            task = asyncio.create_task(_answer(change, request), name=f"{request.method} {request.path}")
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                task.add_done_callback(_unheard)
                raise

        return made

    return [
        route if route.method == "GET" else web.route(route.method, route.path, uncut(route.handler))
        for route in routes
    ]


async def _answer(change: Handler, request: web.Request) -> web.StreamResponse:
    return await change(request)


def _unheard(task: asyncio.Task[web.StreamResponse]) -> None:
    """The asker went before the change was made: the log is told what it would have been told."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, web.HTTPException | ConnectionError):
        log.warning("change not made, asker gone change=%s why=%s", task.get_name(), error)
    elif error:
        log.error("change failed, asker gone change=%s", task.get_name(), exc_info=error)
    else:
        log.warning("change ended after its asker change=%s", task.get_name())


def change_routes(app: App) -> list[web.RouteDef]:
    """Everything that is not a question."""

    async def of_maintain(_: web.Request) -> web.Response:
        return _json(app.lock.now())

    async def of_audit(_: web.Request) -> web.Response:
        return _json(app.audit.newest())

    async def take(request: web.Request) -> web.Response:
        return await _take(app, request)

    async def renew(request: web.Request) -> web.Response:
        holder(app, request)
        return _json(app.lock.now())

    async def free(request: web.Request) -> web.Response:
        app.lock.free(request.headers.get(HEADER, ""))
        return _json(app.lock.now())

    async def again(request: web.Request) -> web.Response:
        by, name = holder(app, request), request.match_info["sink"]
        sink = next((each for each in app.sinks() if each.id == name), None)
        if sink is None:
            raise web.HTTPNotFound(text=app.text("uplink.unknown", sink=name))
        if sink.hurry:
            sink.hurry()
        await app.audit.note(by.name, by.user, "uplink again", name)
        return _json(app.lock.now())

    return whole(
        [
            web.get("/maintain", of_maintain),
            web.get("/audit", of_audit),
            web.post("/maintain", take),
            web.post("/maintain/renew", renew),
            web.delete("/maintain", free),
            web.post("/uplink/{sink}/again", again),
            *_config_routes(app),
        ]
    )


def _config_routes(app: App) -> list[web.RouteDef]:
    async def of_config(_: web.Request) -> web.Response:
        return _json(await app.trial.now())

    async def candidate(request: web.Request) -> web.Response:
        by = holder(app, request)
        text = await request.text()
        try:
            found = await app.trial.propose(text)
        except (Refused, OSError) as error:
            return await _refused(app, by, "config candidate", error)
        await app.audit.note(by.name, by.user, "config candidate", result="usable" if found.usable else "faulty")
        return _json(found)

    async def apply(request: web.Request) -> web.Response:
        by = holder(app, request)
        return await _step(app, by, "config apply", lambda: app.trial.apply(by.name))

    async def confirm(request: web.Request) -> web.Response:
        return await _step(app, holder(app, request), "config confirm", app.trial.confirm)

    async def back(request: web.Request) -> web.Response:
        return await _step(app, holder(app, request), "config back", app.trial.back)

    return [
        web.get("/config", of_config),
        web.post("/config/candidate", candidate),
        web.post("/config/apply", apply),
        web.post("/config/confirm", confirm),
        web.post("/config/back", back),
    ]


async def _step(app: App, by: Holder, action: str, work: Callable[[], Awaitable[None]]) -> web.Response:
    try:
        await work()
    except (Refused, OSError) as error:
        return await _refused(app, by, action, error)
    await app.audit.note(by.name, by.user, action)
    return _json(await app.trial.now())


async def _refused(app: App, by: Holder, action: str, error: Refused | OSError) -> web.Response:
    if isinstance(error, Refused):
        refusal = Refusal(error.what, app.text(f"trial.{error.what}", **error.facts))
    else:
        facts = {"file": error.filename or "", "error": error.strerror or str(error)}
        refusal = Refusal("not_writable", app.text("trial.not_writable", **facts))
    await app.audit.note(by.name, by.user, action, result=refusal.what)
    return _json(refusal, 409)


async def _take(app: App, request: web.Request) -> web.Response:
    try:
        ask = msgspec.json.decode(await request.read(), type=Ask)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    name, user = " ".join(ask.name.split())[:MOST_NAME] or "?", user_of(request)
    try:
        held = app.lock.take(name, user, steal=ask.steal)
    except Busy as busy:
        raise _locked(app, "busy", busy.name) from None
    await app.audit.note(name, user, "maintain", about=held.taken_from)
    if request.transport is None or request.transport.is_closing():
        app.lock.free(held.token)  # nobody has the token
    return _json(held)


def holder(app: App, request: web.Request) -> Holder:
    """Who asks for a change; raises HTTPConflict where that is not the holder of the lock."""
    try:
        return app.lock.check(request.headers.get(HEADER, ""))
    except Busy as busy:
        raise _locked(app, "stolen" if busy.stolen else "busy", busy.name) from None
    except NoLock:
        raise _locked(app, "needed", "") from None


def _locked(app: App, what: str, name: str) -> web.HTTPException:
    refusal = Refusal(what, app.text(f"maintain.{what}", name=name))
    return web.HTTPConflict(text=msgspec.json.encode(refusal).decode(), content_type="application/json")


def user_of(request: web.Request) -> str:
    """The login name of whoever opened the socket, as the kernel tells it (unix(7), SO_PEERCRED)."""
    peer = request.transport.get_extra_info("socket") if request.transport else None
    if peer is None:
        return "?"
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _json(found: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(found), status=status, content_type="application/json")
