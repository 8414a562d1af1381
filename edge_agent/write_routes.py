"""Writing a device's settings over the control socket: the only part of the Modbus tools that changes anything.

Needs the maintenance lock, writes nothing but what the device's profile calls writable, and leaves an audit line
whatever became of it. GET /modbus/writable says what may be written; POST /modbus/write writes, and reads back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from drivers.guests import BusAway
from drivers.profile_form import Setting
from drivers.scan import Progress
from drivers.writing import NotWritten, Writer, Written, role, setting_of
from edge_agent.bench_events import Stopped
from edge_agent.bench_routes import Place, away, check_wait, number, place_of, profiles_of, stream
from edge_agent.changes import Refusal, holder
from edge_agent.maintain import Holder
from edge_agent.write_events import Writable, WriteAsk

if TYPE_CHECKING:
    from edge_agent.app import App


class _Order(msgspec.Struct, frozen=True):
    """Who writes what where."""

    by: Holder
    place: Place
    ask: WriteAsk
    writer: Writer


def routes(app: App) -> list[web.RouteDef]:
    """The two routes."""

    async def of_writable(request: web.Request) -> web.Response:
        place = place_of(app, request.query.get("bus", ""))
        unit = number(request, "unit", 1, 0, 255)
        ask = WriteAsk(place.told.id, unit, profile=request.query.get("profile", ""))
        try:
            return _json([_told(each, app.text.language) for each in await _settings(app, place, ask)])
        except NotWritten as reason:
            return _refused(app, reason)

    async def of_write(request: web.Request) -> web.StreamResponse:
        by = holder(app, request)
        try:
            ask = msgspec.json.decode(await request.read(), type=WriteAsk)
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        check_wait(ask.wait)
        place = place_of(app, ask.bus)
        if ask.unit not in place.told.units:  # 0 would be all of a line's devices at once
            raise web.HTTPBadRequest(text=f"unit: {place.told.units[0]} to {place.told.units[-1]}")
        try:
            settings = await _settings(app, place, ask)
            wanted = setting_of(settings, ask.setting) if ask.address is None else role(settings, "address")
        except NotWritten as reason:
            await app.audit.note(by.name, by.user, "modbus write", _about(ask), reason.what)
            return _refused(app, reason)
        order = _Order(by, place, ask, Writer(place.bus, place.told, ask.unit, wanted, settings))
        if ask.address is not None:
            return await stream(request, place, _readdress(app, order))
        return await _write(app, order)

    return [web.get("/modbus/writable", of_writable), web.post("/modbus/write", of_write)]


async def _settings(app: App, place: Place, ask: WriteAsk) -> tuple[Setting, ...]:
    """What may be written to this unit. Raises NotWritten where its model is not known."""
    configured = next((each for each in place.told.devices if each.unit == ask.unit), None)
    name = configured.profile if configured else ask.profile
    if configured and ask.profile not in ("", name):  # another model's registers may be this one's address
        raise NotWritten("other_profile", unit=ask.unit, device=configured.id, profile=name)
    if not name:
        raise NotWritten("no_profile", unit=ask.unit)
    if name in place.profiles:
        return place.profiles[name].writable
    known = await asyncio.to_thread(profiles_of, app)
    if name not in known:
        raise NotWritten("unknown_profile", profile=name)
    return known[name].writable


def _told(each: Setting, language: str) -> Writable:
    words = each.what.vi if language == "vi" else each.what.en
    return Writable(each.key, each.addr, words, each.unit, each.range, each.enum or {}, each.role or "")


async def _write(app: App, order: _Order) -> web.Response:
    result = "interrupted"
    try:
        written = await order.writer.write(order.ask.value)
        result = _result(written)
        return _json(written)
    except NotWritten as reason:
        result = reason.what
        return _refused(app, reason)
    except BusAway:
        result = "bus away"
        why = away(order.place)
        return _json(Refusal(why.what, app.text(why.what, **why.facts)), 409)
    finally:
        await _note(app, order, "modbus write", result)


async def _readdress(app: App, order: _Order) -> AsyncIterator[Progress | Written | Stopped]:
    result = "interrupted"
    events = order.writer.readdress(order.ask.address or 0, order.ask.wait)
    assert isinstance(events, AsyncGenerator)
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Written):
                    result = _result(event)
                yield event
    except NotWritten as reason:
        result = reason.what
        yield Stopped(f"modbus.write.{reason.what}", reason.facts)
    finally:
        await _note(app, order, "modbus address", result)


async def _note(app: App, order: _Order, action: str, result: str) -> None:
    await app.audit.note(order.by.name, order.by.user, action, _about(order.ask), result)


def _result(written: Written) -> str:
    """`3.0 -> 4.87`, or what is wrong."""
    word = "done" if written.done else f"not confirmed ({written.outcome})"
    return f"{word}: {written.before} -> {written.after}"


def _about(ask: WriteAsk) -> str:
    what = f"address = {ask.address}" if ask.address is not None else f"{ask.setting} = {ask.value:g}"
    return f"{ask.bus} unit {ask.unit} {what}"


def _refused(app: App, reason: NotWritten) -> web.Response:
    return _json(Refusal(reason.what, app.text(f"modbus.write.{reason.what}", **reason.facts)), 409)


def _json(found: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(found), status=status, content_type="application/json")
