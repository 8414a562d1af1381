"""The journal against a model: any order of putting, committing, crashing, sending, refusing, thinning and time.

After every crash the disk holds exactly what was acknowledged, or, where the power went within a commit, all of it or
nothing; at the end every server has all that it takes, and the ledger's counts are the model's, for each device and
hour. In CI 5,000 examples.

Faults put into the journal by hand that it finds within 1,100 examples, most within 30: thinned readings
miscounted, for all or for one sink; excluded ones counted as thinned; a hole or an earlier marker forgotten; rows
settled as they had been before they were thinned; deletion before every sink has a row; refused readings not
counted; lost ones not sent again; a commit that leaves out a line. It missed in 1,600: what was delivered above the
low-water mark counted as thinned, the row of a refused reading not moved when it is thinned, a cursor that merges
one reading too early, rows and states committed apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from drivers.reading import Readings, Source, quantities
from edge_agent import journal as journals
from edge_agent import outgoing
from edge_agent import store as stores
from edge_agent.body import unpack
from edge_agent.cursor import Cursor
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import Line, parse
from edge_agent.rows import Held, Row
from edge_agent.store import Store
from edge_agent.thin import GAP, Policy
from tests.edge_agent.journal_model import SINKS, Model, Reading, readings
from tests.faults.scale import scaled

T = TypeVar("T")

EXAMPLES = 5000 if os.environ.get("CI") else 200
SHARDS = 10
"""So that they run beside each other."""
Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
LEVEL = Source("water-1", (Q["water.level_m"],))
NOW = 1_786_674_000_000
SECTOR = 512
MEMORY = Path("/dev/shm")
"""Where a sync costs nothing; what it is worth, the power cuts of tests/faults show."""


class AtOnce(Executor):
    """The journal's thread without a thread: the work is done when it is given."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Do it."""
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # as the thread's executor does
            done.set_exception(error)
        return done


class Flying(msgspec.Struct, frozen=True):
    """Rows that a server has taken, and the journal was not yet told for good."""

    rows: list[Row]
    lines: list[Line]
    """Of them, those that the server takes."""
    thinnings: int
    """How often the journal had been thinned when they were taken."""


