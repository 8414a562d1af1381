"""The Modbus tools on the control socket; `edge modbus` and the terminal ask here. Long answers are lines of JSON.

GET /modbus/scan, /read, /watch, /line and /plan, each with ?bus=NAME. A line is `{"type": ...}`; an empty
one only says that the work goes on. Work ends as soon as whoever asked has gone away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from drivers import bus_plan, line_test, peek, scan
from drivers.decodings import UnknownUnit, decodings
from drivers.frame_words import Interpreter, Seen
from drivers.frames import Request
from drivers.guests import LONGEST, SHORTEST, BusAway, Frame
from drivers.marked import Problems
from drivers.modbus import ModbusBus
from drivers.profile import Profile, library, read_profile
from drivers.register import BIT_FUNCTIONS
from drivers.settings import Bus
from drivers.writing import Written
from edge_agent.bench_events import Missed, Notice, ReadAnswer, Stopped

if TYPE_CHECKING:
    from edge_agent.app import App

log = logging.getLogger("edge.bench")

MOST_FRAMES = 500
"""Frames that wait for a slow watcher; when full, further ones are counted and left out."""
HEARTBEAT = 1.0
"""Seconds after which a quiet stream carries an empty line, so that a watcher who has left is noticed."""
MOST_DECODINGS = 400
QUIET = "modbus.bus_busy"
"""There is a connection, yet nobody is let in."""


Event = scan.Event | line_test.Asking | line_test.Examined | Seen | Missed | Notice | Stopped | Written


class Place(msgspec.Struct, frozen=True):
    """The bus that a question is about."""

    bus: ModbusBus
    told: Bus
    profiles: Mapping[str, Profile]


def routes(app: App) -> list[web.RouteDef]:
    """What the control socket serves beside its own."""

    async def of_read(request: web.Request) -> web.StreamResponse:
        return await _read(place_of(app, request.query.get("bus", "")), request)

    async def of_scan(request: web.Request) -> web.StreamResponse:
        place = place_of(app, request.query.get("bus", ""))
        wanted = scan_wanted(request, place.told)
        known = await asyncio.to_thread(profiles_of, app) if wanted.models else {}
        return await stream(request, place, scan.scan(place.bus, place.told, wanted, known))

    async def of_line(request: web.Request) -> web.StreamResponse:
        place = place_of(app, request.query.get("bus", ""))
        rounds = number(request, "rounds", line_test.ROUNDS, 1, line_test.MOST_ROUNDS)
        return await stream(request, place, line_test.examine(place.bus, place.told, place.profiles, rounds))

    async def of_watch(request: web.Request) -> web.StreamResponse:
        place = place_of(app, request.query.get("bus", ""))
        return await stream(request, place, _watch(place))

    async def of_plan(request: web.Request) -> web.StreamResponse:
        place = place_of(app, request.query.get("bus", ""))
        return _json(bus_plan.running(place.told, place.bus.units()))

    handlers = {"plan": of_plan, "read": of_read, "scan": of_scan, "line": of_line, "watch": of_watch}
    return [web.get(f"/modbus/{name}", handler) for name, handler in handlers.items()]


# --- questions --------------------------------------------------------------------------------------------------------


def place_of(app: App, name: str) -> Place:
    """The running bus of that name. Raises 404."""
    told = next((bus for bus in app.config.buses if bus.id == name), None)
    running = (driver for driver in app.drivers() if isinstance(driver, ModbusBus) and driver.name == name)
    if told is None or (bus := next(running, None)) is None:
        raise web.HTTPNotFound(text=app.text("modbus.not_in_agent", bus=name))
    used = {device.profile: app.config.used_profiles[device.profile] for device in told.devices}
    return Place(bus, told, used)


def number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query. Raises 400 for what is none, or lies outside."""
    try:
        number = int(request.query.get(name, default))
    except ValueError:
        raise web.HTTPBadRequest(text=f"{name}: a whole number") from None
    if not least <= number <= most:
        raise web.HTTPBadRequest(text=f"{name}: {least} to {most}")
    return number


def scan_wanted(request: web.Request, told: Bus) -> scan.Wanted:
    """What the query asks to scan: lists are separated by commas. Raises 400."""
    query = request.query
    try:
        wanted = scan.Wanted(
            units=tuple(int(word) for word in _list(query.get("units"))) or scan.UNITS,
            bauds=tuple(int(word) for word in _list(query.get("bauds"))),
            framings=tuple(_list(query.get("framings"))),
            functions=tuple(int(word) for word in _list(query.get("functions"))) or (3,),
            wait=float(query["wait"]) if "wait" in query else None,
            models=query.get("models", "1") == "1",
        )
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if not set(wanted.units) <= set(told.units) or not set(wanted.functions) <= {1, 2, 3, 4}:
        raise web.HTTPBadRequest(text=f"units: {told.units[0]} to {told.units[-1]}; functions: 1 to 4")
    check_wait(wanted.wait)
    return wanted


