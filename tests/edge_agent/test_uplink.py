"""What waited for each sink in the last day."""

from __future__ import annotations

import asyncio
import os
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
    first = Backlog(tmp_path, lambda: {"centre": 9})
    assert first.look(NOON)
    assert not first.look(NOON + 1)
    first.save()
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
    backlog.save()
    assert sum(each is not None for each in backlog.bar("centre", NOON)) == 1
    assert (tmp_path / "backlog.json").stat().st_size < 100


def test_card_that_stalls_while_the_bar_is_written(tmp_path: Path) -> None:
    """Everybody else goes on."""
    backlog = Backlog(tmp_path, lambda: {"centre": 1})
    os.mkfifo(tmp_path / "backlog.json")  # whoever opens it to write waits until somebody reads

    async def main() -> None:
        looking = asyncio.create_task(backlog.run())
        try:
            await asyncio.sleep(0.05)
            assert not looking.done()
        finally:
            assert b"centre" in await asyncio.to_thread((tmp_path / "backlog.json").read_bytes)
            looking.cancel()

    asyncio.run(main())
