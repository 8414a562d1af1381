"""What a journal counts and deletes beside its work, and that neither keeps it from that."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from drivers.reading import Readings, Source, quantities
from edge_agent import housekeeping, redo
from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import FOLDED, Tally
from edge_agent.redo import SOUGHT
from edge_agent.rows import Group
from edge_agent.store import Store

LEVEL = Source("water-1", (quantities()["water.level_m"],))


def filled(folder: Path, rows: int) -> Store:
    """A journal whose rows nobody has counted yet."""
    store = Store(folder / "journal.db", "cl-02", "boot", 64 << 20)
    now = time.time_ns() // 1_000_000
    for n in range(rows):
        group = Group()
        group.add(Readings(LEVEL, now - rows + n, n, (float(n),)))
        store.commit(group)
    return store


def test_long_ledger_is_counted_beside_the_commits(tmp_path: Path) -> None:
    """Counting 3,000 rows never holds the journal's thread for longer than some hundred of them take."""
    store = filled(tmp_path, 6 * FOLDED)

    async def main() -> None:
        journal = Journal(store, {"centre": ()}, 0.01, 30)
        asking = asyncio.create_task(journal.ledger(0))
        while not await journal.call(store.ledger.folded):
            await asyncio.sleep(0)
        assert not asking.done()
        journal.put([Readings(LEVEL, time.time_ns() // 1_000_000, 1, (1.0,))])
        await journal.flush()
        assert sum(row["stored"] for row in (await asking).values()) in (6 * FOLDED, 6 * FOLDED + 1)
        await journal.close()

    asyncio.run(main())


def test_lines_of_a_long_time_are_imported_beside_the_commits(tmp_path: Path) -> None:
    """Whether the journal has them already is looked up in portions; what was committed meanwhile is known too."""
    store = filled(tmp_path, 8 * SOUGHT)

    async def main() -> None:
        journal = Journal(store, {"centre": ()}, 0.01, 30)
        bodies = store.select("SELECT body FROM blobs WHERE id IN (1, 2000, 4000)")
        known = "".join(unpack(body) for (body,) in bodies)
        late = Readings(LEVEL, time.time_ns() // 1_000_000, 1, (7.5,))
        said = f"water,site=cl-02,sensor=water-1 level_m=7.5,q=0i {late.time}\n"
        importing = asyncio.create_task(redo.put_lines(journal, known + said + said.replace("7.5", "8.5")))
        committed = 0
        while not importing.done():
            journal.put([late] if not committed else [])
            await journal.flush()
            committed += not importing.done()
        assert committed >= 4
        assert await importing == redo.Imported(1, 1, 0, 4)
        await journal.close()

    asyncio.run(main())


def test_ledger_is_counted_and_nothing_deleted_while_the_clock_is_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days in doubt leave no mountain to be counted at once; what the clock calls old goes once it is believed."""
    monkeypatch.setattr(housekeeping, "HOUSEKEEPING", 0.01)
    store = filled(tmp_path, 20)

    async def main() -> None:
        journal = Journal(store, {"centre": ()}, 0.01, keep_days=0)
        journal.clock_doubtful = True
        long_ago = Tally(1, "met-1", "weather", expected=1, rejected={})
        store.ledger.count([long_ago])
        rows = await journal.take("centre", 1000, 1 << 20)
        journal.settle("centre", rows, Settled(20))
        running = asyncio.create_task(journal.run())
        async with asyncio.timeout(10):
            while await journal.call(store.ledger.folded) < 20:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert (await journal.call(store.stat)).readings == 20
        assert (1, "met-1") in await journal.ledger(0)
        journal.clock_doubtful = False
        async with asyncio.timeout(10):
            while (await journal.call(store.stat)).readings or (1, "met-1") in await journal.ledger(0):
                await asyncio.sleep(0.01)
        assert len(journal.wear._samples) > 2, "each round looks at what the card was written"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await journal.close()

    asyncio.run(main())
