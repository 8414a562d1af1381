"""Everything at once, drawn from a seed: four polls a second; servers, processes, clocks, lines and answers that fail.

First the agent is killed again and again and its journal is filled (a quarter as long as what follows), then one
process lives through everything else for the 20 minutes in which its memory is watched: a killed one takes its growth
with it.

The equation is in readings. What a device had answered and no one had acknowledged when the agent was killed is not
among the generated ones; that it was read in the last moments before a kill is checked for each of them, and so for an
answer on its way to an agent that was told to end. A reading that fills the journal (`Trial.ballast`) is.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from drivers.sim.compare import Delivered, compare
from drivers.sim.ledger import Ledger
from edge_agent.demo_servers import InfluxDB, Mosquitto
from edge_agent.lines import parse
from edge_agent.status import LedgerRow
from tests.e2e.box import Box, sinks
from tests.faults.gate import Gate
from tests.faults.scale import scaled_seconds
from tests.faults.trial import BALLAST, Trial, within
from tests.faults.watched import Use
from tests.waiting import wait_until

SEED = 30
MINUTES = 20
KILLING = 0.25
"""Length of the part with kills, as a share of the rest."""
WARM = 0.25
"""Share of the run after which memory has to stay flat: five minutes of twenty."""
GROWS, WARMING, LONG = 2e6, 5e6, 600.0
"""Bytes of memory after the warm-up, and in a run shorter than so many seconds, which is still filling its caches."""
POISON = b'water,site=cl-02,sensor=other distance_m="far"'
"""Makes InfluxDB refuse this field of every gauge: it has another type there."""
DEVICES = (
    *("sentinel:met-1:0.05", "sentinel:power-1:0.06", "malformed:rain-1:0.1", "out-of-range:water-1:0.08"),
    *("late:cab-1:1500:0.01", "garbled:cab-1:0.02", "exception:met-1:0.02", "wrong-unit:met-1:0.01"),
    *("late:water-1:1500:0.005", "garbled:power-1:0.02", "exception:power-1:0.01", "wrong-unit:water-1:0.01"),
)
"""What devices do by themselves now and then: codes for "no reading", half a message, a value that cannot be; answers
after the time-out, damaged ones, refusals, another unit's."""
FROM_MQTT = ("rain-1", "cnt-1")
"""What the agent was not told to have stored, the broker delivers again: of these nothing is lost by a kill."""


class Sum(msgspec.Struct, frozen=True):
    """The equation."""

    generated: int
    delivered: int
    quarantined: int
    thinned: int
    rejected: int

    def __str__(self) -> str:
        """As it stands in docs/reliability.md."""
        parts = f"{self.delivered} delivered + {self.quarantined} quarantined + {self.thinned} thinned"
        return f"{self.generated} generated = {parts} + {self.rejected} rejected"


@pytest.mark.faults
@pytest.mark.timeout(2700)
def test_all_faults_mixed_leave_every_generated_reading_accounted_for(
    tmp_path: Path, mosquitto: Mosquitto, influxdb: InfluxDB
) -> None:
    """generated = delivered + quarantined + thinned + rejected, exactly; memory, files and threads stay flat."""
    influxdb.create_database("city")
    urllib.request.urlopen(f"{influxdb.url}/write?db=city", data=POISON, timeout=10).close()
    seconds = scaled_seconds(60 * MINUTES, 120)
    with (
        Gate(influxdb.url) as gate,
        Box(tmp_path, mosquitto.url, sinks(gate), "250ms", 0.1, faults=DEVICES) as box,
    ):
        trial = Trial(box, influxdb, gate, mosquitto, random.Random(SEED))
        box.start()
        trial.run(KILLING / 2 * seconds, deadly=True)
        trial.filled()
        trial.run(KILLING / 2 * seconds, deadly=True)
        trial.strike("agent killed")
        trial.run(seconds)
        trial.strike("answer: too large")  # last: to this process no request is large any more
        box.end_ward()
        assert wait_until(box.drained, 120, step=0.2), box.status()
        rows = box.ledger()
        assert box.stop() == 0
    grown = growth(trial.uses[int(WARM * len(trial.uses)) :], seconds)
    found = the_sum(trial, rows)
    print(f"{seconds:.0f} s after {KILLING * seconds:.0f} s, seed {SEED}: {found}")
    print(f"faults: {', '.join(f'{name} {n}' for name, n in sorted(Counter(trial.done).items()))}")
    assert found.generated == found.delivered + found.quarantined + found.thinned + found.rejected
    assert min(found.quarantined, found.thinned, found.rejected) > 0
    assert set(trial.done) == {*trial.faults(), *trial.deaths(), "journal full"}
    assert trial.said > 0
    for row in rows:
        assert row.stored == row.delivered.get("centre", 0) + row.quarantined + row.thinned, row
    assert grown["own"] < (GROWS if seconds >= LONG else WARMING)
    assert grown["files"] <= 2
    assert grown["threads"] <= 1


