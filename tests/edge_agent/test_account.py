"""The ledger's table is counted in portions, and exactly, whatever happens between them."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.reading import Readings, Reason, Source, quantities
from edge_agent import account, quarantine, recovery, redo
from edge_agent.account import Table, begun, fold_all
from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import parse
from edge_agent.rows import Held, Row
from edge_agent.store import Store
from edge_agent.thin import Policy

Q = quantities()
DEVICES = [Source(f"met-{n}", (Q["weather.temp_c"], Q["weather.rh_pct"])) for n in range(3)]
LEVEL = Source("water-1", (Q["water.level_m"],))
NOW = 1_786_674_000_000
SINKS: dict[str, tuple[str, ...]] = {"centre": (), "ward": ("water",)}


def opened(folder: Path) -> Journal:
    store = Store(folder / "journal.db", "cl-02", "boot-1", 64 << 20, Policy(60_000))
    return Journal(store, SINKS, window=0.01, keep_days=30)


class Events:
    """What can happen to a journal, by a seed."""

    def __init__(self, journal: Journal, number: int) -> None:
        """`number`: of the seed."""
        self.journal = journal
        self.chance = random.Random(number)
        self.n = 0

    async def any(self) -> None:
        """One of them."""
        events = (self.comes_in, self.comes_in, self.settled, self.settled, self.refused, self.other)
        await self.chance.choice(events)()

    async def comes_in(self) -> None:
        """A commit, some of it not read."""
        self.n += 1
        at = NOW + self.n * HOUR_MS // 20
        faults = {1: Reason.timeout} if self.n % 3 else {1: Reason.gross_range}
        some = [Readings(each, at, self.n, (1.0, None), faults) for each in self.chance.sample(DEVICES, 2)]
        self.journal.put([*some, Readings(LEVEL, at, self.n, (2.0,))])
        await self.journal.flush()

    async def settled(self) -> None:
        """A sink has some rows, not always the oldest."""
        await self._settle(self.chance.choice(list(SINKS)), lambda rows: ())

    async def refused(self) -> None:
        """One reading of a row is refused by its server."""
        await self._settle("centre", _first_refused)

    async def _settle(self, sink: str, refused: Callable[[list[Row]], tuple[Held, ...]]) -> None:
        top = self.journal.top
        after = self.chance.randrange(0, top + 1)
        rows = await self.journal.call(self.journal.store.rows, after, min(top, after + 40), 100, 1 << 20)
        if not rows or any(redo._has(self.journal.states[sink].cursor, row.id) for row in rows):
            return
        held = refused(rows)
        self.journal.settle(sink, rows, Settled(sum(row.readings for row in rows) - len(held), 0, held))
        await self.journal.flush()

    async def other(self) -> None:
        """Rarer ones: old rows go, the oldest are thinned, all is counted, a stretch or what was refused goes again."""
        journal = self.journal
        some = self.chance.randrange(5)
        if some == 0:
            await journal.call(journal.store.trim, time.time_ns() // 1_000_000 + 1, tuple(SINKS))
        elif some == 1:
            await journal.recovery.make_room()
        elif some == 2:
            await fold_all(journal)
        elif some == 3:
            await redo.resend(journal, "centre", (NOW, NOW + self.n * HOUR_MS // 40))
        else:
            await quarantine.handle(journal, "release", "centre", [])


def _first_refused(rows: list[Row]) -> tuple[Held, ...]:
    row = rows[0]
    bad = next(parse(unpack(row.body))[0].single())
    return (Held("centre", row.id, row.after + 1, bad.device, bad.measurement, bad.time // HOUR_MS, bad.text(), "no"),)


def at_one_go(copy: Path) -> Table:
    """The table of a file that nobody uses, all of it folded first."""
    store = Store(copy / "journal.db", "cl-02", "boot-1", 64 << 20)
    try:
        while store.fold():
            pass
        counting = begun(store, 0)
        while counting.portion():
            pass
        return counting.table()
    finally:
        store.close()


@pytest.mark.parametrize("number", range(12))
def test_ledger_counted_while_anything_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Counted a row at a time with an event after each, it is the table of the moment at which the counting began."""
    monkeypatch.setattr(account, "PORTION", 0.0)

    async def main() -> None:
        journal = opened(tmp_path)
        events = Events(journal, number)
        for _ in range(60):
            await events.any()
        await journal.flush()
        counting = await journal.call(begun, journal.store, 0)
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            shutil.copy(tmp_path / name, copy / name)
        while await journal.call(counting.portion):
            await events.any()
        assert counting.table() == await asyncio.to_thread(at_one_go, copy)
        await journal.close()

    asyncio.run(main())


