"""Checks of readings on their way to the journal: each is judged, none is changed or dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from drivers.reading import Quality, Quantity, Readings, Reason, Source, Value
from drivers.settings import Limit

MOST_STAMPS, MOST_ALIKE = 64, 16
"""Stamps of a device that are remembered for each series, and different readings for each of them."""
LEAP, DAY = 3_600_000, 86_400_000
"""Milliseconds: further ahead is a leap of the clock (or a long silence); how far back stamps on disk are believed."""
MOST_STRETCHES = 4
"""Earlier stretches that are remembered for each series."""
LATE = 1000
"""Milliseconds by which a stamp may have been moved up before the reading is marked."""
MOST_SOURCES = 10_000
"""Sources with prepared ranges in memory; past it all are prepared anew."""


class Checks:
    """Gross range, by the naming table or a device's own limits; and strictly rising stamps."""

    def __init__(self, limits: Callable[[Source], Mapping[str, Limit]]) -> None:
        """`limits` of a source by `measurement.field`: they take the place of the table's range."""
        self._limits = limits
        self._ranges: dict[Source, tuple[tuple[int, float, float], ...]] = {}

    def __call__(self, readings: Readings) -> Readings:
        """The readings with a reason on every value outside its range. A bad one stays as it is; a doubt gives way."""
        faults: dict[int, Reason] | None = None
        values = readings.values
        for index, low, high in self._of(readings.source):
            value = values[index]
            if value is None or low <= value <= high:  # type: ignore[operator]  # ranges are made for numbers only
                continue
            if readings.faults.get(index, Reason.ok).quality is not Quality.BAD:
                faults = faults if faults is not None else dict(readings.faults)
                faults[index] = Reason.gross_range
        return readings if faults is None else msgspec.structs.replace(readings, faults=faults)

    def _of(self, source: Source) -> tuple[tuple[int, float, float], ...]:
        found = self._ranges.get(source)
        if found is None:
            if len(self._ranges) >= MOST_SOURCES:
                self._ranges.clear()
            found = self._ranges[source] = tuple(_ranges(source, self._limits(source)))
        return found


def _ranges(source: Source, own: Mapping[str, Limit]) -> list[tuple[int, float, float]]:
    found = []
    for index, quantity in enumerate(source.quantities):
        low, high = _range(quantity, own.get(f"{quantity.measurement}.{quantity.field}"))
        if quantity.kind in ("int", "float") and (low is not None or high is not None):
            found.append((index, float("-inf") if low is None else low, float("inf") if high is None else high))
    return found


def _range(quantity: Quantity, own: Limit | None) -> tuple[float | None, float | None]:
    if own is None:
        return quantity.low, quantity.high
    low = quantity.low if own.low is None else own.low
    return low, quantity.high if own.high is None else own.high


def doubtful(readings: Readings) -> Readings:
    """The readings, those that were good marked as of an unsure time."""
    unsure = {i: Reason.clock_unsynced for i, value in enumerate(readings.values) if value is not None}
    return msgspec.structs.replace(readings, faults={**unsure, **readings.faults})


class _Stamp(msgspec.Struct):
    last: int
    """The newest stamp given, in ms."""
    first: int
    """Where the stretch began in which stamps rose without a leap up to `last`."""
    older: list[tuple[int, int]] = []
    """Earlier stretches, (first, last): no stamp is given in them again."""
    beyond: int = 0
    """Readings since a device's clock began to stand still."""
    own: dict[int, list[tuple[Value | None, ...]]] = {}
    """Newest stamps that the device itself gave, each with the different readings that it stamped so."""

    def next(self, time: int) -> int:
        """The stamp for a reading at `time`, by the box's clock."""
        if time > self.last + LEAP or time < self.first:
            self.older = [*self.older, (self.first, self.last)][-MOST_STRETCHES:]
            self.first, stamp = time, time
        else:
            stamp = max(time, self.last + 1)
        for first, last in sorted(self.older):
            if first <= stamp <= last:
                stamp = last + 1
        self.last = stamp
        return stamp


class Stamps:
    """Makes the stamps of a series rise strictly: two readings with one stamp would be one point in the database.

    A clock that leaps begins a stretch of its own, so that an hour in the wrong century does not hold the stamps there.
    Where it goes back into a stretch already used, stamps stand still at its end, and the readings are marked.

    A stamp that the device gave stays as it is, late history too, so that a message delivered twice is the same point;
    only if the device stamps different readings alike, each further one moves up by a millisecond.
    """

    def __init__(self, last: Mapping[str, int]) -> None:
        """`last`: the newest stamp on disk of each series, in ms."""
        self._of = {series: _Stamp(stamp, stamp - DAY) for series, stamp in last.items()}
        self.copies = 0
        """Messages that had come before, left out."""

    def rise(self, series: str, readings: Readings) -> Readings | None:
        """The readings with a stamp of their own; None for a copy of readings that came before."""
        known = self._of.get(series)
        if known is None:
            known = self._add(series)
        # A device's clock, perhaps years ahead, must not move ours.
        stamp = self._given(known, readings) if readings.stamped else known.next(readings.time)
        if stamp is None:
            self.copies += 1
            return None
        if stamp == readings.time:
            return readings
        moved = msgspec.structs.replace(readings, time=stamp)
        return moved if readings.stamped or stamp - readings.time <= LATE else doubtful(moved)

    def dated(self, last: Mapping[str, int]) -> None:
        """The readings of these series were dated anew: the newest stamp of each."""
        for series, stamp in last.items():
            self._of[series] = _Stamp(stamp, stamp - DAY)

    def _given(self, known: _Stamp, readings: Readings) -> int | None:
        alike = known.own.get(readings.time)
        if alike is None:
            if len(known.own) >= MOST_STAMPS:
                del known.own[next(iter(known.own))]
            known.own[readings.time] = [readings.values]
            return readings.time
        if readings.values in alike:
            return None
        if len(alike) >= MOST_ALIKE:  # the device's clock stands still
            known.beyond += 1
            return readings.time + len(alike) + known.beyond - 1
        alike.append(readings.values)
        return readings.time + len(alike) - 1

    def _add(self, series: str) -> _Stamp:
        if len(self._of) >= 2 * MOST_SOURCES:
            del self._of[next(iter(self._of))]
        known = self._of[series] = _Stamp(0, 0)
        return known
