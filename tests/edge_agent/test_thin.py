"""What stays of a full journal: of each source one line in every interval, also where two share a series."""

from __future__ import annotations

from edge_agent.lines import Line
from edge_agent.thin import GAP, Entry, Policy, thin

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
