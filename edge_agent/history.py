"""The last half hour of one source, in bounded memory: the trend, the last readings, the last errors."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from math import isnan, nan

import msgspec

from drivers.reading import Readings, Reason, Value

TREND_S = 1800.0
SAMPLES = 60
"""Samples of the trend: one each half minute."""
RECENT, ERRORS = 20, 10
"""Readings and faulty readings that are kept."""


class Sample(msgspec.Struct, frozen=True):
    """What one reading brought for a point."""

    time: int
    """Milliseconds since 1970 UTC."""
    value: Value | None
    reason: str


class _Trend:
    """A number for each point and step, or nan: 8 bytes each and all of them from the start, so that it never grows."""

    __slots__ = ("_numbers", "_slot", "_width")

    def __init__(self, width: int, slot: int) -> None:
        """`width`: how many points; `slot`: the step that comes first."""
        self._width = width
        self._slot = slot - 1
        """The newest."""
        self._numbers = array("d", (nan,)) * (SAMPLES * width)

    def fits(self, values: Sequence[Value | None]) -> bool:
        """It was made for as many points."""
        return len(values) == self._width

    def put(self, slot: int, values: Sequence[Value | None]) -> None:
        """The values of a step after the newest; those left out have none."""
        for skipped in range(max(self._slot + 1, slot - SAMPLES + 1), slot):
            self._write(skipped, [nan] * self._width)
        self._write(slot, [float(value) if isinstance(value, int | float) else nan for value in values])
        self._slot = slot

    def _write(self, slot: int, numbers: Sequence[float]) -> None:
        at = slot % SAMPLES * self._width
        self._numbers[at : at + self._width] = array("d", numbers)

    def line(self, index: int, newest: int) -> list[float | None]:
        """A point's SAMPLES steps until `newest`, oldest first."""
        line: list[float | None] = [None] * SAMPLES
        if index < self._width:
            for slot in range(newest - SAMPLES + 1, self._slot + 1):
                number = self._numbers[slot % SAMPLES * self._width + index]
                line[SAMPLES - 1 - (newest - slot)] = None if isnan(number) else number
        return line


class History:
    """What a source brought last. It holds the readings themselves, so that taking one in costs next to nothing."""

    __slots__ = ("_errors", "_recent", "_slot", "_trend", "_wrong")

    def __init__(self) -> None:
        """Empty."""
        self._recent: deque[Readings] = deque(maxlen=RECENT)
        self._errors: tuple[Readings, ...] = ()
        self._trend: _Trend | None = None
        self._slot = -1
        self._wrong: dict[int, tuple[Reason, float]] = {}

    def take(self, readings: Readings, now: float) -> None:
        """`now`: `time.monotonic()`."""
        self._recent.append(readings)
        slot = int(now * SAMPLES / TREND_S)
        if slot != self._slot:
            self._slot = slot
            if self._trend is None or not self._trend.fits(readings.values):
                self._trend = _Trend(len(readings.values), slot)
            self._trend.put(slot, readings.values)
        if readings.faults:
            self._errors = (*self._errors, readings)[-ERRORS:]
        if readings.faults or self._wrong:
            self._judge(readings.faults)

    def _judge(self, faults: Mapping[int, Reason]) -> None:
        """Since when each point has had the reason that it has now."""
        now, before = time.time(), self._wrong
        self._wrong = {
            i: before[i] if i in before and before[i][0] is reason else (reason, now) for i, reason in faults.items()
        }

    def since(self, index: int) -> float:
        """Unix seconds from when the point has had its present fault; 0: it has none."""
        return self._wrong[index][1] if index in self._wrong else 0.0

    def recent(self, index: int) -> list[Sample]:
        """The last readings of a point, newest first."""
        return [_sample(each, index) for each in reversed(self._recent)]

    def errors(self, index: int) -> list[Sample]:
        """Its last faulty readings, newest first."""
        return [_sample(each, index) for each in reversed(self._errors) if index in each.faults]

    def trend(self, index: int, now: float) -> list[float | None]:
        """Half an hour in SAMPLES steps, oldest first; None where nothing was read or the value is no number."""
        return self._trend.line(index, int(now * SAMPLES / TREND_S)) if self._trend else [None] * SAMPLES


def _sample(readings: Readings, index: int) -> Sample:
    return Sample(readings.time, readings.values[index], readings.reason(index).name)
