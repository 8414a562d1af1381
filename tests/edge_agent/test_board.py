"""What people see of each point."""

from __future__ import annotations

import time

import pytest

from drivers.link import EVERY
from drivers.reading import Readings, Reason, Source, Value, quantities
from edge_agent import board as boards
from edge_agent.board import Board, Counts, counts

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]), origin="line-1 unit 1")
SPARSE = Source("met-1", (Q["weather.temp_c"],))


def show(board: Board, source: Source, *values: Value | None, faults: dict[int, Reason] | None = None) -> None:
    board.show(Readings(source, time.time_ns() // 10**6, 0, values, faults or {}))


def test_point_shows_value_unit_quality_and_source() -> None:
    """Everything that `edge points` prints."""
    board = Board({})
    show(board, STATION, 27.9, 81.5)
    temp = next(point for point in board.points() if point.point == "met-1.weather.temp_c")
    assert (temp.value, temp.unit, temp.quality, temp.reason, temp.source) == (
        27.9,
        "Cel",
        "good",
        "ok",
        "line-1 unit 1",
    )
    assert temp.age_s is not None


def test_point_that_did_not_answer_shows_no_old_value() -> None:
    """A bad value is never replaced by an old one; its age goes on counting from the last value."""
    board = Board({})
    show(board, STATION, 27.9, 81.5)
    show(board, STATION, None, None, faults={0: Reason.timeout, 1: Reason.timeout})
    temp = board.points()[1]
    assert (temp.value, temp.quality, temp.reason) == (None, "bad", "timeout")
    assert temp.age_s is not None


def test_point_that_never_answered_has_no_age() -> None:
    """There is nothing whose age could be told."""
    board = Board({})
    show(board, STATION, None, None, faults={0: Reason.timeout, 1: Reason.timeout})
    assert board.points()[0].age_s is None


def test_value_older_than_three_periods_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is not renewed never looks fresh."""
    monkeypatch.setattr(boards, "LEAST_STALE", 0.0)
    board = Board({"met-1": 0.01})
    show(board, STATION, 27.9, 81.5)
    time.sleep(0.05)
    assert {(point.quality, point.reason) for point in board.points()} == {("uncertain", "stale")}


def test_report_of_a_link_keeps_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes once a minute, whatever the device's period, and however close two of them once were."""
    monkeypatch.setattr(boards, "LEAST_STALE", 0.0)
    board = Board({"met-1": 0.01})
    link = Source("met-1", (Q["link.ok"],))
    show(board, link, 3)
    show(board, link, 4)
    assert boards.LINK_EVERY == EVERY
    time.sleep(0.05)
    assert [point.reason for point in board.points()] == ["ok"]


def test_newest_of_several_messages_is_shown() -> None:
    """Sparse messages of one device show each point once."""
    board = Board({})
    show(board, STATION, 27.9, 81.5)
    show(board, SPARSE, 28.5)
    assert {point.point: point.value for point in board.points()} == {
        "met-1.weather.temp_c": 28.5,
        "met-1.weather.rh_pct": 81.5,
    }


def test_points_are_counted_by_quality() -> None:
    """The figures of the status line."""
    board = Board({})
    show(board, STATION, 27.9, 181.5, faults={1: Reason.gross_range})
    assert counts(board.points()) == Counts(total=2, good=1, uncertain=0, bad=1)


def test_flood_of_names_does_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of sources shown is bounded."""
    monkeypatch.setattr(boards, "MOST_SOURCES", 10)
    board = Board({})
    for n in range(50):
        show(board, Source(f"d{n}", (Q["weather.temp_c"],)), 1.0)
    assert len(board.points()) == 10
