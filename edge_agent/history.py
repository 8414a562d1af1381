"""The last half hour of one source, in bounded memory: the trend, the last readings, the last errors."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

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


class History:
    """What a source brought last. It holds the readings themselves, so that taking one in costs next to nothing."""

    __slots__ = ("_errors", "_recent", "_slot", "_trend", "_wrong")

    def __init__(self) -> None:
        """Empty."""
        self._recent: deque[Readings] = deque(maxlen=RECENT)
        self._errors: deque[Readings] = deque(maxlen=ERRORS)
        self._trend: deque[tuple[int, tuple[Value | None, ...]]] = deque(maxlen=SAMPLES)
        self._slot = -1
        self._wrong: dict[int, tuple[Reason, float]] = {}

    def take(self, readings: Readings, now: float) -> None:
        """`now`: `time.monotonic()`."""
        self._recent.append(readings)
        slot = int(now * SAMPLES / TREND_S)
        if slot != self._slot:
            self._slot = slot
            self._trend.append((slot, readings.values))
        if readings.faults:
            self._errors.append(readings)
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
        newest = int(now * SAMPLES / TREND_S)
        line: list[float | None] = [None] * SAMPLES
        for slot, values in self._trend:
            at = SAMPLES - 1 - (newest - slot)
            if at >= 0 and index < len(values) and isinstance(value := values[index], int | float):
                line[at] = float(value)
        return line


def _sample(readings: Readings, index: int) -> Sample:
    return Sample(readings.time, readings.values[index], readings.reason(index).name)