def check_wait(seconds: float | None) -> None:
    """Raises 400 where no answer can be waited for so long."""
    if seconds is not None and not SHORTEST <= seconds <= LONGEST:
        raise web.HTTPBadRequest(text=f"wait: {SHORTEST} to {LONGEST} seconds")


def _list(words: str | None) -> Iterator[str]:
    return (word for word in (words or "").split(",") if word)


def profiles_of(app: App) -> dict[str, Profile]:
    """Every profile that can be read; blocking."""
    found: dict[str, Profile] = {}
    for name, path in library(app.config.profiles).items():
        try:
            found[name] = read_profile(path)
        except Problems as problems:
            log.warning("profile left out profile=%s problems=%d", name, len(problems.problems))
    return found


# --- answers ----------------------------------------------------------------------------------------------------------


async def _read(place: Place, request: web.Request) -> web.Response:
    fc = number(request, "fc", 3, 1, 4)
    addr = number(request, "addr", 0, 0, peek.HIGHEST)
    count = number(request, "count", 1, 1, min(peek.most(fc), peek.HIGHEST + 1 - addr))
    asked = Request(number(request, "unit", 1, 0, 255), fc, addr, count)
    beside = request.query.get("beside") == "1" and fc not in BIT_FUNCTIONS
    try:
        look = await peek.look(place.bus, asked, place.told.timeout, beside)
        unit = request.query.get("unit_of")
        found = decodings(look.words, addr, count, unit)[:MOST_DECODINGS] if beside else []
    except BusAway:
        return _json(away(place))
    except UnknownUnit as unknown:
        return _json(Stopped("modbus.unknown_unit_of", {"unit": str(unknown)}))
    return _json(ReadAnswer(look, found))


async def _watch(place: Place) -> AsyncIterator[Seen | Missed | Notice]:
    """Every frame from now on, and why there is none where the bus is away."""
    interpreter = Interpreter(place.told, place.profiles)
    queue: asyncio.Queue[tuple[Frame, int]] = asyncio.Queue(MOST_FRAMES)
    missed, told = 0, ""

    def listen(frame: Frame) -> None:
        nonlocal missed
        try:
            queue.put_nowait((frame, round((time.time() - time.monotonic() + frame.mono) * 1000)))
        except asyncio.QueueFull:
            missed += 1

    stop = place.bus.tap(listen)
    try:
        while True:
            why = away(place)
            if why.what not in (told, QUIET):
                yield Notice(why.what, why.facts)
            told = why.what
            try:
                frame, stamp = await asyncio.wait_for(queue.get(), HEARTBEAT)
            except TimeoutError:
                continue
            yield interpreter.read(frame, stamp)
            if missed and queue.empty():
                yield Missed(missed)
                missed = 0
    finally:
        stop()


def away(place: Place) -> Stopped:
    """Why the bus answers no guest now."""
    for trouble in place.bus.troubles():
        if trouble.subject == place.bus.name:
            return Stopped(f"trouble.{trouble.what}", {"ago": time.time() - trouble.since, **trouble.facts})
    return Stopped(QUIET, {"bus": place.bus.name})


async def stream(request: web.Request, place: Place, events: AsyncIterator[Event]) -> web.StreamResponse:
    """Each event as a line; the work ends with it, and at once where the reader has gone."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    lines: asyncio.Queue[bytes | None] = asyncio.Queue(1)
    work = asyncio.create_task(_work(place, events, lines), name=f"bench {request.path}")
    try:
        while request.transport and not request.transport.is_closing():
            try:
                line = await asyncio.wait_for(lines.get(), HEARTBEAT)
            except TimeoutError:
                line = b""
            if line is None:
                await response.write_eof()
                break
            await response.write(line + b"\n")
    except ConnectionError:
        log.debug("reader gone path=%s bus=%s", request.path, place.told.id)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    return response


async def _work(place: Place, events: AsyncIterator[Event], lines: asyncio.Queue[bytes | None]) -> None:
    """Put every event into `lines`, and None when there are no more."""
    assert isinstance(events, AsyncGenerator)
    try:
        async with aclosing(events):
            async for event in events:
                await lines.put(msgspec.json.encode(event))
    except BusAway:
        await lines.put(msgspec.json.encode(away(place)))
    except Exception:  # the reader must not wait for what will never come
        log.exception("tool failed bus=%s", place.told.id)
        await lines.put(msgspec.json.encode(Stopped("modbus.tool_failed", {})))
    await lines.put(None)


def _json(answer: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
