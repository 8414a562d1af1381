"""What a profile says of a device's values over time: they warm up, and counters wrap or are set back.

Between the checks and the journal, on every reading that has such a rule and on no other. A value is changed only
where the profile asks for a total; then wraps and resets stand in `counters.json` in the state folder, so that the
total goes on after a restart too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from drivers import files
from drivers.counter import Count, Move, Span, count, span
from drivers.profile import PointRule
from drivers.reading import Readings, Reason, Source, Value
from edge_agent.config import Config

log = logging.getLogger("edge.habits")

POWER_GONE = 3000
"""Milliseconds of silence after which a device may have been without power."""
SAVE_EVERY = 60.0
"""Seconds between two writes of totals; a wrap or reset is written at once."""
MOST_SOURCES = 10_000
"""Sources remembered; past it all are prepared anew."""
ASLEEP = (Reason.timeout, Reason.not_connected)

Rules = Callable[[Source], Mapping[int, PointRule]]


class _Counter(msgspec.Struct):
    span: Span
    total: bool
    point: str
    known: Count | None


class _Of(msgspec.Struct):
    """What is remembered of one source."""

    warmups: Mapping[int, float]
    """Milliseconds by index."""
    counters: Mapping[int, _Counter]
    warm_from: int = -(1 << 62)
    """Milliseconds of CLOCK_BOOTTIME."""
    read_at: int = -(1 << 62)
    silent: bool = True


class Habits:
    """Called with readings, gives them back as the profile's rules make them."""

    def __init__(self, rules: Rules, file: Path | None = None) -> None:
        """`rules` of a source by index of its quantities; `file` keeps the totals."""
        self.rules = rules
        self._file = file
        self._kept = _load(file)
        self._known: dict[Source, _Of | None] = {}
        self._before: dict[Source, _Of | None] = {}
        """Before the configuration was read again: a device that ran on is warm."""
        self._changed, self._urgent = False, asyncio.Event()

    def __call__(self, readings: Readings) -> Readings:
        """The readings, those of a warming device marked, totals in place of counters that are to have one."""
        try:
            known = self._known[readings.source]
        except KeyError:
            known = self._prepare(readings.source)
        if known is None:
            return readings
        if all(value is None for value in readings.values):
            known.silent = known.silent or any(readings.reason(i) in ASLEEP for i in range(len(readings.values)))
            return readings
        faults = dict(readings.faults)
        self._warm(known, readings, faults)
        values = self._count(known, readings, faults)
        return msgspec.structs.replace(readings, values=values, faults=faults)

    def adopt(self, rules: Rules) -> None:
        """The configuration was read again; what counters had stays."""
        self.rules = rules
        self._before, self._known = self._known, {}

    def _prepare(self, source: Source) -> _Of | None:
        if len(self._known) >= MOST_SOURCES:
            self._known.clear()
        rules = self.rules(source)
        warmups = {i: rule.warmup * 1000 for i, rule in rules.items() if rule.warmup}
        counters = {i: self._counter(source, i, rule) for i, rule in rules.items() if rule.counter}
        known = _Of(warmups, counters) if warmups or counters else None
        if known and (before := self._before.get(source)):
            known.warm_from, known.read_at, known.silent = before.warm_from, before.read_at, before.silent
        self._known[source] = known
        return known

    def _counter(self, source: Source, index: int, rule: PointRule) -> _Counter:
        assert rule.counter
        counter, point = rule.counter, source.point(index)
        measures = span(counter.wraps_at, rule.scale, counter.biggest_step)
        return _Counter(measures, counter.total, point, self._kept.get(point))

    # --- warm-up ---

    def _warm(self, known: _Of, readings: Readings, faults: dict[int, Reason]) -> None:
        """After power-on, or a silence in which the power may have been gone, values are not yet right."""
        if known.silent and readings.mono - known.read_at >= POWER_GONE:
            known.warm_from = readings.mono
        known.silent, known.read_at = False, readings.mono
        for index, milliseconds in known.warmups.items():
            if readings.mono - known.warm_from < milliseconds and readings.values[index] is not None:
                faults.setdefault(index, Reason.warming_up)

    # --- counters ---

    def _count(self, known: _Of, readings: Readings, faults: dict[int, Reason]) -> tuple[Value | None, ...]:
        if not known.counters:
            return readings.values
        values = list(readings.values)
        for index, counter in known.counters.items():
            number = values[index]
            if isinstance(number, int | float) and index not in readings.faults:
                if self._moved(counter, number) is Move.jump:
                    faults.setdefault(index, Reason.spike_or_step)
                if counter.total and counter.known:
                    values[index] = counter.known.total
        return tuple(values)

    def _moved(self, counter: _Counter, number: float) -> Move:
        if counter.known is None:
            counter.known = Count(number)
            move = Move.on
        else:
            last = counter.known.last
            move = count(counter.known, number, counter.span)
            if move in (Move.reset, Move.back):
                log.warning("counter %s point=%s from=%s to=%s", move.value, counter.point, last, number)
        self._kept[counter.point] = counter.known
        self._changed = self._changed or counter.total
        if counter.total and move not in (Move.on, Move.jump):
            self._urgent.set()
        return move

    # --- the file ---

    async def keep(self) -> None:
        """Write the totals down, for ever: at once after a wrap or reset, else now and then."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._urgent.wait(), SAVE_EVERY)
                self._urgent.clear()
                await asyncio.to_thread(self.save)
        finally:
            self.save()

    def save(self) -> None:
        """Write the totals, whole or not at all. A disk that takes nothing costs no reading."""
        if not self._changed or self._file is None:
            return
        self._changed = False  # before, so that what changes meanwhile is written the next time
        try:
            files.replace(self._file, msgspec.json.encode(self._kept))
        except OSError as error:
            self._changed = True
            log.warning("totals not written file=%s error=%s", self._file, error)


def rules_of(config: Config, source: Source) -> dict[int, PointRule]:
    """What the profile of a source's device says of its values over time, by index."""
    for bus in config.buses:
        for device in bus.devices:
            if device.id == source.device:
                return rules_by_index(source, config.used_profiles[device.profile].rules(device.variant))
    return {}


def rules_by_index(source: Source, rules: Mapping[tuple[str, str], PointRule]) -> dict[int, PointRule]:
    """The rules of a source by index, from those of its device (`profile.Profile.rules`)."""
    src = dict(source.tags).get("src", "")
    names = [(f"{quantity.measurement}.{quantity.field}", src) for quantity in source.quantities]
    return {i: rules[name] for i, name in enumerate(names) if name in rules}


def _load(file: Path | None) -> dict[str, Count]:
    """What was kept; nothing where the file is missing or damaged."""
    return (file and files.read(file, dict[str, Count])) or {}
