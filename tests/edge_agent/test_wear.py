"""What the card is written: measured, projected, and kept within its budget."""

from __future__ import annotations

from pathlib import Path

from edge_agent.wear import DAY_S, LONGEST, SHORTEST, Wear, written_by_us

GIB = 1 << 30


def test_bytes_of_this_process_are_what_the_kernel_says(tmp_path: Path) -> None:
    """`write_bytes`; None where the kernel does not tell."""
    io = tmp_path / "io"
    io.write_text("rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n")
    assert written_by_us(io) == 4096
    assert written_by_us(tmp_path / "absent") is None


def test_projection_of_a_day() -> None:
    """From the pace of the last hour; nothing is said before there is enough to go by."""
    wear = Wear(GIB)
    wear.note(0, 1000)
    assert wear.per_day is None
    wear.note(30, 1000 + 30 * 5000)
    assert wear.per_day == 5000 * DAY_S
    for minute in range(1, 200):
        wear.note(60.0 * minute, 1000 + 30 * 5000 + 60 * minute * 100)
    assert wear.per_day == 100 * DAY_S


def test_commits_come_less_often_above_the_budget_and_more_often_below() -> None:
    """The window doubles up to one second, never beyond, and comes back when there is little to write."""
    wear = Wear(GIB)
    written = 0
    for n in range(20):
        written += 30 * GIB // DAY_S * (3 if n < 10 else 0)
        wear.note(30.0 * n, written)
        assert SHORTEST <= wear.window <= LONGEST
        if n == 9:
            assert wear.window == LONGEST
    assert wear.window == SHORTEST


def test_window_moves_one_step_for_each_look() -> None:
    """It doubles above the budget, halves below half of it, and stays where the pace is between the two."""
    wear, now, written = Wear(GIB), 0.0, 0

    def after(share: float) -> float:
        """The window after half a minute at this share of the budget."""
        nonlocal now, written
        now, written = now + 30, written + int(30 * share * GIB / DAY_S)
        wear.note(now, written)
        return wear.window

    assert after(9.0) == SHORTEST  # the first look has nothing to compare with
    assert [after(share) for share in (1.1, 1.1, 0.9, 0.6, 0.4, 0.4, 0.4)] == [0.04, 0.08, 0.08, 0.08, 0.04, 0.02, 0.02]
    assert [after(9.0) for _ in range(7)][-2:] == [1.0, 1.0]


def test_projection_begins_after_twenty_seconds() -> None:
    """Less would make a day of a moment; from then on it is there."""
    wear = Wear(GIB)
    wear.note(0, 0)
    wear.note(19, 1900)
    assert wear.per_day is None
    wear.note(20, 2000)
    assert wear.per_day == 100 * DAY_S
