"""The journal against a model: any order of putting, committing, crashing, sending, refusing, thinning and time.

After every crash the disk holds exactly what was acknowledged, or, where the power went within a commit, all of it or
nothing; at the end every server has all that it takes, and the ledger's counts are the model's, for each device and
hour. In CI 5,000 examples.

Faults put into the journal by hand that it finds within 1,100 examples, most within 50: thinned readings
miscounted, for all or for one sink; excluded ones, or what was delivered above the low-water mark, counted as
thinned; a hole or an earlier marker forgotten; rows settled as they had been before they were thinned; deletion before
every sink has a row; refused readings not counted, or their rows not moved when they are thinned; lost ones not sent
again; a commit that leaves out a line; a cursor that merges one reading too early; rows and sinks' states committed
apart.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from drivers.reading import Readings, Source, quantities
from edge_agent import journal as journals
from edge_agent import lately, outgoing
from edge_agent import store as stores
from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import Line, parse
from edge_agent.rows import Held, Row
from tests.edge_agent.journal_box import Box, Files, by_device, covers, markers, missing, torn
from tests.edge_agent.journal_model import SINKS, Model, Reading, readings
from tests.faults.scale import scaled

EXAMPLES = 5000 if os.environ.get("CI") else 200
SHARDS = 10
"""So that they run beside each other."""
Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
LEVEL = Source("water-1", (Q["water.level_m"],))
NOW = 1_786_674_000_000
MOST = [1, 5, 20, 60]
"""Readings of a request: a row, some, and what is live."""


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
        self.box = Box(NOW)
        self.n = self.thinnings = 0
        self.flying: dict[str, list[Flying]] = {name: [] for name in SINKS}

    @property
    def journal(self) -> Journal:
        """Another one after every crash."""
        return self.box.journal

    # --- in ---------------------------------------------------------------------------------------------------------

    @rule(count=st.sampled_from([1, 2, 9, 24, 30]), level=st.booleans(), at_once=st.booleans())
    def put(self, count: int, level: bool, at_once: bool) -> None:
        """Readings come in, and a while goes by: more or less than what counts as live."""
        self.box.passes(25_000 if count > 20 else 70_000)
        self._put(count, level)
        if at_once:
            self.commit()

    @rule(count=st.integers(2, 4), acks=st.integers(0, 4), which=st.integers(0, 2))
    def trickle(self, count: int, acks: int, which: int) -> None:
        """They come in one by one, and the ward's server confirms such rows in another order than it took them."""
        self.box.passes(70_000)
        for _ in range(count):
            self._put(1, True)
            self.commit()
        while acks and len(self.flying["ward"]) < 4 and self._can_send("ward"):
            self.send("ward", 1)
        for _ in range(acks):
            self.ack("ward", which)

    def _put(self, count: int, level: bool) -> None:
        for _ in range(count):
            self.n += 1
            source = LEVEL if level else STATION
            some = Readings(source, NOW + 1000 * self.n, self.n, (1.0,) if level else (20.0, 80.0))
            self.journal.put([some])
            for quantity in source.quantities:
                self.model.pending.add(Reading(source.device, source.measurement, quantity.field, some.time))

    @rule()
    def commit(self) -> None:
        """The journal says that all is on disk."""
        assert self.box.run(self.journal._commit())
        self.model.committed()

    # --- crashes ----------------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["nothing", "commit", "full", "keep_house"]), number=st.integers(0, 1 << 30))
    def power_cut(self, what: str, number: int) -> None:
        """Within a transaction only some sectors of it were written: it happened or it did not."""
        without, before, taken = self.model.copy(), self.box.files(), self.thinnings
        getattr(self, what)()
        self._crashed_within(without, taken, torn(before, self.box.files(), random.Random(number)))

    @rule(what=st.sampled_from(["commit", "full", "keep_house"]), which=st.integers(0, 3))
    def killed(self, what: str, which: int) -> None:
        """The process ends before one of the transactions: a commit has only one, so none of it happened."""
        self._put(2, True)
        if self._can_send("centre"):
            self.send("centre", 1, acked=True)
        without, before, taken = self.model.copy(), (self.box.bodies(), self.box.known()), self.thinnings
        with self.box.steps() as steps:
            getattr(self, what)()
        self._crashed_within(without, taken, steps[which % len(steps)] if steps else self.box.files())
        assert not steps or what != "commit" or (self.box.bodies(), self.box.known()) == before

    def nothing(self) -> None:
        """Nothing is being written."""

    def _crashed_within(self, without: Model, taken: int, kept: Files) -> None:
        """Go on with `kept`; what was being done happened, or it did not: then the model is `without` it."""
        knows, rows = self.box.known(), self.box.bodies()
        self.box.start_anew(kept)
        self.flying = {name: [] for name in SINKS}
        without.at, saved = self.model.at, self.model.saved if self.box.known() == knows else without.saved
        if self.box.bodies() != rows:
            self.model, self.thinnings = without, taken
        self.model.saved = saved  # rows are brought back from a torn commit by themselves, what was settled is not
        self.model.crashed()
        self._is_as_modelled()

    def _is_as_modelled(self) -> None:
        stat, on_disk, gaps = self.journal.store.stat(), set[Reading](), 0
        for row in self.box.rows():
            lines = parse(unpack(row.body))
            some = readings(lines)
            on_disk |= some
            gaps += len(markers(lines))
            for sink, state in self.journal.states.items():
                assert some <= self.model.settled.of[sink] or not state.cursor.covers(row.after, row.id), sink
        assert stat.damaged_files == 0
        assert on_disk == self.model.disk
        assert stat.readings == len(on_disk) + 2 * gaps
        assert stat.thinned == sum(self.model.gone.values())

    # --- out --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(self._can_send(sink) for sink in SINKS))
    @rule(sink=st.sampled_from(sorted(SINKS)), most=st.sampled_from(MOST), acked=st.booleans())
    def send(self, sink: str, most: int, acked: bool = False) -> None:
        """A server takes rows: the centre one request at a time; the ward may lose for a while what it took."""
        if not self._can_send(sink):
            return
        flying = self._take(sink, most)
        self.flying[sink].append(flying)
        self.model.at[sink] |= readings(flying.lines)
        if sink == "ward":
            self.journal.sent(sink, flying.rows)
        if acked:
            self.ack(sink, -1)

    @precondition(lambda self: any(self._can_send(sink) for sink in SINKS))
    @rule(sink=st.sampled_from(sorted(SINKS)), most=st.sampled_from(MOST), part=st.floats(0, 1))
    def partial_send(self, sink: str, most: int, part: float) -> None:
        """A server takes some of the lines, and its answer never comes."""
        if self._can_send(sink):
            lines = self._take(sink, most).lines
            self.model.at[sink] |= readings(lines[: int(part * len(lines))])

    @rule(sink=st.sampled_from(sorted(SINKS)), level=st.booleans(), refused=st.booleans(), full=st.integers(0, 2))
    def live_first(self, sink: str, level: bool, refused: bool, full: int) -> None:
        """After an outage a server has the newest and not the oldest; then perhaps the file is full."""
        self.put(24, not level, at_once=True)
        self.put(2, level, at_once=True)
        self._put(3, True)
        self.commit()
        if refused and self._can_send("centre"):
            self.refuse()
        elif self._can_send(sink):
            self.send(sink, 60, acked=True)
        for _ in range(full):
            self.full()

    @precondition(lambda self: any(self.flying.values()))
    @rule(sink=st.sampled_from(sorted(SINKS)), which=st.integers(0, 5))
    def ack(self, sink: str, which: int = 0) -> None:
        """Some of what was taken counts now, in any order; unless it was thinned meanwhile."""
        if self.flying[sink]:
            self._settle(sink, self.flying[sink].pop(which % len(self.flying[sink])))

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
        rows = self.box.run(self.journal.take(sink, most, 1 << 20))
        lines = [line for row in rows for line in parse(unpack(row.body))]
        wanted = [line for line in lines if not SINKS[sink] or line.measurement in SINKS[sink]]
        return Flying(rows, wanted, self.thinnings)

    def _settle(self, sink: str, flying: Flying, *held: Held) -> None:
        delivered, before = sum(len(line.fields) for line in flying.lines) - len(held), self.box.cursor(sink)
        total = sum(row.readings for row in flying.rows)
        self.journal.settle(sink, flying.rows, Settled(delivered, total - delivered - len(held), held))
        covered = covers(self.journal.states[sink].cursor, flying.rows)
        if flying.thinnings == self.thinnings:
            assert covered
        if covered and (flying.thinnings == self.thinnings or self.box.cursor(sink) != before):
            self.model.settled.of[sink] |= readings(line for row in flying.rows for line in parse(unpack(row.body)))

    # --- what happens beside ------------------------------------------------------------------------------------------

    @rule()
    def full(self) -> None:
        """The file is at its limit: delivered rows go, or else the oldest are thinned and markers say how many."""
        store, before = self.journal.store, markers(self.box.lines())
        thinned, made = store.stat().thinned, self.box.run(self.journal.recovery.make_room())
        self.model.saves()
        lines, gone = self.box.lines(), store.stat().thinned - thinned
        left, now = readings(lines), markers(lines)
        if not made or not self.journal.recovery._rewritten[-1].upto:
            return self.model.trimmed(left)
        assert len(self.model.disk - left) == missing(now) - missing(before) == gone
        self.thinnings += 1
        came = by_device(now)
        came.subtract(by_device(before))
        self.model.rewritten(left, came)
        return None

    @precondition(lambda self: any(self._can_send(sink) for sink in SINKS))
    @rule(sink=st.sampled_from(sorted(SINKS)), most=st.sampled_from(MOST), acked=st.booleans())
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
        store.ledger.fold(self.journal.top)
        store.trim(self.box.clock - 86_400_000, tuple(SINKS))
        self.model.trimmed(readings(self.box.lines()))

    @rule(days=st.sampled_from([-3650, -1, 0.04, 1, 31, 3650]))
    def clock_jumps(self, days: float) -> None:
        """The wall clock is set."""
        self.box.clock = max(HOUR_MS, self.box.clock + int(days * 86_400_000))

    # --- what must hold -----------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Everything acknowledged comes to its server, and the ledger's sum is exact."""
        if not hasattr(self, "box"):
            return
        try:
            self._check()
        finally:
            self.box.close()

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
        table = self.box.run(self.journal.ledger(0))
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


@pytest.fixture(autouse=True)
def _clock_as_it_was() -> Any:
    """The machine moves the journal's clock; afterwards it is the real one again."""
    before = stores._now_ms, lately._now
    yield
    stores._now_ms, lately._now = before


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
