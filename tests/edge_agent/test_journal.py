"""The journal: group commit, cursors, what survives a crash, what the ledger counts."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec
import pytest

from drivers.reading import Readings, Reason, Source, Value, quantities
from edge_agent import lately
from edge_agent.body import unpack
from edge_agent.cursor import Cursor
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import HOUR_MS, SinkState, pack_state
from edge_agent.lines import Line, parse
from edge_agent.refused import MOST_HELD
from edge_agent.rows import Group, Held, Row
from edge_agent.schema import NewerJournal
from edge_agent.store import Store
from edge_agent.thin import GAP, MARKER_READINGS, Policy, condition

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
LEVEL = Source("water-1", (Q["water.level_m"],))
NOW = 1_786_674_000_000
ALL: tuple[str, ...] = ()


def at(n: int, *values: Value | None, source: Source = STATION, faults: dict[int, Reason] | None = None) -> Readings:
    """Readings `n` ms after NOW."""
    return Readings(source, NOW + n, n, values or (20.0 + n, 80.0), faults or {})


def store(folder: Path, max_bytes: int = 64 << 20) -> Store:
    return Store(folder / "journal.db", "cl-02", "boot-1", max_bytes)


def journal(folder: Path, **sinks: tuple[str, ...]) -> Journal:
    return Journal(store(folder), sinks or {"centre": ALL}, window=0.01, keep_days=30)


def run(work: Callable[[Journal], Coroutine[None, None, None]], subject: Callable[[], Journal]) -> None:
    """Run `work` beside the committing task, then close."""

    async def main() -> None:
        kept = subject()
        committing = asyncio.create_task(kept.run())
        try:
            await asyncio.wait_for(work(kept), 20)
        finally:
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)
            await kept.close()

    asyncio.run(main())


def put(kept: Journal, *readings: Readings) -> asyncio.Future[None]:
    """Put readings; the future is done when they are on disk."""
    committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    kept.put(readings, lambda: committed.set_result(None))
    return committed


def gaps(row: Row) -> list[Line]:
    """The gap markers of a row."""
    return [line for line in parse(unpack(row.body)) if line.measurement == GAP]


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


def test_commit_that_fails_is_tried_again_with_the_same_readings(tmp_path: Path) -> None:
    """A disk that does not take the commit loses nothing; the acknowledgement waits."""

    async def work(kept: Journal) -> None:
        blocker = sqlite3.connect(tmp_path / "journal.db", timeout=0)
        blocker.execute("BEGIN IMMEDIATE")
        kept._store._db.execute("PRAGMA busy_timeout=50")
        committed = put(kept, at(0))
        await asyncio.sleep(0.3)
        assert not committed.done()
        assert kept.error is not None
        blocker.rollback()
        await committed
        assert kept.error is None
        assert (await kept.stat()).readings == 2

    run(work, lambda: journal(tmp_path))


def test_full_journal_gives_up_the_oldest_and_says_how_many(tmp_path: Path) -> None:
    """At its size limit the journal goes on; what was given up undelivered is counted as thinned."""
    names = tuple(Q[f"power.{name}"] for name in ("voltage_l1_v", "voltage_l2_v", "current_l1_a", "power_w"))
    noisy = [Source(f"power-{n}", names) for n in range(20)]

    async def work(kept: Journal) -> None:
        chance = random.Random(1)
        for n in range(400):
            values = [tuple(chance.uniform(0, 99) for _ in range(4)) for _ in range(100)]
            hour = NOW + HOUR_MS * (n // 10)  # the ledger grows too, and must find room to count what is given up
            await put(kept, *[Readings(noisy[i % 20], hour + 1000 * n + i, n, v) for i, v in enumerate(values)])
        stat = await kept.stat()
        assert stat.thinned > 0
        assert stat.last_id == 400 * 400
        table = await kept.ledger(0)
        generated, stored = 400 * 400, sum(row.get("stored", 0) for row in table.values())
        assert kept.waiting("centre") == stat.readings == stored - stat.thinned
        assert sum(row.get("thinned", 0) for row in table.values()) == stat.thinned
        assert sum(row.get("thinned:centre", 0) for row in table.values()) == stat.thinned
        markers = [line for row in kept._store.rows(0, stat.last_id, 10**9, 1 << 30) for line in gaps(row)]
        assert sum(int(line.fields[0][1][:-1]) for line in markers) == stat.thinned
        assert stored - generated >= MARKER_READINGS * len(markers)

    run(work, lambda: Journal(store(tmp_path, 1 << 20), {"centre": ALL}, window=0.01, keep_days=30))


def test_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    """Whatever is in the file, the journal opens; the damaged one is kept."""
    (tmp_path / "journal.db").write_bytes(b"not a database at all" * 500)
    opened = store(tmp_path)
    assert opened.stat().readings == 0
    assert opened.stat().damaged_files == 1
    assert next(tmp_path.glob("journal.db.damaged-*")).read_bytes().startswith(b"not a database")


def test_newer_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A schema from a later version is not guessed at."""
    store(tmp_path).close()
    file = sqlite3.connect(tmp_path / "journal.db")
    file.execute("PRAGMA user_version=99")
    file.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    file.commit()
    file.close()
    with pytest.raises(NewerJournal, match="99"):
        store(tmp_path)


