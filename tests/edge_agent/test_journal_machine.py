"""The journal against a model of twenty lines: any order of putting, committing, crashing, sending and refusing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from drivers.reading import Readings, Source, quantities
from edge_agent import journal as journals
from edge_agent import store as stores
from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import Line, parse
from edge_agent.rows import Held, Row
from edge_agent.store import Store
from edge_agent.thin import GAP, Policy
from tests.faults.scale import scaled

T = TypeVar("T")

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
LEVEL = Source("water-1", (Q["water.level_m"],))
NOW = 1_786_674_000_000
SINKS: dict[str, tuple[str, ...]] = {"centre": (), "ward": ("water",)}
SECTOR = 512

Reading = tuple[str, int, str]
"""Series, time and field."""


class Model:
    """What must hold, whatever the journal does inside."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.pending: set[Reading] = set()
        self.acked: set[Reading] = set()
        """On disk, the journal said."""
        self.torn: set[Reading] = set()
        """Perhaps on disk: the power went before the journal could say."""
        self.at: dict[str, set[Reading]] = {name: set() for name in SINKS}
        """What each server took or refused for good."""

    def committed(self) -> None:
        """The journal has said that all is on disk."""
        self.acked |= self.pending
        self.pending = set()

    def crashed(self, *, torn: bool) -> None:
        """What was not acknowledged may be gone; what was, may not."""
        self.torn |= self.pending if torn else set()
        self.pending = set()

    def owed(self, sink: str) -> set[Reading]:
        """What must still come to a sink."""
        wanted = {r for r in self.acked if not SINKS[sink] or r[0].split(",")[0] in SINKS[sink]}
        return wanted - self.at[sink]


