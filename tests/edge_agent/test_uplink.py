"""What waited for each sink in the last day."""

from __future__ import annotations

import time
from pathlib import Path

from edge_agent.uplink import SLOT_S, SLOTS, Backlog

NOON = 1_795_000_000.0 // SLOT_S * SLOT_S


def test_bar_is_a_day_of_quarter_hours(tmp_path: Path) -> None:
    """Each shows the most that waited in it; before the agent ran there is nothing, and older ones are forgotten."""
    waiting = {"centre": 0}
    backlog = Backlog(tmp_path, lambda: waiting)
    for quarter in range(-120, 1):
        for count in (5, 7 + quarter % 10, 3):
            waiting["centre"] = count
            backlog.look(NOON + quarter * SLOT_S)
    bar = backlog.bar("centre", NOON)
    assert len(bar) == SLOTS
    assert bar[-1] == 7
    assert bar[-2] == 16
    assert None not in bar
    assert backlog.bar("centre", NOON + 2 * SLOT_S)[-3:] == [7, None, None]
    assert backlog.bar("other", NOON) == [None] * SLOTS


def test_bar_outlives_a_power_cut(tmp_path: Path) -> None:
    """What was saved at the last quarter hour is there again; a torn file is a new beginning."""
    Backlog(tmp_path, lambda: {"centre": 9}).look(NOON)
    again = Backlog(tmp_path, lambda: {"centre": 4})
    again.look(NOON + SLOT_S)
    assert again.bar("centre", NOON + SLOT_S)[-2:] == [9, 4]
    (tmp_path / "backlog.json").write_bytes(b'{"centre": {"17')
    assert Backlog(tmp_path, dict).bar("centre", NOON) == [None] * SLOTS


def test_clock_that_leapt_leaves_no_mark(tmp_path: Path) -> None:
    """What was noted under a wrong time far ahead does not stay for ever."""
    backlog = Backlog(tmp_path, lambda: {"centre": 1})
    backlog.look(time.time() + 10 * 365 * 86_400)
    backlog.look(NOON)
    assert sum(each is not None for each in backlog.bar("centre", NOON)) == 1
    assert (tmp_path / "backlog.json").stat().st_size < 100
