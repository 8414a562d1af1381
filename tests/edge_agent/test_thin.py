"""What stays of a full journal: of each source one line in every interval, also where two share a series."""

from __future__ import annotations

import re

import pytest

from edge_agent.lines import Line
from edge_agent.thin import GAP, MARKER_READINGS, Entry, Policy, condition, thin

SERIES = "weather,site=s,sensor=met-1"


def line(field: str, time: int) -> Entry:
    """One reading."""
    return Entry(Line(SERIES, ((field, "1.0"), ("rh_pct", "2.0")), (("q", "0i"),), time), 0)


def test_alarm_points_beside_the_others_of_their_series() -> None:
    """A device's alarm points have lines of their own: neither they nor the others go for the others' sake."""
    entries = [line(field, 1000 * i + at) for i in range(60) for at, field in ((0, "wind_speed_ms"), (40, "temp_c"))]
    found = thin(entries, "s", Policy(every_ms=60_000))
    kept = [entry.line.fields[0][0] for entry in found.kept if entry.line.measurement != GAP]
    assert kept == ["wind_speed_ms", "temp_c"]
    assert sum(found.gone.values()) == 2 * 118


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("weather.temp_c > 35", True),
        ("weather.temp_c > 36", False),
        ("weather.temp_c>=36", True),
        ("weather.temp_c < 36", False),
        ("weather.temp_c <= 36", True),
        ("weather.temp_c == 36", True),
        ("weather.temp_c != 36", False),
        ("met-1.weather.temp_c == 36", True),
        ("met-2.weather.temp_c == 36", False),
        ("water.temp_c == 36", False),
        ("weather.rh_pct == 36", False),
        ("weather.count == 36", True),
        ("weather.text == 36", False),
    ],
)
def test_line_that_an_alarm_is_about(text: str, holds: bool) -> None:
    """Device, measurement and field must be the alarm's, and its comparison hold; text is never compared."""
    fields = (("temp_c", "36.0"), ("rh_pct", "80.0"), ("text", '"36"'), ("count", "36i"))
    line = Line(SERIES, fields, (("q", "0i"),), 1000)
    assert condition(text).holds(line) is holds


@pytest.mark.parametrize("text", ["temp_c > 1", "weather.temp_c", "weather.temp_c > hot", "weather.temp_c ~ 1"])
def test_condition_that_is_none(text: str) -> None:
    """It is refused, never taken for one that holds for nothing."""
    with pytest.raises(ValueError, match=re.escape(text.rpartition(" ")[2])):
        condition(text)


def test_lines_that_stay_are_those_of_alarms_and_the_first_of_each_interval() -> None:
    """A second line of the interval stays only where an alarm is about it; without a policy none stays."""
    entries = [line("temp_c", at) for at in (0, 59_999, 60_000, 60_001)]
    by_alarm = Policy(alarms=(condition("met-1.weather.rh_pct == 2"),))
    for policy, times in ((Policy(), [0, 60_000]), (by_alarm, [0, 59_999, 60_000, 60_001]), (None, [])):
        kept = thin(entries, "s", policy).kept
        assert [entry.line.time for entry in kept if entry.line.measurement != GAP] == times


def test_gap_marker_says_what_is_missing_since_when() -> None:
    """One marker for each device; thinned again it is merged, not lost, and counted as what it is."""
    first = thin([line("temp_c", at) for at in (5000, 1000, 3000)], "s", None)
    (marker,) = first.kept
    assert marker.line.fields == (("readings", "6i"), ("since", "1000i"))
    assert (marker.line.time, marker.line.device) == (5000, "met-1")
    assert first.gone == {(0, "met-1", "weather"): 6}
    assert first.markers == {(0, "met-1"): MARKER_READINGS}
    again = thin([line("temp_c", 8000), marker], "s", None)
    assert [entry.line.fields for entry in again.kept] == [(("readings", "8i"), ("since", "1000i"))]
    assert again.kept[0].line.time == 8000
    assert sum(again.markers.values()) == 0
