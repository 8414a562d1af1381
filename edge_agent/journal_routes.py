"""The journal tools over the control socket: each needs the maintenance lock and leaves an audit line."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
from aiohttp import web

from edge_agent import quarantine, redo
from edge_agent.changes import Refusal, holder, whole

if TYPE_CHECKING:
    from edge_agent.app import App


T = TypeVar("T")


class Resend(msgspec.Struct, frozen=True):
    """POST /journal/resend: milliseconds since 1970, both ends included. `so_far`: the answer to the portion before."""

    sink: str
    from_ms: int
    to_ms: int
    so_far: redo.Resending | None = None


class Pick(msgspec.Struct, frozen=True):
    """POST /journal/release and /journal/drop; no ids: all of the sink. `so_far`: as in Resend."""

    sink: str
    ids: list[int] = []
    so_far: quarantine.Handling | None = None


def routes(app: App) -> list[web.RouteDef]:
    """What the tools ask of a running agent."""

    async def of_resend(request: web.Request) -> web.Response:
        ask = await _asked(request, Resend)
        some = partial(redo.resend_some, app.journal, ask.sink, (ask.from_ms, ask.to_ms), ask.so_far)
        return await _done(app, request, ask.sink, some, begins=ask.so_far is None)

    async def of_release(request: web.Request) -> web.Response:
        return await _handled(app, request, "release")

    async def of_drop(request: web.Request) -> web.Response:
        return await _handled(app, request, "drop")

    async def of_import(request: web.Request) -> web.Response:
        text = (await request.read()).decode("utf-8", "replace")
        return await _done(app, request, "", lambda: redo.put_lines(app.journal, text))

    ways = {"resend": of_resend, "release": of_release, "drop": of_drop, "import": of_import}
    return whole(web.post(f"/journal/{way}", handler) for way, handler in ways.items())


async def _handled(app: App, request: web.Request, step: quarantine.Step) -> web.Response:
    ask = await _asked(request, Pick)
    some = partial(quarantine.handle_some, app.journal, step, ask.sink, ask.ids, ask.so_far)
    return await _done(app, request, ask.sink, some, begins=ask.so_far is None)


async def _asked(request: web.Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(text=str(error)) from None


async def _done(
    app: App, request: web.Request, sink: str, work: Callable[[], Awaitable[object]], *, begins: bool = True
) -> web.Response:
    """`begins`: not the next portion of something that has its audit line."""
    by = holder(app, request)
    action = f"journal {request.path.rsplit('/', 1)[-1]}"
    try:
        found = await work()
    except redo.NoSuchSink:
        raise _refused("no_sink", app.text("journal.no_sink", sink=sink)) from None
    except sqlite3.Error as error:
        await app.audit.note(by.name, by.user, action, sink, "failed")
        raise failed(app, error) from None
    if begins:
        await app.audit.note(by.name, by.user, action, sink)
    return web.Response(body=msgspec.json.encode(found), content_type="application/json")


def failed(app: App, error: sqlite3.Error) -> web.HTTPException:
    """The disk is at fault, or what is on it; its alarm says more."""
    return _refused("failed", app.text("journal.tool_failed", error=app.journal.error or str(error)))


def _refused(what: str, sentence: str) -> web.HTTPException:
    refusal = msgspec.json.encode(Refusal(what, sentence)).decode()
    return web.HTTPConflict(text=refusal, content_type="application/json")