class Machine(RuleBasedStateMachine):
    """Steps of the journal, each followed by the model."""

    @initialize()
    def begin(self) -> None:
        """Open an empty journal."""
        self.model = Model()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="journal-"))
        self.round = 0
        self.n = 0
        self.clock = NOW
        journals._now_ms = stores._now_ms = lambda: self.clock
        self.thinned: Counter[str] = Counter()
        self.folder = self.root / "0"
        self.folder.mkdir()
        self._open()

    def _open(self) -> None:
        store = Store(self.folder / "journal.db", "cl-02", f"boot-{self.round}", 64 << 20, Policy(10_000))
        self.journal = Journal(store, SINKS, window=0.01, keep_days=30)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 30))

    # --- in ---------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 30), level=st.booleans(), at_once=st.booleans())
    def put(self, count: int, level: bool, at_once: bool) -> None:
        """Readings come in, and a while goes by."""
        self.clock += 25_000
        for _ in range(count):
            self.n += 1
            source = LEVEL if level else STATION
            values = (1.0,) if level else (20.0, 80.0)
            some = Readings(source, NOW + 1000 * self.n, self.n, values)
            self.journal.put([some])
            series = f"{some.source.measurement},site=cl-02,sensor={source.device}"
            self.model.pending |= {(series, some.time, quantity.field) for quantity in source.quantities}
        if at_once:
            self.commit()

    @rule()
    def commit(self) -> None:
        """The journal says that all is on disk."""
        assert self._run(self.journal._commit())
        self.model.committed()

    @rule(torn=st.booleans(), seed=st.integers(0, 1 << 30))
    def crash(self, torn: bool, seed: int) -> None:
        """The power goes, perhaps in the middle of a commit of which only some sectors were written."""
        if torn and self.model.pending:
            before = self._files()
            assert self._run(self.journal._commit())
            after = self._files()
            kept = _torn(before, after, random.Random(seed))
        else:
            kept = self._files()
            torn = False
        old = self.journal
        self.round += 1
        self.folder = self.root / str(self.round)
        self.folder.mkdir()
        for name, content in kept.items():
            (self.folder / name).write_bytes(content)
        old._thread.submit(old._store._db.close).result()
        old._thread.shutdown()
        self.model.crashed(torn=torn)
        self._open()
        assert self._run(self.journal.stat()).damaged_files == 0

    def _files(self) -> dict[str, bytes]:
        return {name: (self.folder / name).read_bytes() for name in ("journal.db", "journal.db-wal")}

    # --- out --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(self.journal.waiting(name) for name in SINKS))
    @rule(sink=st.sampled_from(sorted(SINKS)), most=st.integers(1, 60), part=st.floats(0, 1), acked=st.booleans())
    def send(self, sink: str, most: int, part: float, acked: bool) -> None:
        """A server takes rows, or some lines of them; unless its answer comes, nothing is settled."""
        if not self.journal.waiting(sink):
            return
        rows = self._run(self.journal.take(sink, most, 1 << 20))
        lines = [line for row in rows for line in self._wanted(sink, row)]
        taken = lines if acked else lines[: int(part * len(lines))]
        self.model.at[sink] |= {reading for line in taken for reading in _readings(line)}
        if acked:
            delivered = sum(len(line.fields) for line in lines)
            total = sum(row.readings for row in rows)
            self.journal.settle(sink, rows, Settled(delivered, total - delivered))

    @precondition(lambda self: self.journal.waiting("centre"))
    @rule()
    def refuse(self) -> None:
        """The centre refuses the first reading of a batch for good and takes the rest."""
        rows = self._run(self.journal.take("centre", 20, 1 << 20))
        lines = [line for row in rows for line in self._wanted("centre", row)]
        bad = next(lines[0].single())
        row = rows[0]
        held = Held("centre", row.id, row.after + 1, bad.device, bad.measurement, bad.time // HOUR_MS, bad.text(), "no")
        self.model.at["centre"] |= {reading for line in lines for reading in _readings(line)}
        total = sum(row.readings for row in rows)
        self.journal.settle("centre", rows, Settled(total - 1, 0, (held,)))

    def _wanted(self, sink: str, row: Row) -> list[Line]:
        return [line for line in parse(unpack(row.body)) if not SINKS[sink] or line.measurement in SINKS[sink]]

    # --- what happens beside ------------------------------------------------------------------------------------------

    @rule()
    def full(self) -> None:
        """The file is at its limit: delivered rows go, or else the oldest are thinned and markers say how many."""
        before, gaps = self._on_disk(), self._gaps()
        self._run(self.journal._commit())
        self.model.committed()
        before |= self._on_disk()
        self._run(self.journal.recovery.make_room())
        gone = before - self._on_disk()
        thinned = {reading for reading in gone if any(reading in self.model.owed(sink) for sink in SINKS)}
        if not thinned:
            return  # only what every server has
        assert self._gaps() - gaps == len(gone)
        for sink in SINKS:
            self.thinned[sink] += len(self.model.owed(sink) & gone)
        self.model.acked -= gone
        self.model.torn -= gone

    def _on_disk(self) -> set[Reading]:
        rows = self._run(self.journal._call(self.journal._store.rows, 0, self.journal.top, 1 << 30, 1 << 30))
        lines = [line for row in rows for line in parse(unpack(row.body)) if line.measurement != GAP]
        return {reading for line in lines for reading in _readings(line)}

    def _gaps(self) -> int:
        """How many readings are missing, say the markers."""
        rows = self._run(self.journal._call(self.journal._store.rows, 0, self.journal.top, 1 << 30, 1 << 30))
        lines = [line for row in rows for line in parse(unpack(row.body)) if line.measurement == GAP]
        return sum(int(line.fields[0][1].removesuffix("i")) for line in lines)

    @rule(days=st.sampled_from([-3650, -1, 0.04, 1, 31, 3650]))
    def clock_jumps(self, days: float) -> None:
        """The wall clock is set."""
        self.clock = max(HOUR_MS, self.clock + int(days * 86_400_000))

    @rule()
    def keep_house(self) -> None:
        """The ledger is folded and old delivered rows go."""
        store = self.journal._store
        self._run(self.journal._call(store.ledger.fold, self.journal.top))
        self._run(self.journal._call(store.trim, self.clock - 86_400_000, tuple(SINKS)))

    # --- what must hold -----------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Everything acknowledged comes to its server, and the ledger's sum is exact."""
        if not hasattr(self, "journal"):
            return
        try:
            self._check()
        finally:
            with contextlib.suppress(Exception):
                self._run(self.journal.close())
            self.loop.close()
            shutil.rmtree(self.root)

    def _check(self) -> None:
        self.commit()
        for sink in SINKS:
            while self.journal.waiting(sink):
                self.send(sink, 1000, 1.0, True)
            missing = self.model.owed(sink)
            assert not missing, (sink, sorted(missing)[:5])
        counts: Counter[str] = Counter()
        for row in self._run(self.journal.ledger(0)).values():
            counts.update(row)
        for sink in SINKS:
            parts = {name: counts[f"{name}:{sink}"] for name in ("delivered", "excluded", "thinned")}
            held = counts["quarantined"] if sink == "centre" else 0
            assert counts["stored"] == sum(parts.values()) + held, (sink, parts, held, counts)


def _readings(line: Line) -> set[Reading]:
    return {(line.series, line.time, name) for name, _ in line.fields if line.measurement != GAP}


def _torn(before: dict[str, bytes], after: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """Some of the sectors that the last commit wrote to the log, in any order; the file itself as it was before."""
    old, new = before["journal.db-wal"], bytearray(after["journal.db-wal"])
    if before["journal.db"] != after["journal.db"]:  # a checkpoint came after the commit: that one was synced before
        return after
    old = old.ljust(len(new), b"\0")
    for at in range(0, len(new), SECTOR):
        if chance.random() < 0.5:
            new[at : at + SECTOR] = old[at : at + SECTOR]
    return {"journal.db": before["journal.db"], "journal.db-wal": bytes(new)}


@pytest.fixture(autouse=True)
def _clock_as_it_was() -> Any:
    """The machine moves the journal's clock; afterwards it is the real one again."""
    before = journals._now_ms, stores._now_ms
    yield
    journals._now_ms, stores._now_ms = before


@pytest.fixture(autouse=True)
def _live_lane_opens_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few readings too, the newest go first, so that there are gaps below them."""
    monkeypatch.setattr(journals, "GROUP_READINGS", 20)


def machine(examples: int, steps: int) -> None:
    """Run so many examples."""
    settled = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=settled)


def test_journal_does_what_the_model_says() -> None:
    """Acknowledged is never lost, each sink gets all that it takes, and the ledger adds up, in any order of events."""
    machine(60, 25)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_journal_does_what_the_model_says_at_length() -> None:
    """The same with 5,000 examples."""
    machine(scaled(5000, 300), 40)
