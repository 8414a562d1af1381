"""Checks judge readings and drop none; stamps rise within a series."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from drivers.reading import Readings, Reason, Source, Value, quantities
from drivers.settings import Limit
from edge_agent.checks import Checks, Stamps

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
LEVEL = Source("water-1", (Q["water.level_m"],))
METER = Source("power-1", (Q["power.energy_import_kwh"],))
SERIES = "weather,site=cl-02,sensor=met-1"


def no_limits(source: Source) -> Mapping[str, Limit]:
    return {}


def readings(*values: Value | None, time: int = 1000, stamped: bool = False, source: Source = STATION) -> Readings:
    return Readings(source, time, 0, values, stamped=stamped)


def test_value_outside_the_gross_range_is_kept_and_marked() -> None:
    """The value stays as it was read; its quality says that it cannot be."""
    checked = Checks(no_limits)(readings(61.0, 80.0))
    assert checked.values == (61.0, 80.0)
    assert dict(checked.faults) == {0: Reason.gross_range}


def test_values_at_the_ends_of_the_range_are_good() -> None:
    """Both ends belong to the range."""
    assert Checks(no_limits)(readings(-5.0, 100.0)).faults == {}


def test_limits_of_the_device_take_the_place_of_the_table() -> None:
    """A site knows better how high its water can stand."""
    checks = Checks(lambda source: {"water.level_m": Limit(low=0, high=8)})
    assert checks(readings(8.5, source=LEVEL)).faults == {0: Reason.gross_range}
    assert checks(readings(-1.0, source=LEVEL)).faults == {0: Reason.gross_range}
    assert Checks(no_limits)(readings(8.5, source=LEVEL)).faults == {}


def test_one_sided_range_has_no_other_end() -> None:
    """A counter has a least value and no greatest."""
    assert Checks(no_limits)(readings(1e12, source=METER)).faults == {}
    assert Checks(no_limits)(readings(-1.0, source=METER)).faults == {0: Reason.gross_range}


def test_reason_that_is_there_already_stays() -> None:
    """A sentinel outside the range is a sentinel."""
    marked = Readings(STATION, 1000, 0, (6553.5, None), {0: Reason.sentinel, 1: Reason.timeout})
    assert Checks(no_limits)(marked).faults == {0: Reason.sentinel, 1: Reason.timeout}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_our_own_stamps_rise_strictly_whatever_the_clock_does(times: list[int]) -> None:
    """Two polls in one millisecond, or a clock that was put back, never give one stamp twice."""
    stamps = Stamps({})
    given_ = [stamps.rise(SERIES, readings(1.0, 2.0, time=time)) for time in times]
    stamped = [each.time for each in given_ if each is not None]
    assert len(stamped) == len(times)
    assert all(later > earlier for earlier, later in itertools.pairwise(stamped))


def test_stamps_go_on_where_the_journal_ended() -> None:
    """After a restart with the clock put back no stored point is overwritten."""
    first = Stamps({SERIES: 5000}).rise(SERIES, readings(1.0, 2.0, time=4000))
    assert first is not None
    assert first.time == 5001


def test_stamp_of_the_device_stays_even_if_it_is_late() -> None:
    """History that a device sends later keeps its own time."""
    stamps = Stamps({})
    assert stamps.rise(SERIES, readings(1.0, 2.0, time=9000, stamped=True)) is not None
    late = stamps.rise(SERIES, readings(1.0, 3.0, time=7000, stamped=True))
    assert late is not None
    assert late.time == 7000


def test_message_that_comes_twice_is_left_out() -> None:
    """QoS 1 may deliver a message again: it is the same reading."""
    stamps = Stamps({})
    assert stamps.rise(SERIES, readings(1.0, 2.0, time=9000, stamped=True)) is not None
    assert stamps.rise(SERIES, readings(1.0, 2.0, time=9000, stamped=True)) is None
    assert stamps.copies == 1


def test_different_readings_stamped_alike_by_the_device_are_both_kept() -> None:
    """A device that knows only seconds may send twice in one: the second moves up, and its copy is still known."""
    stamps = Stamps({})
    times = [stamps.rise(SERIES, readings(value, 2.0, time=9000, stamped=True)) for value in (1.0, 1.5, 1.0, 1.5, 2.5)]
    assert [each.time if each else None for each in times] == [9000, 9001, None, None, 9002]


def test_late_readings_stamped_alike_are_both_kept() -> None:
    """History that comes late is told apart like what is new."""
    stamps = Stamps({})
    order = [(9000, 1.0), (7000, 1.0), (7000, 2.0), (7000, 1.0)]
    given_ = [stamps.rise(SERIES, readings(value, 2.0, time=time, stamped=True)) for time, value in order]
    assert [each.time if each else None for each in given_] == [9000, 7000, 7001, None]


def test_device_whose_clock_stands_still_loses_no_changing_value() -> None:
    """Its readings follow each other by milliseconds, and memory stays bounded."""
    stamps = Stamps({})
    given_ = [stamps.rise(SERIES, readings(float(n), 2.0, time=9000, stamped=True)) for n in range(100)]
    times = [each.time for each in given_ if each]
    assert times == list(range(9000, 9100))


def test_impossible_value_is_bad_although_the_clock_is_in_doubt() -> None:
    """A doubt gives way to what is certain; a fault that is bad already keeps its own reason."""
    doubted = msgspec.structs.replace(
        readings(300.0, 50.0), faults={0: Reason.clock_unsynced, 1: Reason.clock_unsynced}
    )
    assert dict(Checks(no_limits)(doubted).faults) == {0: Reason.gross_range, 1: Reason.clock_unsynced}
    broken = msgspec.structs.replace(readings(300.0, 50.0), faults={0: Reason.device_fault})
    assert dict(Checks(no_limits)(broken).faults) == {0: Reason.device_fault}
