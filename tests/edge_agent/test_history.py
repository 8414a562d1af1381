"""The last half hour of a source."""

from __future__ import annotations

import gc
import sys

from drivers.reading import Readings, Reason, Source, quantities
from edge_agent.history import ERRORS, RECENT, SAMPLES, TREND_S, History

SOURCE = Source("met-1", (quantities()["weather.temp_c"], quantities()["weather.rh_pct"]))
STEP = TREND_S / SAMPLES


def readings(at: int, *values: float | None) -> Readings:
    """One instant."""
    faults = {i: Reason.timeout for i, value in enumerate(values) if value is None}
    return Readings(SOURCE, at, at, values, faults)


def test_trend_is_half_an_hour_in_sixty_steps() -> None:
    """A day of readings each second leaves sixty samples, a gap where nothing was read, and the newest last."""
    history = History()
    for second in range(0, 7200, 5):
        missing = 6000 <= second < 6300
        history.take(readings(second, None if missing else float(second), 50.0), second)
    trend = history.trend(0, 7199)
    assert len(trend) == SAMPLES
    assert trend[-1] is not None
    assert trend[-1] >= 7140
    assert sum(value is None for value in trend) == 300 / STEP
    assert history.trend(1, 7199).count(50.0) == SAMPLES


def test_source_that_fell_silent_moves_out_of_the_trend() -> None:
    """Old values do not stand where the newest belong."""
    history = History()
    history.take(readings(0, 1.0, 2.0), 0)
    assert history.trend(0, 10 * STEP)[-11] == 1.0
    assert history.trend(0, 2 * TREND_S) == [None] * SAMPLES


def test_source_that_was_silent_for_long_has_nothing_old_in_its_trend() -> None:
    """What stood where the silence now is has gone, also where the silence was longer than the trend."""
    history = History()
    for slot in [*range(SAMPLES), SAMPLES + 9]:
        history.take(readings(slot, float(slot), 1.0), slot * STEP)
    trend = history.trend(0, (SAMPLES + 9) * STEP)
    assert trend == [*map(float, range(10, SAMPLES)), *[None] * 9, SAMPLES + 9.0]
    history.take(readings(0, 7.0, 1.0), 9 * SAMPLES * STEP)
    assert history.trend(0, 9 * SAMPLES * STEP) == [*[None] * (SAMPLES - 1), 7.0]


def test_history_is_as_large_after_a_minute_as_after_hours() -> None:
    """What a box needs of memory does not come to light half an hour after it was installed."""
    history, sizes = History(), []
    for second in range(0, 9000, 30):
        history.take(readings(second, second + 0.5, None), second)
        sizes.append(size_of(history))
    assert sizes[-1] <= 1.1 * sizes[RECENT]


def size_of(thing: object, seen: set[int] | None = None) -> int:
    """Bytes of an object and of all that it alone leads to."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type | Source):
        return 0
    seen.add(id(thing))
    return sys.getsizeof(thing) + sum(size_of(each, seen) for each in gc.get_referents(thing))


def test_last_readings_and_errors_are_few() -> None:
    """Bounded whatever comes, newest first."""
    history = History()
    for number in range(100):
        history.take(readings(number, None if number % 2 else float(number), 1.0), number)
    assert [each.time for each in history.recent(0)][:2] == [99, 98]
    assert len(history.recent(0)) == RECENT
    assert {each.reason for each in history.errors(0)} == {"timeout"}
    assert len(history.errors(0)) == ERRORS
    assert history.errors(1) == []


def test_fault_knows_since_when() -> None:
    """From its first reading, until another reason or a good value."""
    history = History()
    history.take(readings(0, None, 1.0), 0)
    began = history.since(0)
    history.take(readings(1, None, 1.0), 1)
    assert history.since(0) == began > 0
    history.take(readings(2, 1.0, 1.0), 2)
    assert history.since(0) == 0.0
