"""A card that takes its time: readings keep theirs, are grouped by how fast it is, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path

import pytest

from edge_agent.body import unpack
from edge_agent.journal import Journal
from edge_agent.lines import parse
from edge_agent.wear import LONGEST
from tests.faults.test_full_disk import NOW, put, run
from tests.faults.test_power_cut import NO_FUSE, mounted
from tests.waiting import until

PERIOD = 0.02
COUNT = 200
"""Polls of two values: four seconds of a hundred readings a second."""
SYNC_MS = 1500
"""Of one sync; a commit has one, and one in a hundred pages' worth three."""
MOST_LATE = 0.5
"""Seconds by which a poll may be late on a machine with much else to do; the card's stall would be three times that."""


def slow(disk: Path, sync_ms: int) -> None:
    """From now on."""
    with contextlib.suppress(FileExistsError):
        (disk / f".slow-{sync_ms}").touch()


async def poll(journal: Journal) -> tuple[list[asyncio.Future[None]], float, int]:
    """Read in a steady rhythm: what was promised, by how much a poll was late at most, and the most that waited."""
    promised: list[asyncio.Future[None]] = []
    began, late, waited = time.monotonic(), 0.0, 0
    for n in range(COUNT):
        due = began + n * PERIOD
        await asyncio.sleep(due - time.monotonic())
        await journal.room()
        promised += put(journal, n, 1)
        late, waited = max(late, time.monotonic() - due), max(waited, journal.pending)
        assert journal.window <= LONGEST
    return promised, late, waited


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason=NO_FUSE)
def test_card_whose_syncs_take_a_second_and_a_half(tmp_path: Path) -> None:
    """Polls keep their rhythm, what waits is what came in two commits' time, and all is on disk, once."""

    async def work(journal: Journal) -> None:
        await asyncio.gather(*put(journal, -1, 1))
        slow(disk, SYNC_MS)
        promised, late, waited = await poll(journal)
        assert late < MOST_LATE
        assert journal.error is None
        assert time.monotonic() - journal.progress < 10
        assert 0 < sum(done.done() for done in promised) < COUNT
        assert journal.commit_ms >= SYNC_MS
        assert waited <= 2 * COUNT
        async with asyncio.timeout(30):
            await asyncio.gather(*promised)
        slow(disk, 0)
        await asyncio.gather(*put(journal, COUNT, 1))
        await until(lambda: journal.commit_ms < SYNC_MS)
        rows = await journal.take("centre", 10_000, 1 << 20)
        assert len(rows) < COUNT / 10, "commits are as many as the card can take"
        stamps = Counter(line.time for row in rows for line in parse(unpack(row.body)))
        assert stamps == Counter(range(NOW - 1, NOW + COUNT + 1))

    with mounted(tmp_path) as (disk, _):
        run(disk, work)
