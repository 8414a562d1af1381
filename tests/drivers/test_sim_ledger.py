"""The ledger against a database: generated = delivered + rejected, to the reading, and every difference is named."""

from __future__ import annotations

import msgspec

from drivers.reading import Value
from drivers.sim.compare import Delivered, compare, influx_rows, victoria_rows
from drivers.sim.encoding import SequencePoint
from drivers.sim.ledger import Answer, Ledger, Message


def _ledger(*lines: Answer | Message) -> Ledger:
    return Ledger({"cab-1": SequencePoint("weather.rh_pct", 0.0, 0.1, 1001)}, list(lines), None)


def _read(n: int, time: int, repeat: bool = False, late: bool = False, fault: str = "") -> Answer:
    values: dict[str, Value | None] = {"weather.temp_c": 25.0 + n / 10, "weather.rh_pct": round(n / 10, 1)}
    return Answer(n, "cab-1", time, values, repeat=repeat, late=late, fault=fault)


def _rows(*lines: Answer, shift: int = 3) -> list[Delivered]:
    return [
        Delivered(line.device, name, line.time + shift, value)
        for line in lines
        for name, value in line.values.items()
        if value is not None
    ]


def test_everything_delivered() -> None:
    """generated = delivered + rejected, in any order of the rows."""
    lines = [_read(n, 1000 * n) for n in range(1, 20)]
    found = compare(_ledger(*lines), _rows(*lines)[::-1])
    assert (found.exact, found.generated, found.delivered, found.skew) == (True, 38, 38, {"modbus": 3})


def test_a_reading_that_is_missing() -> None:
    """It is named with its number."""
    lines = [_read(n, 1000 * n) for n in range(1, 5)]
    found = compare(_ledger(*lines), _rows(*lines)[:-1])
    assert not found.exact
    assert [(one.n, one.point) for one in found.missing] == [(4, "weather.rh_pct")]


def test_a_reading_with_another_value() -> None:
    """It is wrong, and what should have been there is missing."""
    lines = [_read(n, 1000 * n) for n in range(1, 5)]
    rows = _rows(*lines)
    rows[2] = msgspec.structs.replace(rows[2], value=-3.0)
    found = compare(_ledger(*lines), rows)
    assert [(one.n, one.got) for one in found.wrong] == [(2, -3.0)]
    assert len(found.missing) == 1


def test_a_reading_that_is_there_twice() -> None:
    """It is a duplicate, unless the sample was served twice."""
    lines = [_read(1, 1000), _read(2, 2000)]
    twice = [*_rows(*lines), *_rows(lines[0], shift=20)]
    assert [(one.point, one.n) for one in compare(_ledger(*lines), twice).twice] == [
        ("weather.temp_c", 1),
        ("weather.rh_pct", 1),
    ]
    assert compare(_ledger(*lines, _read(1, 1017, repeat=True)), twice).exact


def test_a_value_that_stays_the_same_in_polls_of_two_samples() -> None:
    """Each row has the number of the next sample, since a fault cut one poll in two: nothing is there twice."""
    values = [25.0, *(30.0,) * 6, 26.0, 27.0]
    lines = [
        Answer(n, "cab-1", 1000 * n, {"weather.temp_c": value, "weather.rh_pct": n / 10})
        for n, value in enumerate(values, 1)
    ]
    rows = [
        Delivered("cab-1", name, 1000 * n, value)
        for n, value in enumerate(values[:-1], 1)
        for name, value in (("weather.temp_c", value), ("weather.rh_pct", (n + 1) / 10))
    ]
    found = compare(_ledger(*lines), rows)
    assert (found.twice, found.wrong, found.unexpected) == ([], [], [])
    assert {(one.point, one.n) for one in found.missing} == {("weather.temp_c", 9), ("weather.rh_pct", 1)}
    again = [*rows, Delivered("cab-1", "weather.temp_c", 3500, 30.0)]
    assert [one.point for one in compare(_ledger(*lines), again).twice] == ["weather.temp_c"]


