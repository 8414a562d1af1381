"""The newest reading of every point, for people: what `edge points` and the terminal show."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import msgspec

from drivers.reading import Quality, Readings, Reason, Source, Value
from edge_agent.history import History

MOST_SOURCES = 5_000
"""Sources shown; past it the one that was silent longest is left out (a flood of MQTT device names)."""
MOST_HISTORIES = 1_000
"""Sources whose last half hour is kept, some 10 kB each; later ones show their newest reading only."""
LINK_EVERY = 60.0
"""As `drivers.link.EVERY`, which brings the settings of all drivers along: the terminal shows points without them."""
LATE_PERIODS = 3
"""A value older than this many periods is stale."""
LEAST_STALE = 10.0
"""Seconds: no value is called stale before."""


class PointNow(msgspec.Struct, frozen=True):
    """What a point shows now (contract: `edge points --json`)."""

    point: str
    value: Value | None
    """The newest value; None: the last attempt brought none."""
    unit: str
    quality: str
    reason: str
    age_s: float | None
    """Seconds since a value came; None: none ever did."""
    source: str


class _Entry:
    __slots__ = ("arrived", "history", "newest", "period", "valued")

    def __init__(self, readings: Readings, history: History | None) -> None:
        self.newest = readings
        self.history = history
        self.arrived = time.monotonic()
        self.valued: float | None = None
        self.period: float | None = None


class Place(msgspec.Struct, frozen=True, eq=False):
    """A point as the board knows it."""

    source: Source
    index: int
    newest: Readings
    history: History | None
    stale: bool

    @property
    def point(self) -> str:
        """Its name."""
        return self.source.point(self.index)

    @property
    def since(self) -> float:
        """Unix seconds from when it has had its present fault; 0: not known, or none."""
        return self.history.since(self.index) if self.history else 0.0


class Board:
    """Newest readings by source."""

    def __init__(self, periods: Mapping[str, float]) -> None:
        """`periods`: seconds between polls by device; of other devices the period is learned."""
        self._periods = periods
        self._entries: dict[Source, _Entry] = {}

    def show(self, readings: Readings) -> None:
        """Take the newest readings of a source."""
        if readings.source.event:
            return
        entry = self._entries.get(readings.source)
        if entry is None:
            entry = self._add(readings)
        now = time.monotonic()
        if now > entry.arrived:
            entry.period = now - entry.arrived
        entry.newest, entry.arrived = readings, now
        if not readings.faults or any(value is not None for value in readings.values):
            entry.valued = now
        if entry.history:
            entry.history.take(readings, now)

    def _add(self, readings: Readings) -> _Entry:
        if len(self._entries) >= MOST_SOURCES:
            del self._entries[min(self._entries, key=lambda source: self._entries[source].arrived)]
        history = History() if len(self._entries) < MOST_HISTORIES else None
        entry = self._entries[readings.source] = _Entry(readings, history)
        return entry

    def set_periods(self, periods: Mapping[str, float]) -> None:
        """After a change of configuration: devices that were polled and no longer are disappear."""
        gone = self._periods.keys() - periods.keys()
        self._entries = {source: entry for source, entry in self._entries.items() if source.device not in gone}
        self._periods = periods

    def points(self) -> list[PointNow]:
        """Every point as it stands now, by name. Sparse messages of one device show each point once, the newest."""
        found: dict[str, tuple[float, PointNow]] = {}
        for entry in self._entries.values():
            for point in self._points(entry):
                if point.point not in found or found[point.point][0] < entry.arrived:
                    found[point.point] = (entry.arrived, point)
        return [point for _, (_, point) in sorted(found.items())]

    def trends(self) -> dict[str, list[float | None]]:
        """The last half hour of every point that is a number, by name."""
        now = time.monotonic()
        found: dict[str, list[float | None]] = {}
        for entry in sorted(self._entries.values(), key=lambda entry: entry.arrived):
            for index, quantity in enumerate(entry.newest.source.quantities):
                if entry.history and quantity.kind in ("float", "int"):
                    found[entry.newest.source.point(index)] = entry.history.trend(index, now)
        return found

    def find(self, point: str) -> Place | None:
        """Where a point's newest reading is; None: there is no such point."""
        for entry in sorted(self._entries.values(), key=lambda entry: -entry.arrived):
            source = entry.newest.source
            for index in range(len(source.quantities)):
                if source.point(index) == point:
                    return Place(source, index, entry.newest, entry.history, self._stale(entry))
        return None

    def wrong(self) -> Iterator[tuple[Place, Reason, float]]:
        """Every point that is not good: where, why, and Unix seconds since when (0: not known)."""
        for entry in self._entries.values():
            stale = self._stale(entry)
            if not stale and not entry.newest.faults:
                continue
            for reading in entry.newest:
                reason = Reason.stale if stale and reading.reason.quality is not Quality.BAD else reading.reason
                if reason.quality is Quality.GOOD:
                    continue
                place = Place(entry.newest.source, reading.index, entry.newest, entry.history, stale)
                silent = time.time() - (time.monotonic() - entry.arrived)
                yield place, reason, silent if reason is Reason.stale else place.since

    def _points(self, entry: _Entry) -> Iterator[PointNow]:
        age = None if entry.valued is None else time.monotonic() - entry.valued
        stale = self._stale(entry)
        for reading in entry.newest:
            reason = Reason.stale if stale and reading.reason.quality is not Quality.BAD else reading.reason
            yield PointNow(
                point=reading.point,
                value=reading.value,
                unit=reading.source.quantities[reading.index].unit,
                quality=reason.quality.name.lower(),
                reason=reason.name,
                age_s=None if age is None else round(age, 1),
                source=reading.source.origin,
            )

    def _stale(self, entry: _Entry) -> bool:
        source = entry.newest.source
        # How a link does is told at a pace of its own, whatever the pace of its device.
        period = LINK_EVERY if source.measurement == "link" else self._periods.get(source.device, entry.period)
        return period is not None and time.monotonic() - entry.arrived > max(LEAST_STALE, LATE_PERIODS * period)


class Counts(msgspec.Struct, frozen=True):
    """How many points have which quality."""

    total: int
    good: int
    uncertain: int
    bad: int


def counts(points: list[PointNow]) -> Counts:
    """Count points by quality."""
    of = {quality.name.lower(): 0 for quality in Quality}
    for point in points:
        of[point.quality] += 1
    return Counts(total=len(points), **of)