def test_ledger_sums_are_exact(tmp_path: Path) -> None:
    """expected = read + not read; read = stored + rejected; stored = delivered + excluded + quarantined + waiting."""
    silent = {0: Reason.timeout, 1: Reason.timeout}

    async def work(kept: Journal) -> None:
        await put(kept, at(0), at(1, None, None, faults=silent), at(2, None, 81.0, faults={0: Reason.decode}))
        await put(kept, at(3, 4.0, source=LEVEL), Readings(STATION, NOW + 4, 4, (None, None), silent, polls=5))
        rows = await kept.take("centre", 1000, 1 << 20)
        held = Held("centre", rows[0].id, 1, "met-1", "weather", NOW // HOUR_MS, "line", "no")
        kept.settle("centre", rows, Settled(3, 0, (held,)))
        kept.settle("province", await kept.take("province", 1000, 1 << 20), Settled(1, 3))
        table = await kept.ledger(0)
        assert table[NOW // HOUR_MS, "met-1"] == {
            "expected": 16,
            "read": 4,
            "rejected:decode": 1,
            "stored": 3,
            "delivered:centre": 2,
            "quarantined": 1,
            "excluded:province": 3,
        }
        assert table[NOW // HOUR_MS, "water-1"]["delivered:province"] == 1

    run(work, lambda: journal(tmp_path, centre=ALL, province=("water",)))


def test_ledger_counts_what_was_settled_above_the_low_water_mark(tmp_path: Path) -> None:
    """Readings delivered live while a backlog waits are counted as delivered at once."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        await put(kept, at(1))
        rows = kept._store.rows(2, 4, 1000, 1 << 20)
        kept.settle("centre", rows, Settled(2))
        assert (await kept.ledger(0))[NOW // HOUR_MS, "met-1"]["delivered:centre"] == 2
        assert (await kept.ledger(0))[NOW // HOUR_MS, "met-1"]["delivered:centre"] == 2

    run(work, lambda: journal(tmp_path))


def test_silent_device_is_expected_though_nothing_was_stored(tmp_path: Path) -> None:
    """A device that never answers still has its line in the ledger."""

    async def work(kept: Journal) -> None:
        kept.put([at(0, None, None, faults={0: Reason.timeout, 1: Reason.timeout})])
        assert (await kept.ledger(0))[NOW // HOUR_MS, "met-1"] == {"expected": 2}

    run(work, lambda: journal(tmp_path))
    with sqlite3.connect(tmp_path / "journal.db") as file:
        assert file.execute("SELECT device, name, n FROM ledger").fetchall() == [("met-1", "expected", 2)]


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


def test_commit_whose_sync_failed_is_stored_once(tmp_path: Path) -> None:
    """After an error the file may hold the rows all the same: they are not put in a second time."""
    kept = store(tmp_path)
    group = Group()
    group.add(at(0))
    kept.commit(group)
    kept.last_id = 0  # as if the commit had been reported as failed
    kept.reopen()
    kept.commit(group)
    assert kept.stat().readings == 2
    kept.close()


def test_file_that_cannot_be_opened_again_is_tried_until_it_can(tmp_path: Path) -> None:
    """While the folder is away nothing is acknowledged and nothing is lost."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        blocker = sqlite3.connect(tmp_path / "journal.db", timeout=0)
        blocker.execute("BEGIN IMMEDIATE")
        kept._store._db.execute("PRAGMA busy_timeout=50")
        away = tmp_path.with_name(tmp_path.name + "-away")
        os.rename(tmp_path, away)
        committed = put(kept, at(1))
        await asyncio.sleep(1.5)
        assert not committed.done()
        os.rename(away, tmp_path)
        blocker.rollback()
        await committed
        assert (await kept.stat()).readings == 4

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


def test_what_a_sink_takes_changes_and_the_counts_stay_exact(tmp_path: Path) -> None:
    """What was settled is counted by the choice of its time, what follows by the new one."""

    async def first(kept: Journal) -> None:
        await put(kept, at(0))
        kept.settle("centre", await kept.take("centre", 10, 1 << 20), Settled(2))

    async def second(kept: Journal) -> None:
        await put(kept, at(1))
        kept.settle("centre", await kept.take("centre", 10, 1 << 20), Settled(0, 2))
        row = (await kept.ledger(0))[NOW // HOUR_MS, "met-1"]
        assert (row["delivered:centre"], row["excluded:centre"]) == (2, 2)

    run(first, lambda: journal(tmp_path, centre=ALL))
    run(second, lambda: journal(tmp_path, centre=("water",)))


def test_history_goes_when_it_is_old_and_delivered(tmp_path: Path) -> None:
    """Only the oldest run of rows that every sink has, and only as far as the age reaches."""

    async def work(kept: Journal) -> None:
        for n in range(4):
            await put(kept, at(n))
        rows = kept._store.rows(0, 6, 1000, 1 << 20)
        kept.settle("centre", rows, Settled(6))

    run(work, lambda: journal(tmp_path))
    kept = store(tmp_path)
    assert kept.trim(0, ["centre"]) == 0
    assert kept.trim(10**15, ["centre", "not saved yet"]) == 0
    assert kept.trim(10**15, ["centre"]) == 3
    assert kept.stat().readings == 2
    kept.close()


def test_refused_readings_are_bounded_and_each_is_counted_once(tmp_path: Path) -> None:
    """The oldest make room after the ledger has counted them; the same one refused again is the same."""
    kept = store(tmp_path)
    for round_ in range(2):
        for n in range(3):
            group = Group()
            group.held = [Held("a", 1, 1 + n * 6000 + i, "met-1", "weather", 1, "l", "w") for i in range(6000)]
            group.states = {"a": pack_state(SinkState(cursor=Cursor(low=5)))}
            kept.commit(group)
            kept.ledger.fold(0)
        assert MOST_HELD <= kept.stat().quarantined <= MOST_HELD + 6000, round_
    kept.close()


def test_damaged_row_does_not_keep_the_journal_from_opening(tmp_path: Path) -> None:
    """Its stamps are not known, the others are."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        await put(kept, at(1, 4.0, source=LEVEL))

    run(work, lambda: journal(tmp_path))
    with sqlite3.connect(tmp_path / "journal.db") as file:
        file.execute("UPDATE blobs SET body = x'1f8b0800' WHERE id = 2")
    assert store(tmp_path).last_stamps() == {"water,site=cl-02,sensor=water-1": NOW + 1}


def test_thinning_below_and_above_what_a_sink_has_is_counted_for_each(tmp_path: Path) -> None:
    """One sink has the newest already, the other nothing: what goes counts as thinned only for whom it is missing."""

    def full(kept: Journal) -> Coroutine[None, None, bool]:
        return kept.recovery.make_room()

    async def work(kept: Journal) -> None:
        for n in range(40):
            await put(kept, at(1000 * n), at(1000 * n, 4.0, source=LEVEL))
        newest = kept._store.rows(60, kept.top, 1000, 1 << 20)
        kept.settle("a", newest, Settled(sum(row.readings for row in newest)))
        await kept.flush()
        while await full(kept):
            if not any(row.span is None for row in kept._store.rows(0, kept.top, 10**6, 1 << 30)):
                break
        for name, only in (("a", ALL), ("b", ("water",))):
            while kept.waiting(name):
                rows = await kept.take(name, 1000, 1 << 20)
                lines = [line for row in rows for line in parse(unpack(row.body))]
                taken = sum(len(line.fields) for line in lines if not only or line.measurement in only)
                kept.settle(name, rows, Settled(taken, sum(row.readings for row in rows) - taken))
        counts = Counter[str]()
        for row in (await kept.ledger(0)).values():
            counts.update(row)
        for name in "ab":
            assert counts["stored"] == sum(counts[f"{what}:{name}"] for what in ("delivered", "excluded", "thinned"))
        assert counts["thinned:a"] < counts["thinned"]
        assert counts["delivered:a"] >= 60

    run(work, lambda: journal(tmp_path, a=ALL, b=("water",)))


def test_readings_that_an_alarm_is_about_are_not_thinned(tmp_path: Path) -> None:
    """Of each series one line a minute stays, and every line that meets the condition of an alarm."""

    async def work(kept: Journal) -> None:
        for n in range(100):
            await put(kept, at(1000 * n, 6.0 if n in (31, 32, 33) else 1.0, source=LEVEL))
        await kept.recovery.make_room()
        rows = kept._store.rows(0, kept.top, 10**6, 1 << 30)
        lines = [line for row in rows for line in parse(unpack(row.body))]
        kept_at = [(line.time - NOW) // 1000 for line in lines if line.measurement == "water"]
        assert len(rows) == 1
        assert {31, 32, 33} < set(kept_at)
        assert len(kept_at) == 3 + 2 + (NOW % 60_000 > 20_000)
        (marker,) = [line for line in lines if line.measurement == GAP]
        assert marker.fields[0] == ("readings", f"{100 - len(kept_at)}i")

    policy = Policy(60_000, (condition("water-1.water.level_m >= 5"),))
    opened = Store(tmp_path / "journal.db", "cl-02", "boot-1", 64 << 20, policy)
    run(work, lambda: Journal(opened, {"centre": ALL}, window=0.01, keep_days=30))


def test_damaged_file_on_a_full_disk_stays_until_a_new_one_can_be_begun(tmp_path: Path) -> None:
    """What cannot be written is not begun: the old file is set aside only when the new one is whole."""
    kept = store(tmp_path)
    group = Group()
    group.add(at(0))
    kept.commit(group)
    (tmp_path / "journal.db.new").mkdir()  # as a disk that takes no new file
    with pytest.raises(OSError, match=r"journal\.db\.new"):
        kept.begin_anew("test")
    kept.reopen()
    assert (kept.stat().readings, kept.stat().damaged_files) == (2, 0)
    (tmp_path / "journal.db.new").rmdir()
    kept.begin_anew("test")
    assert (kept.salvaging is not None, kept.stat().damaged_files) == (True, 1)
    kept.close()
    (tmp_path / "journal.db").rename(tmp_path / "journal.db.new")  # as after a cut between the two renamings
    assert store(tmp_path).salvaging is not None


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
