"""The journal: group commit, cursors, what each sink is sent next."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from drivers.reading import Reason, Source
from edge_agent import journal as journals
from edge_agent import lately
from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.lines import parse
from tests.edge_agent.journal_kept import ALL, LEVEL, NOW, Q, at, journal, put, run, store


def test_done_is_called_only_after_the_readings_are_in_the_file(tmp_path: Path) -> None:
    """Another connection sees the rows when `done` is called."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0), at(1))
        rows = sqlite3.connect(tmp_path / "journal.db").execute("SELECT id, readings, body FROM blobs").fetchall()
        assert [(id_, readings) for id_, readings, _ in rows] == [(4, 4)]
        assert len(parse(unpack(rows[0][2]))) == 2

    run(work, lambda: journal(tmp_path))


def test_what_was_pending_at_the_end_is_committed(tmp_path: Path) -> None:
    """Closing commits what came in the last moment."""

    async def work(kept: Journal) -> None:
        kept.put([at(0)])

    run(work, lambda: journal(tmp_path))
    assert store(tmp_path).stat().readings == 2


def test_sequence_goes_on_after_the_journal_was_emptied(tmp_path: Path) -> None:
    """A sequence number is never given twice, so that no cursor stands above new rows."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        rows = await kept.take("centre", 1000, 1 << 20)
        kept.settle("centre", rows, Settled(2))

    run(work, lambda: journal(tmp_path))
    emptied = store(tmp_path)
    assert emptied.trim(NOW + 10**12, ["centre"]) == 1
    emptied.close()
    assert store(tmp_path).last_id == 2


def test_rows_are_taken_in_order_and_not_again_once_settled(tmp_path: Path) -> None:
    """A sink gets each row until it has settled it."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        await put(kept, at(1))
        first = await kept.take("centre", 1, 1 << 20)
        assert [row.id for row in first] == [2]
        assert [row.id for row in await kept.take("centre", 1, 1 << 20)] == [2]
        kept.settle("centre", first, Settled(2))
        assert [row.id for row in await kept.take("centre", 10, 1 << 20)] == [4]
        assert kept.waiting("centre") == 2

    run(work, lambda: journal(tmp_path))


def test_cursor_and_counts_survive_a_restart(tmp_path: Path) -> None:
    """What was settled stays settled."""

    async def first(kept: Journal) -> None:
        await put(kept, at(0))
        kept.settle("centre", await kept.take("centre", 10, 1 << 20), Settled(2))
        await put(kept, at(1))

    async def second(kept: Journal) -> None:
        assert kept.waiting("centre") == 2
        assert kept.states["centre"].delivered == 2
        assert kept.states["centre"].cursor.low == 2

    run(first, lambda: journal(tmp_path))
    run(second, lambda: journal(tmp_path))


def test_each_sink_has_its_own_cursor(tmp_path: Path) -> None:
    """One sink that is down keeps nothing from the other."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        kept.settle("a", await kept.take("a", 10, 1 << 20), Settled(2))
        assert (kept.waiting("a"), kept.waiting("b")) == (0, 2)

    run(work, lambda: journal(tmp_path, a=ALL, b=ALL))


def test_side_keeps_what_the_slow_paths_need(tmp_path: Path) -> None:
    """Monotonic time and the number of readings of each line are kept beside the lines."""

    async def work(kept: Journal) -> None:
        await put(kept, at(5), at(6, None, None, faults={0: Reason.timeout, 1: Reason.timeout}), at(7, None, 1.0))
        side = await kept.side(3)
        assert side.monos == [5, 7]
        assert side.readings == [2, 1]

    run(work, lambda: journal(tmp_path))


def test_collectors_wait_while_too_much_is_in_memory(tmp_path: Path) -> None:
    """Memory is bounded: past the limit `room` waits until the disk has taken something."""

    async def work(kept: Journal) -> None:
        blocker = sqlite3.connect(tmp_path / "journal.db", timeout=0)
        blocker.execute("BEGIN IMMEDIATE")
        kept.put([at(n) for n in range(100_001)])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kept.room(), 0.1)
        blocker.rollback()
        await asyncio.wait_for(kept.room(), 15)

    run(work, lambda: journal(tmp_path))


def test_collectors_wait_while_long_texts_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few readings can be much memory: the limit is one of bytes too."""
    monkeypatch.setattr(journals, "MOST_PENDING_BYTES", 50_000)
    text = Source("sky-1", (Q["air_index.main_pollutant"],))

    async def work(kept: Journal) -> None:
        blocker = sqlite3.connect(tmp_path / "journal.db", timeout=0)
        blocker.execute("BEGIN IMMEDIATE")
        kept.put([at(n, "x" * 1000, source=text) for n in range(20)])
        assert not kept.is_full
        kept.put([at(n, "x" * 1000, source=text) for n in range(20, 60)])
        assert kept.is_full
        blocker.rollback()
        await asyncio.wait_for(kept.room(), 15)

    run(work, lambda: journal(tmp_path))


