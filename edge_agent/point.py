"""One point in every detail: its value, where it comes from, what the device last said, its limits, what went wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from drivers.marked import Loc, Problems
from drivers.marked_tree import Tree, compose, read
from edge_agent.board import Place
from edge_agent.point_now import PointDetail, Wire

if TYPE_CHECKING:
    from drivers.regmap import Raw
    from drivers.unit import Unit
    from edge_agent.app import App
    from edge_agent.config import Config


def detail(app: App, name: str) -> PointDetail | None:
    """A point by its name; None: there is none."""
    place = app.board.find(name)
    shown = next((point for point in app.board.points() if point.point == name), None)
    if place is None or shown is None:
        return None
    quantity = place.source.quantities[place.index]
    own = app.limits(place.source).get(f"{quantity.measurement}.{quantity.field}")
    history = place.history
    return PointDetail(
        point=name,
        device=place.source.device,
        value=shown.value,
        unit=shown.unit,
        quality=shown.quality,
        reason=shown.reason,
        age_s=shown.age_s,
        since=place.since,
        meaning=quantity.meaning,
        source=shown.source,
        low=quantity.low,
        high=quantity.high,
        own_low=own.low if own else None,
        own_high=own.high if own else None,
        recent=history.recent(place.index) if history else [],
        errors=history.errors(place.index) if history else [],
        trend=history.trend(place.index, time.monotonic()) if history else [],
        configured=_configured(app.config, place),
        wire=_wire(app, place),
    )


def _wire(app: App, place: Place) -> Wire | None:
    from drivers.modbus import ModbusBus  # the commands want only the Structs of this module

    buses = [driver for driver in app.drivers() if isinstance(driver, ModbusBus)]
    for bus in buses:
        for unit in bus.units():
            if unit.device.id == place.source.device and (raw := unit.map.raw(place.source, place.index)):
                return _told(app.config, bus.name, unit, raw)
    return None


def _told(config: Config, bus: str, unit: Unit, raw: Raw) -> Wire:
    state, register = unit.state, raw.register
    where = next(each.where for each in config.buses if each.id == bus)
    return Wire(
        bus=bus,
        where=where,
        unit=unit.device.unit,
        profile=unit.device.profile,
        function=raw.block.fc,
        address=register.addr,
        count=register.words,
        type=register.type,
        order=register.order,
        scale=register.scale,
        raw=raw.content.hex(" ", 2).upper(),
        block=f"{raw.block.start} +{raw.block.count}",
        requests_ok=state.ok,
        timeouts=state.timeout,
        garbled=state.garbled + state.short,
        exceptions=state.exception,
        late=state.late,
        last_error=state.last_error,
        last_ok=state.last_ok,
        answer_ms=None if state.median is None else round(1000 * state.median, 1),
        cause=state.cause,
        next_try_s=None if state.next_try is None else round(max(0.0, state.next_try - time.time()), 1),
        traps=[getattr(trap, config.language) for trap in config.used_profiles[unit.device.profile].traps],
    )


def _configured(config: Config, place: Place) -> str:
    """The file may have been changed since it was read: its lines are those that the technician will see in it."""
    try:
        root, _ = compose(read(config.file), str(config.file))
    except Problems:
        return config.file.name
    loc = _loc(config, place)
    return f"{config.file.name}:{Tree(str(config.file), root)(loc)[0]}" if loc else ""


def _loc(config: Config, place: Place) -> Loc:
    for i, bus in enumerate(config.buses):
        for j, device in enumerate(bus.devices):
            if device.id == place.source.device:
                return "buses", i, "devices", j
    if place.source.device == "box":
        return ("box",)
    broker = place.source.origin.split(" ", 1)[0]
    return next((("mqtt", i) for i, each in enumerate(config.mqtt) if each.id == broker), ())