def test_a_sample_given_twice_does_not_take_its_neighbours_share() -> None:
    """Of an answer that a reader dropped and asked for again it has one; the next sample has the same value."""
    doubted = Answer(1, "cab-1", 1000, {"weather.temp_c": 30.0}, doubted=True)
    lines = [Answer(n, "cab-1", 1000 * n, {"weather.temp_c": 30.0, "weather.rh_pct": n / 10}) for n in (1, 2, 3)]
    rows = [
        Delivered("cab-1", name, 1000 * n, value)
        for n in (1, 2, 3)
        for name, value in (("weather.temp_c", 30.0), ("weather.rh_pct", max(1, n - 1) / 10))
    ]
    found = compare(
        _ledger(doubted, *lines), [row for row in rows if (row.point, row.time) != ("weather.rh_pct", 1000)]
    )
    assert ([one.point for one in found.missing], found.twice) == (["weather.rh_pct"], [])


def test_a_part_of_a_poll_without_its_number_while_the_clock_is_wrong() -> None:
    """The part with the number was refused or damaged: it is the poll after the one before."""
    lines = [_read(n, 1000 * n) for n in range(1, 60)]
    rows = [row for row in _rows(*lines, shift=-20_000) if (row.point, row.time) != ("weather.rh_pct", 10_000)]
    found = compare(_ledger(*lines), rows)
    assert (found.wrong, found.unexpected, found.twice) == ([], [], [])
    assert [(one.point, one.n) for one in found.missing] == [("weather.rh_pct", 30)]


def test_answers_that_need_not_be_delivered() -> None:
    """Late ones may be there or not; garbled ones must not."""
    good, late, garbled = _read(1, 1000), _read(2, 2000, late=True), _read(3, 3000, fault="garbled")
    ledger = _ledger(good, late, garbled)
    assert compare(ledger, _rows(good)).exact
    assert compare(ledger, _rows(good, late)).exact
    assert not compare(ledger, _rows(good, garbled)).exact


def test_a_sequence_that_wraps() -> None:
    """A number that has come round again belongs to the sample that is near in time."""
    lines = [_read(n, 1000 * n) for n in (7, 7 + 1001)]
    values = lines[0].values
    lines[1] = msgspec.structs.replace(lines[1], values=values)
    found = compare(_ledger(*lines), _rows(lines[1]))
    assert {one.n for one in found.missing} == {7}


def test_a_value_that_was_rejected() -> None:
    """Where nothing can be decoded nothing must be there."""
    line = msgspec.structs.replace(_read(1, 1000), values={"weather.temp_c": None, "weather.rh_pct": 0.1})
    found = compare(_ledger(line), _rows(line))
    assert (found.exact, found.generated, found.delivered, found.rejected) == (True, 2, 1, 1)
    assert not compare(_ledger(line), [*_rows(line), Delivered("cab-1", "weather.temp_c", 1003, 0.0)]).exact


def test_rows_of_influxdb() -> None:
    """Columns of the naming table are values, the others tags; quality columns are neither."""
    row: dict[str, Value | None] = {
        "time": 5000,
        "site": "cl-02",
        "sensor": "cnt-1",
        "lane": "1",
        "count": 12,
        "speed_avg_kmh": None,
        "q": 0,
        "qr": "ok",
        "count_q": 0,
    }
    assert list(influx_rows("traffic", [row])) == [Delivered("cnt-1", "traffic.count", 5000, 12, {"lane": "1"})]


def test_series_of_victoria_metrics() -> None:
    """The metric's name is split as the naming table has it."""
    metric = {"__name__": "air_pm2_5_ugm3", "sensor": "met-1", "site": "cl-02", "db": "city"}
    assert list(victoria_rows(metric, [31.0, None], [5000, 6000])) == [Delivered("met-1", "air.pm2_5_ugm3", 5000, 31.0)]