class Machine(RuleBasedStateMachine):
    """Steps of the journal, each followed by the model."""

    @initialize()
    def begin(self) -> None:
        """Open an empty journal."""
        self.model = Model()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="journal-", dir=MEMORY if MEMORY.is_dir() else None))
        self.round = self.n = self.thinnings = 0
        self.clock = NOW
        outgoing._now_ms = stores._now_ms = lambda: self.clock
        self.folder = self.root / "0"
        self.folder.mkdir()
        self._open()

    def _open(self) -> None:
        store = Store(self.folder / "journal.db", "cl-02", f"boot-{self.round}", 64 << 20, Policy(10_000))
        self.journal = Journal(store, SINKS, window=0.01, keep_days=30)
        self.journal._thread = AtOnce()  # type: ignore[assignment]
        self.flying: dict[str, list[Flying]] = {name: [] for name in SINKS}

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    # --- in ---------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 30), level=st.booleans(), at_once=st.booleans())
    def put(self, count: int, level: bool, at_once: bool) -> None:
        """Readings come in, and a while goes by."""
        self.clock += 25_000
        for _ in range(count):
            self.n += 1
            source = LEVEL if level else STATION
            some = Readings(source, NOW + 1000 * self.n, self.n, (1.0,) if level else (20.0, 80.0))
            self.journal.put([some])
            for quantity in source.quantities:
                self.model.pending.add(Reading(source.device, source.measurement, quantity.field, some.time))
        if at_once:
            self.commit()

    @rule()
    def commit(self) -> None:
        """The journal says that all is on disk."""
        assert self._run(self.journal._commit())
        self.model.committed()

    # --- crashes ----------------------------------------------------------------------------------------------------

    @rule()
    def crash(self) -> None:
        """The power goes while nothing is being written."""
        self._start_anew(self._files())
        self.model.crashed()
        self._is_as_modelled()

    @rule(what=st.sampled_from(["commit", "full", "keep_house"]), number=st.integers(0, 1 << 30))
    def torn_crash(self, what: str, number: int) -> None:
        """The power goes within a transaction, of which only some sectors were written: it happened or it did not."""
        without, before, taken = self.model.copy(), self._files(), self.thinnings
        getattr(self, what)()
        kept = _torn(before, self._files(), random.Random(number))
        knows, rows = self._known(), self._rows()
        self._start_anew(kept)
        without.at, saved = self.model.at, self.model.saved if self._known() == knows else without.saved
        if self._rows() != rows:
            self.model, self.thinnings = without, taken
        self.model.saved = saved  # rows are brought back from a torn commit by themselves, what was settled is not
        self.model.crashed()
        self._is_as_modelled()

    def _rows(self) -> list[tuple[int, int, bytes]]:
        store = self.journal.store
        return [(row.after, row.id, row.body) for row in store.rows(0, store.last_id, 1 << 30, 1 << 30)]

    def _known(self) -> dict[str, tuple[int, list[tuple[int, int]]]]:
        return {name: (state.cursor.low, state.cursor.ranges) for name, state in self.journal.store.states().items()}

    def _start_anew(self, files: dict[str, bytes]) -> None:
        self.journal.store._db.close()
        self.round += 1
        self.folder = self.root / str(self.round)
        self.folder.mkdir()
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        self._open()

    def _is_as_modelled(self) -> None:
        stat = self._run(self.journal.stat())
        assert stat.damaged_files == 0
        assert self._on_disk() == self.model.disk
        assert stat.readings == len(self.model.disk) + 2 * len(self._markers())
        assert stat.thinned == sum(self.model.gone.values())

    def _files(self) -> dict[str, bytes]:
        return {name: (self.folder / name).read_bytes() for name in ("journal.db", "journal.db-wal")}

    # --- out --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(self._can_send(sink) for sink in SINKS))
    @rule(sink=st.sampled_from(sorted(SINKS)), most=st.integers(1, 60))
    def send(self, sink: str, most: int) -> None:
        """A server takes rows: the centre one request at a time; the ward may lose for a while what it took."""
        if not self._can_send(sink):
            return
        flying = self._take(sink, most)
        self.flying[sink].append(flying)
        self.model.at[sink] |= readings(flying.lines)
        if sink == "ward":
            self.journal.sent(sink, flying.rows)

    @precondition(lambda self: any(self._can_send(sink) for sink in SINKS))
    @rule(sink=st.sampled_from(sorted(SINKS)), most=st.integers(1, 60), part=st.floats(0, 1))
    def partial_send(self, sink: str, most: int, part: float) -> None:
        """A server takes some of the lines, and its answer never comes."""
        if self._can_send(sink):
            lines = self._take(sink, most).lines
            self.model.at[sink] |= readings(lines[: int(part * len(lines))])

    @precondition(lambda self: any(self.flying.values()))
    @rule(sink=st.sampled_from(sorted(SINKS)))
    def ack(self, sink: str) -> None:
        """What was taken first counts now; unless it was thinned meanwhile."""
        if self.flying[sink]:
            self._settle(sink, self.flying[sink].pop(0))

    @precondition(lambda self: self.flying["ward"])
    @rule()
    def lose(self) -> None:
        """The ward's server starts anew and has lost what it had not yet confirmed."""
        for flying in self.flying["ward"]:
            self.model.at["ward"] -= readings(flying.lines) - self.model.settled.of["ward"]
        self.flying["ward"] = []
        self.journal.unsend("ward")

    @precondition(lambda self: self._can_send("centre"))
    @rule()
    def refuse(self) -> None:
        """The centre refuses the first reading of a batch for good and takes the rest."""
        flying = self._take("centre", 20)
        row, bad = flying.rows[0], next(flying.lines[0].single())
        held = Held("centre", row.id, row.after + 1, bad.device, bad.measurement, bad.time // HOUR_MS, bad.text(), "no")
        self.model.at["centre"] |= readings(flying.lines)
        self._settle("centre", flying, held)
        self.model.settled.refused[bad.device] += 1

    def _can_send(self, sink: str) -> bool:
        return bool(self.journal.waiting(sink)) and (sink == "ward" or not self.flying[sink])

    def _take(self, sink: str, most: int) -> Flying:
        rows = self._run(self.journal.take(sink, most, 1 << 20))
        lines = [line for row in rows for line in parse(unpack(row.body))]
        wanted = [line for line in lines if not SINKS[sink] or line.measurement in SINKS[sink]]
        return Flying(rows, wanted, self.thinnings)

    def _settle(self, sink: str, flying: Flying, *held: Held) -> None:
        delivered, before = sum(len(line.fields) for line in flying.lines) - len(held), self._cursor(sink)
        total = sum(row.readings for row in flying.rows)
        self.journal.settle(sink, flying.rows, Settled(delivered, total - delivered - len(held), held))
        covered = _covers(self.journal.states[sink].cursor, flying.rows)
        if flying.thinnings == self.thinnings:
            assert covered
        if covered and (flying.thinnings == self.thinnings or self._cursor(sink) != before):
            self.model.settled.of[sink] |= readings(line for row in flying.rows for line in parse(unpack(row.body)))

    def _cursor(self, sink: str) -> tuple[int, list[tuple[int, int]]]:
        cursor = self.journal.states[sink].cursor
        return cursor.low, list(cursor.ranges)

    # --- what happens beside ------------------------------------------------------------------------------------------

    @rule()
    def full(self) -> None:
        """The file is at its limit: delivered rows go, or else the oldest are thinned and markers say how many."""
        thinned, markers = self._run(self.journal.stat()).thinned, self._markers()
        made, rewritten = self._run(self.journal.recovery.make_room()), self.journal.recovery._rewritten
        self.model.saves()
        left, gone = self._on_disk(), self._run(self.journal.stat()).thinned - thinned
        if not made or not rewritten[-1].upto:
            return self.model.trimmed(left)
        assert len(self.model.disk - left) == gone
        assert _missing(self._markers()) - _missing(markers) == gone
        self.thinnings += 1
        came = _by_device(self._markers())
        came.subtract(_by_device(markers))
        self.model.rewritten(left, came)
        return None

    @precondition(lambda self: any(self._can_send(sink) for sink in SINKS))
    @rule(sink=st.sampled_from(sorted(SINKS)), most=st.integers(1, 60), acked=st.booleans())
    def full_meanwhile(self, sink: str, most: int, acked: bool) -> None:
        """The same between a request and its answer."""
        self.send(sink, most)
        self.full()
        if acked:
            self.ack(sink)

    @rule()
    def keep_house(self) -> None:
        """The ledger is folded and old delivered rows go."""
        store = self.journal.store
        self._run(self.journal.call(store.ledger.fold, self.journal.top))
        self._run(self.journal.call(store.trim, self.clock - 86_400_000, tuple(SINKS)))
        self.model.trimmed(self._on_disk())

    @rule(days=st.sampled_from([-3650, -1, 0.04, 1, 31, 3650]))
    def clock_jumps(self, days: float) -> None:
        """The wall clock is set."""
        self.clock = max(HOUR_MS, self.clock + int(days * 86_400_000))

    def _lines(self) -> Iterator[Line]:
        store = self.journal.store
        for row in store.rows(0, store.last_id, 1 << 30, 1 << 30):
            yield from parse(unpack(row.body))

    def _on_disk(self) -> set[Reading]:
        return readings(self._lines())

    def _markers(self) -> list[Line]:
        return [line for line in self._lines() if line.measurement == GAP]

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
        self._is_as_modelled()
        for sink in SINKS:
            while self.flying[sink]:
                self.ack(sink)
            while self.journal.waiting(sink):
                self.send(sink, 1000)
                self.ack(sink)
            missing = self.model.owed(sink)
            assert not missing, (sink, len(missing))
        self.commit()
        self._ledger_adds_up()

    def _ledger_adds_up(self) -> None:
        table = self._run(self.journal.ledger(0))
        of: dict[str, Counter[str]] = {device: Counter() for device in (STATION.device, LEVEL.device)}
        for (_, device), row in table.items():
            of[device].update(row)
            for sink in SINKS:
                parts = sum(row.get(f"{part}:{sink}", 0) for part in ("delivered", "excluded", "thinned"))
                held = row.get("quarantined", 0) if sink == "centre" else 0
                assert row["stored"] == parts + held, (device, sink, row)
        for device, counts in of.items():
            assert counts["stored"] == counts["read"] == counts["expected"] == self.model.stored[device]
            assert counts["thinned"] == self.model.gone[device]
            assert counts["quarantined"] == self.model.saved.refused[device]
            for sink in SINKS:
                assert counts[f"thinned:{sink}"] == self.model.thinned[sink, device], (sink, device)


def _covers(cursor: Cursor, rows: list[Row]) -> bool:
    """True where all rows are settled."""
    probe = Cursor(cursor.low, list(cursor.ranges))
    for row in rows:
        probe.settle(row.after, row.id)
    return (probe.low, probe.ranges) == (cursor.low, cursor.ranges)


def _missing(markers: list[Line]) -> int:
    """How many readings are missing, say the markers."""
    return sum(int(line.fields[0][1].removesuffix("i")) for line in markers)


def _by_device(markers: list[Line]) -> Counter[str]:
    """Readings of the markers themselves."""
    return Counter(line.device for line in markers for _ in line.fields)


def _torn(before: dict[str, bytes], after: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """Some of the sectors that the last commit wrote to the log, in any order; the file itself as it was before."""
    old, new = before["journal.db-wal"], bytearray(after["journal.db-wal"])
    if before["journal.db"] != after["journal.db"]:  # a checkpoint came after the commit: that one was synced before
        return after
    old = old.ljust(len(new), b"\0")
    kept = chance.choice([0.0, 0.5, 0.95, 1.0])
    for at in range(0, len(new), SECTOR):
        if chance.random() >= kept:
            new[at : at + SECTOR] = old[at : at + SECTOR]
    return {"journal.db": before["journal.db"], "journal.db-wal": bytes(new)}


@pytest.fixture(autouse=True)
def _clock_as_it_was() -> Any:
    """The machine moves the journal's clock; afterwards it is the real one again."""
    before = outgoing._now_ms, stores._now_ms
    yield
    outgoing._now_ms, stores._now_ms = before


@pytest.fixture(autouse=True)
def _live_lane_opens_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few readings too, the newest go first, so that there are gaps below them. Nobody reads the log."""
    monkeypatch.setattr(journals, "GROUP_READINGS", 20)
    monkeypatch.setattr(outgoing, "LIVE_READINGS", 20)
    monkeypatch.setattr(logging.getLogger("edge.journal"), "disabled", True)


def machine(examples: int, steps: int, number: int = 0) -> None:
    """Run so many examples, the same ones each time."""
    settled = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    seeded = seed(number)(type("Machine", (Machine,), {}))
    run_state_machine_as_test(seeded, settings=settled)


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.timeout(300)
def test_journal_does_what_the_model_says(shard: int) -> None:
    """Acknowledged is never lost, each sink gets all that it takes, and the ledger adds up, in any order of events."""
    machine(EXAMPLES // SHARDS, 25, shard)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_journal_does_what_the_model_says_at_length() -> None:
    """The same with longer ones, and others."""
    machine(scaled(5000, 300), 60, SHARDS)
