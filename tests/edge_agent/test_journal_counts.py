"""What the journal counts, keeps and gives up: the ledger's sums, history, thinning, refused readings."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path

from drivers.reading import Readings, Reason, Source
from edge_agent.body import unpack
from edge_agent.cursor import Cursor
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import HOUR_MS, SinkState, pack_state
from edge_agent.lines import parse
from edge_agent.refused import MOST_HELD
from edge_agent.rows import Group, Held
from edge_agent.store import Store
from edge_agent.thin import GAP, MARKER_READINGS, Policy, condition
from tests.edge_agent.journal_kept import ALL, LEVEL, NOW, STATION, Q, at, gaps, journal, put, run, store


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


def test_what_was_settled_ahead_goes_again_by_the_new_choice(tmp_path: Path) -> None:
    """Above the low-water mark nothing was counted yet: each reading is counted by one choice, not by two."""

    async def first(kept: Journal) -> None:
        await put(kept, at(0))
        await put(kept, at(1))
        _, newer = await kept.take("centre", 10, 1 << 20)
        kept.settle("centre", [newer], Settled(2))
        assert kept.waiting("centre") == 2

    async def second(kept: Journal) -> None:
        assert kept.waiting("centre") == 4
        kept.settle("centre", await kept.take("centre", 10, 1 << 20), Settled(0, 4))
        row = (await kept.ledger(0))[NOW // HOUR_MS, "met-1"]
        assert (row.get("delivered:centre", 0), row["excluded:centre"]) == (0, 4)

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