def test_ledger_asked_again_and_again_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is delivered, left out or waiting, in each answer that comes while rows come in and go out."""
    monkeypatch.setattr(account, "PORTION", 0.0)

    async def main() -> None:
        journal = opened(tmp_path)
        events = Events(journal, 1)
        for _ in range(3):
            asking = asyncio.create_task(journal.ledger(0))
            while not asking.done():
                await events.comes_in()
                await events.settled()
            of: Counter[str] = Counter()
            for row in (await asking).values():
                of.update(row)
            assert 0 < of["delivered:ward"] + of["excluded:ward"] <= of["stored"] <= 4 * events.n
        await journal.close()

    asyncio.run(main())


def test_ledger_since_an_hour_has_none_before_it(tmp_path: Path) -> None:
    """Also where a sink has settled rows of earlier hours above its low-water mark."""

    async def main() -> None:
        journal = opened(tmp_path)
        for n in range(3):
            journal.put([Readings(LEVEL, NOW + n * HOUR_MS, n, (1.0,))])
            await journal.flush()
        rows = await journal.call(journal.store.rows, 1, 3, 100, 1 << 20)
        journal.settle("centre", rows, Settled(2))
        hour = NOW // HOUR_MS
        assert [key for key, _ in await journal.ledger(hour + 2)] == [hour + 2]
        assert [key for key, _ in await journal.ledger(hour)] == [hour, hour + 1, hour + 2]
        await journal.close()

    asyncio.run(main())


def test_ledger_asked_while_a_damaged_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted before, and the rows that are there by now, each once; in the end all of them."""
    monkeypatch.setattr(recovery, "RETRY", 0.01)

    async def main() -> None:
        journal = opened(tmp_path)
        for n in range(11):
            if n == 5:
                await fold_all(journal)
            if n == 10:
                await journal.call(journal.store.begin_anew, "a test")
                journal.moved()
            journal.put([Readings(LEVEL, NOW + n, n, (1.0,))])
            await journal.flush()
        hour = NOW // HOUR_MS
        assert (await journal.ledger(0))[hour, "water-1"]["stored"] == 5 + 1
        bringing = asyncio.create_task(journal.recovery.bring_back())
        async with asyncio.timeout(10):
            while journal.salvaging:
                assert 6 <= (await journal.ledger(0))[hour, "water-1"]["stored"] <= 11
        bringing.cancel()
        assert (await journal.ledger(0))[hour, "water-1"]["stored"] == 11
        await journal.close()

    asyncio.run(main())


def test_file_replaced_while_the_ledger_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counting ends with an error, and the connection of its own is closed before the file is set aside."""
    monkeypatch.setattr(account, "PORTION", 0.0)

    async def main() -> None:
        journal = opened(tmp_path)
        events = Events(journal, 2)
        for _ in range(5):
            await events.comes_in()
        counting = await journal.call(begun, journal.store, 0)
        assert await journal.call(counting.portion)
        await journal.call(journal.store.begin_anew, "a test")
        with pytest.raises(sqlite3.OperationalError, match="opened anew"):
            await journal.call(counting.portion)
        await events.comes_in()
        await journal.close()

    asyncio.run(main())
    file = sqlite3.connect(tmp_path / "journal.db")
    assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()