# --- what became of the readings --------------------------------------------------------------------------------------


def the_sum(trial: Trial, rows: list[LedgerRow]) -> Sum:
    """The ward's own ledger and the ballast against what the database, the quarantine and the box's ledger have."""
    box, ward = trial.box, trial.box.generated()
    there = list(box.influxdb_rows(trial.influxdb))
    found, held = compare(ward, there), list(quarantined(box.folder))
    accounted = compare(ward, [*there, *held])
    assert (accounted.wrong, accounted.unexpected, accounted.twice) == ([], [], [])
    assert {(each.device, each.point) for each in held} == {("water-1", "water.distance_m")}
    untold = [miss for miss in accounted.missing if not within(trial.full, miss.time)]
    assert [miss for miss in untold if not (within(trial.kills, miss.time) and miss.device not in FROM_MQTT)] == []
    old = of_ballast(trial.influxdb)
    thinned, gone = sum(row.thinned for row in rows), len(accounted.missing) - len(untold) + trial.ballast - old
    cut = sum(within(trial.stops, miss.time) and miss.device not in FROM_MQTT for miss in accounted.missing)
    assert -nobodys(trial, ward) <= gone - thinned <= cut
    print(
        f"thinned: {gone - trial.ballast + old} of the ward, {trial.ballast - old} of those that filled the journal;"
        f" unacknowledged at {len(trial.kills)} kills: {len(untold)}, at the end of a process: {gone - thinned}"
    )
    return Sum(
        generated=accounted.generated - len(untold) + trial.ballast - (gone - thinned),
        delivered=found.delivered + old,
        quarantined=accounted.delivered - found.delivered,
        thinned=thinned,
        rejected=accounted.rejected,
    )


def quarantined(folder: Path) -> Iterator[Delivered]:
    """Refused readings that the box keeps, as if they had been delivered."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "journal.db")) as journal:
        texts = [text for (text,) in journal.execute("SELECT line FROM quarantine")]
    for line in parse("".join(f"{text}\n" for text in texts)):
        for name, value in line.fields:
            yield Delivered(line.device, f"{line.measurement}.{name}", line.time, float(value))


def of_ballast(server: InfluxDB) -> int:
    """How many readings of the ballast are in the database."""
    measurement, field = BALLAST.measurement, BALLAST.quantities[0].field
    rows = server.query(f'SELECT count("{field}") FROM "{measurement}"', "city")
    return int(rows[0]["count"] or 0) if rows else 0


def nobodys(trial: Trial, ward: Ledger) -> int:
    """Readings that nobody had to deliver (late answers, repeated ones) while readings were thinned: so may they be."""
    late = [entry for entry in ward.entries if entry.allowed and not entry.required and within(trial.full, entry.time)]
    return sum(value is not None for entry in late for value in entry.values.values())


# --- what the process used --------------------------------------------------------------------------------------------


def growth(uses: list[Use], seconds: float) -> dict[str, int]:
    """What the process uses at the end more than at the beginning."""
    first, last = uses[: len(uses) // 3 + 1], uses[-(len(uses) // 3 + 1) :]
    grown = {name: _least(last, name) - _least(first, name) for name in Use.__struct_fields__}
    print(
        f"grown over {(1 - WARM) * seconds:.0f} s: {grown['own'] / 1e6:.2f} MB of {_least(last, 'own') / 1e6:.1f} MB,"
        f" {grown['files']} files of {_least(last, 'files')}, {grown['threads']} threads of {_least(last, 'threads')}"
    )
    return grown


def _least(uses: list[Use], name: str) -> int:
    """The least of several looks: what is under way at a look comes and goes."""
    return min(int(getattr(use, name)) for use in uses)
