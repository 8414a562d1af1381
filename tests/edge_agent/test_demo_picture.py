"""The demonstration's picture, and the account at its end, without any process."""

from __future__ import annotations

import re

import msgspec
import pytest

from drivers.sim.encoding import SequencePoint
from drivers.sim.ledger import Answer, Entry, Ledger, Message
from edge_agent.board import Counts, PointNow
from edge_agent.demo.account import Row, account
from edge_agent.demo.picture import SHOWN, Picture, choose, fit, frame
from edge_agent.demo.report import lines
from edge_agent.demo.terminal import writable
from edge_agent.demo.watch import Depth, Event, Moment, point_changes
from edge_agent.show import width
from edge_agent.status import JournalStatus, SinkStatus, Status
from edge_agent.text import Text, texts

EN, VI = texts("en", strict=True), texts("vi", strict=True)


def point(name: str, value: float | None = 21.5, quality: str = "good", reason: str = "ok") -> PointNow:
    """A point as the agent says it."""
    return PointNow(name, value, "Cel", quality, reason, 1.2, "line-1 unit 1")


def moment(points: list[PointNow]) -> Moment:
    """The agent in an outage."""
    sink = SinkStatus("centre", "down", 1312, 9.0, 22_104, 0, "http://127.0.0.1:1", "Connection refused", 7.4)
    status = Status(
        verdict="attention",
        reasons=["centre: http://127.0.0.1:1 cannot be reached (Connection refused). " * 3],
        points=Counts(len(points), len(points), 0, 0),
        sinks=[sink],
        journal=JournalStatus(23_416, 1 << 20, 0, 1.0, None),
        site="cl-02",
        name="Phường Sao Đỏ",
        version="1",
        uptime_s=25.0,
    )
    return Moment(status, points)


def picture(points: list[PointNow]) -> Picture:
    """What is seen in an outage."""
    depths = [Depth(max(0, 120 * (second - 14)), away=second > 14) for second in range(25)]
    events = [Event(second, "InfluxDB is switched off. " * 6) for second in range(20)]
    return Picture("InfluxDB is off. " * 9, True, 25.0, 60.0, False, moment(points), depths, events)


ALL = [point(name) for name, _ in SHOWN] + [point(f"power-1.power.power_l{i}_w", -123_456.789) for i in range(40)]


@pytest.mark.parametrize("text", [EN, VI])
@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 20), (60, 24), (132, 50), (200, 60), (20, 8)])
def test_frame_fits_every_terminal(text: Text, columns: int, rows: int) -> None:
    """However long the sentences are, no line is wider than the terminal, and the lines are not more than it has."""
    seen = frame(picture(ALL), text, columns, rows)
    assert len(seen) <= rows
    assert max(width(line) for line in seen) <= columns


def test_frame_of_80_by_24_is_full() -> None:
    """Every line of the usual terminal is used; the backlog is plotted below its highest figure."""
    seen = frame(picture(ALL), EN, 80, 24)
    assert len(seen) == 24
    assert any(re.match(r" +1,200 +[▁▂▃▄▅▆▇█]+", line) for line in seen)
    assert any("waiting 1,312 · delivered 22,104" in line for line in seen)


def test_frame_before_the_first_answer() -> None:
    """As long as the agent has said nothing the picture stands already."""
    nothing = msgspec.structs.replace(picture([]), now=None, depths=[], events=[])
    assert len(frame(nothing, EN, 80, 24)) <= 24


def test_bad_point_that_is_not_among_the_usual_ones() -> None:
    """It gets one of the last rows."""
    bad = point("power-1.power.power_l9_w", None, "bad", "timeout")
    chosen = choose([*ALL, bad], 9)
    assert len(chosen) == 9
    assert chosen[-1] == bad
    assert chosen[0].point == SHOWN[0][0]


def test_value_that_turns_bad_is_said_once() -> None:
    """A new reason is one sentence; while it stays, silence. A device that falls silent is one for all points."""
    good, bad = (
        moment([point("water-1.water.level_m")]),
        moment([point("water-1.water.level_m", 45.0, "bad", "gross_range")]),
    )
    assert list(point_changes(good, bad, EN)) == ["water-1 River level 45 °C: outside the possible range, marked bad."]
    assert not list(point_changes(bad, bad, EN))
    silent = moment([point(f"cab-1.weather.{name}", None, "bad", "timeout") for name in ("temp_c", "rh_pct")])
    assert len(list(point_changes(good, silent, EN))) == 1