def test_commits_wait_as_long_as_the_write_budget_asks(tmp_path: Path) -> None:
    """The budget's window counts for what nobody waits for, and for what a broker waits for."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        kept.wear.window = 0.4
        assert kept.window == 0.4
        began = time.monotonic()
        await put(kept, at(1))
        assert time.monotonic() - began > 0.3

    run(work, lambda: journal(tmp_path))


def test_new_sink_begins_with_the_oldest_row_there_is(tmp_path: Path) -> None:
    """A sink added later gets the history that is still kept."""

    async def first(kept: Journal) -> None:
        await put(kept, at(0))
        kept.settle("centre", await kept.take("centre", 10, 1 << 20), Settled(2))

    async def second(kept: Journal) -> None:
        await kept.adopt({"centre": ALL, "late": ALL})
        assert [row.id for row in await kept.take("late", 10, 1 << 20)] == [2]
        assert kept.waiting("centre") == 0

    run(first, lambda: journal(tmp_path))
    run(second, lambda: journal(tmp_path))


def test_live_rows_go_first_after_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more waiting than a batch, the newest rows go first and take turns with the oldest, each row once."""

    async def work(kept: Journal) -> None:
        for n in range(6):
            monkeypatch.setattr(lately, "_now", lambda n=n: 0.0 if n < 4 else 3600.0)
            await put(kept, at(n))
        taken = []
        for _ in range(6):
            rows = await kept.take("centre", 2, 1 << 20)
            taken.append([row.id for row in rows])
            kept.settle("centre", rows, Settled(2 * len(rows)))
            if kept.waiting("centre") == 0:
                break
        assert taken == [[10], [2], [12], [4], [6], [8]]

    run(work, lambda: journal(tmp_path))


def test_commits_one_after_the_other_acknowledge_only_what_is_on_disk(tmp_path: Path) -> None:
    """A question that commits too never overtakes a commit that still waits for the disk."""

    async def work(kept: Journal) -> None:
        blocker = sqlite3.connect(tmp_path / "journal.db", timeout=0)
        blocker.execute("BEGIN IMMEDIATE")
        first = put(kept, at(0))
        asked = asyncio.ensure_future(kept.ledger(0))
        second = put(kept, at(1))
        await asyncio.sleep(0.2)
        assert not first.done()
        assert not second.done()
        blocker.rollback()
        await asyncio.gather(first, second, asked)
        assert (await kept.stat()).readings == 4

    run(work, lambda: journal(tmp_path))


def test_acknowledgement_that_fails_keeps_the_others_from_nothing(tmp_path: Path) -> None:
    """A fault of whoever waits is logged; the next one hears of its readings, and commits go on."""

    def broken() -> None:
        raise RuntimeError("no")

    async def work(kept: Journal) -> None:
        kept.put([at(0)], broken)
        await put(kept, at(1))
        await put(kept, at(2))
        assert (await kept.stat()).readings == 6  # two in each

    run(work, lambda: journal(tmp_path))


def test_sinks_change_while_others_settle(tmp_path: Path) -> None:
    """A sink that goes on keeps what it settles meanwhile; the one that is gone may still settle without harm."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        rows = await kept.take("a", 10, 1 << 20)
        changing = asyncio.ensure_future(kept.adopt({"a": ALL}))
        await asyncio.sleep(0)
        kept.settle("a", rows, Settled(2))
        await changing
        assert (kept.waiting("a"), kept.states["a"].delivered) == (0, 2)
        await put(kept, at(1))

    run(work, lambda: journal(tmp_path, a=ALL, b=ALL))


def test_stamp_from_a_wrong_clock_is_told_apart(tmp_path: Path) -> None:
    """A device in 2096 is not the journal's last time, nor that of the rows after it; also after a restart."""
    in_2096 = 3_976_000_000_000

    async def work(kept: Journal) -> None:
        await put(kept, at(1))
        await put(kept, at(2, 1.5, source=LEVEL), msgspec.structs.replace(at(3), time=in_2096))
        await put(kept, at(4))
        await tells(kept)

    async def tells(kept: Journal) -> None:
        now = await kept.stat()
        assert (now.last_ms, now.ahead_ms) == (NOW + 4, in_2096)
        rows = await kept.call(kept.store.select, "SELECT last_ms FROM blobs ORDER BY id")
        assert [last for (last,) in rows] == [NOW + 1, in_2096, NOW + 4]

    run(work, lambda: journal(tmp_path))
    run(tells, lambda: journal(tmp_path))
