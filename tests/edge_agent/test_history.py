"""The last half hour of a source."""

from __future__ import annotations

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
