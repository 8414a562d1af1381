"""The part of the control socket that climbs the ladders for `edge net`: with the service's own rights and secrets.

GET /net?file=FILE&language=LANGUAGE answers with a line of JSON for each event, as it comes. It is about what runs, so
a file that says otherwise is refused: the command then climbs by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from drivers.marked import Problems
from edge_agent import config as configuration
from edge_agent.changes import Refusal
from edge_agent.text import LANGUAGES, Text, texts

if TYPE_CHECKING:
    from edge_agent.app import App
    from edge_agent.net_show import Event


def routes(app: App) -> list[web.RouteDef]:
    """One climb at a time: a broker sees the same names each time."""
    climbing = asyncio.Lock()

    async def of_net(request: web.Request) -> web.StreamResponse:
        language = request.query.get("language", "")
        text = texts(language) if language in LANGUAGES else app.text
        if not await asyncio.to_thread(_runs, app, request.query.get("file", "")):
            refusal = Refusal("file_changed", text("net.file_changed", file=request.query.get("file", "")))
            return web.Response(body=msgspec.json.encode(refusal), status=409, content_type="application/json")
        async with climbing:
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            async for event in _events(app, text):
                await response.write(msgspec.json.encode(event) + b"\n")
            return response

    return [web.get("/net", of_net)]


def _runs(app: App, file: str) -> bool:
    """What runs is what the file says, or is on trial in its place."""
    if file and file != str(app.config.file.resolve()):
        return False
    if app.trial.left_s > 0:
        return True
    try:
        return configuration.load(app.config.file) == app.config
    except Problems:
        return False


async def _events(app: App, text: Text) -> AsyncIterator[Event]:
    """Of all ladders; the work ends with whoever listens."""
    from edge_agent import net  # only where somebody asks: it brings a broker's client of its own

    told: asyncio.Queue[Event | None] = asyncio.Queue()  # a dozen events for each server: bounded by the configuration

    async def climb() -> None:
        try:
            await net.climb_all(net.targets(app.config, None), text, told.put_nowait)
        finally:
            told.put_nowait(None)

    work = asyncio.create_task(climb(), name="net")
    try:
        while (event := await told.get()) is not None:
            yield event
        await work
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
