"""The ledger that goes to the centre."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from drivers.reading import Readings, Reason, Source, quantities
from edge_agent import report_ledger
from edge_agent.account import Table
from edge_agent.board import Board
from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.report_ledger import LedgerReport
from edge_agent.store import Store

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
HOUR = 3_600_000


def test_hour_that_is_over_is_told_and_again_when_a_count_changed(tmp_path: Path) -> None:
    """The counts of a device and what each sink got, stamped with the hour; counted as the box's, not the device's."""

    async def main() -> None:
        journal = Journal(Store(tmp_path / "journal.db", "cl-02", "boot", 64 << 20), {"centre": ()}, 0.01, 30)
        hour = time.time_ns() // 1_000_000 // HOUR - 1
        good = Readings(STATION, hour * HOUR + 5, 0, (20.0, 80.0))
        half = Readings(STATION, hour * HOUR + 6, 0, (21.0, None), {1: Reason.sentinel})
        journal.put([good, half])
        await journal.flush()
        batches = LedgerReport(journal, pause=0).readings()
        first = await anext(batches)
        counts = {"expected": 4, "read": 4, "stored": 3, "rejected": 1, "quarantined": 0, "thinned": 0}
        board = Board({})
        for some in first.readings:
            board.show(some)
        assert board.points() == []
        assert [_line(some) for some in first.readings] == [(hour * HOUR, (("of", "met-1"),), counts)]
        rows = await journal.take("centre", 100, 1 << 20)
        journal.settle("centre", rows, Settled(3))
        journal.put((await anext(batches)).readings)
        await journal.flush()
        (sent,) = [unpack(row.body) for row in await journal.take("centre", 100, 1 << 20)]
        assert f"ledger,site=cl-02,sensor=box,of=met-1,sink=centre delivered=3i,excluded=0i,q=0i {hour * HOUR}" in sent
        device = (await journal.ledger(hour))[hour, "met-1"]
        assert (device["expected"], device["stored"]) == (4, 3)
        await batches.aclose()
        await journal.close()

    asyncio.run(main())


def test_disk_that_cannot_be_asked_leaves_the_hour_for_a_minute_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report goes on without waiting for the next hour, and tells what it could not tell before."""

    async def main() -> None:
        journal = Journal(Store(tmp_path / "journal.db", "cl-02", "boot", 64 << 20), {}, 0.01, 30)
        asked: list[int] = []

        async def ledger(since_hour: int) -> Table:
            asked.append(since_hour)
            if len(asked) == 1:
                raise sqlite3.OperationalError("disk I/O error")
            return {(since_hour, "met-1"): {"stored": 3}}

        monkeypatch.setattr(journal, "ledger", ledger)
        monkeypatch.setattr(report_ledger, "AGAIN", 0.0)
        monkeypatch.setattr(report_ledger, "_until_due", lambda _now: 3600.0 if asked else 0.0)
        batches = LedgerReport(journal).readings()
        assert len((await anext(batches)).readings) == 1
        assert len(asked) == 2
        await batches.aclose()
        await journal.close()

    asyncio.run(main())


def test_hour_told_again_after_a_restart_stands_behind_what_was_told_before(tmp_path: Path) -> None:
    """The last point of an hour is the newest account of it, whoever told the earlier ones. This hour is not over."""

    async def main() -> None:
        journal = Journal(Store(tmp_path / "journal.db", "cl-02", "boot", 64 << 20), {}, 0.01, 30)
        stamps: list[int] = []
        for this_hour, got in ((101, 1), (102, 2), (103, 3)):
            account = {"stored": 3, "excluded:city": got}
            table = {(100, "met-1"): account, (this_hour, "met-1"): account}
            told = list(LedgerReport(journal)._news(table, this_hour))
            assert [dict(some.source.tags).get("sink") for some in told] == [None, "city"]
            assert told[1].values == (0, got)
            stamps += {some.time for some in told}
        assert stamps == sorted(set(stamps))
        assert (stamps[0], stamps[-1] < 100 * HOUR + 1000) == (100 * HOUR, True)
        await journal.close()

    asyncio.run(main())


def _line(some: Readings) -> tuple[int, tuple[tuple[str, str], ...], dict[str, object]]:
    names = [quantity.field for quantity in some.source.quantities]
    return some.time, some.source.tags, dict(zip(names, some.values, strict=True))