def test_words_longer_than_their_place() -> None:
    """They are cut with a sign, and wide letters count as two columns."""
    assert [fit("Chí Linh", 8), fit("Chí Linh", 5), fit("漢字漢", 4), fit("a", 3, right=True)] == [
        "Chí Linh",
        "Chí …",
        "漢…",
        "  a",
    ]


def test_output_without_vietnamese_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the character set lacks them, letters lose their marks and signs become ASCII, each as wide as before."""

    class Latin:
        encoding = "latin-1"

    monkeypatch.setattr("sys.stdout", Latin())
    assert writable("● Phường Sao Đỏ ▁▄█ 27 °C…") == "+ Phuong Sao Do _-# 27  C~"


# --- the account ------------------------------------------------------------------------------------------------------

TEMP, RAIN = "weather.temp_c", "weather.rain_total_mm"
RISING = SequencePoint(RAIN, 0.0, 0.1, 1000)


def ledger(*entries: Entry) -> Ledger:
    """What two devices gave."""
    return Ledger({"met-1": RISING, "rain-1": RISING}, [*entries], None)


def answer(n: int, temp: float | None) -> Answer:
    """One poll of the station."""
    return Answer(n, "met-1", 1000 * n, {TEMP: temp, RAIN: n / 10})


def row(n: int, temp: float | None, **marks: int) -> Row:
    """A row of InfluxDB."""
    return {
        "time": 1000 * n,
        "site": "cl-02",
        "sensor": "met-1",
        "temp_c": temp,
        "rain_total_mm": n / 10,
        "q": 0,
        **marks,
    }


BROKEN = Message(1, "rain-1", 5000, {}, fault="malformed", acked=5001)
UNHEARD = Message(2, "rain-1", 6000, {TEMP: 20.0}, acked=6001, heard=False)
GIVEN = ledger(answer(1, 27.9), answer(2, None), answer(3, 99.0), BROKEN, UNHEARD)
BOX: Row = {"time": 1, "site": "cl-02", "sensor": "box", "uptime_s": 5.0, "q": 0}


def test_account_that_is_exact() -> None:
    """What has no value is rejected, what is out of range is delivered and marked, the box's own stand apart."""
    rows = {"weather": [row(1, 27.9), row(2, None), row(3, 99.0, temp_c_q=2)], "box": [BOX]}
    found = account([GIVEN], rows)
    assert found.exact
    assert [found.total(name) for name in ("generated", "delivered", "rejected")] == [6, 5, 1]
    assert (found.bad, found.malformed, found.unheard, found.besides) == (1, 1, 1, 1)
    report = "\n".join(lines(found, EN))
    assert "6 generated = 5 delivered + 1 rejected" in report
    assert re.search(r"met-1 +weather station +6 +5 +1 +1\n", report)


def test_account_of_more_than_a_minute() -> None:
    """Each minute the box tells how a device answers, under the device's name: it stands apart, as the box's own."""
    link: Row = {"time": 60_000, "site": "cl-02", "sensor": "met-1", "ok": 58, "late": 0, "q": 2}
    rows = {"weather": [row(1, 27.9), row(2, None), row(3, 99.0)], "link": [link], "box": [BOX]}
    found = account([GIVEN], rows)
    assert (found.exact, found.bad, found.besides) == (True, 0, 3)


def test_account_with_a_loss_and_a_change_names_them() -> None:
    """A lost and a changed value are named with device, number and value; the equation does not hold."""
    found = account([GIVEN], {"weather": [row(1, 27.8), row(2, None)]})
    report = "\n".join(lines(found, EN))
    assert not found.exact
    assert "6 generated ≠ " in report
    assert "wrong: met-1 weather.temp_c, number 1: 27.9 was generated, InfluxDB has 27.8" in report
    assert "missing: met-1 weather.temp_c, number 3: 99 was generated" in report
