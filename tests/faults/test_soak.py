"""Everything at once, drawn from a seed: four polls a second; servers, processes and readings that fail."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.demo_servers import InfluxDB, Mosquitto, wait_until
from tests.e2e.box import Box, sinks
from tests.faults.scale import scaled_seconds
from tests.faults.watched import Use, used_by

SEED = 30
MINUTES = 20
WARM = 0.25
"""Share of the run after which memory has to stay flat."""
GROWS, WARMING, LONG = 2e6, 5e6, 600.0
"""Bytes of memory after the warm-up, and in a run shorter than so many seconds, which is still filling its caches."""
POISON = b'water,site=cl-02,sensor=other distance_m="far"'
"""Makes InfluxDB refuse this field of every gauge: it has another type there."""
EVERY = 6.0
"""Seconds between two faults, on average."""


class Trial:
    """A box with its servers, and what can happen to them."""

    def __init__(self, box: Box, influxdb: InfluxDB, mosquitto: Mosquitto, chance: random.Random) -> None:
        """`chance` draws which fault comes and how long it lasts."""
        self.box, self.influxdb, self.mosquitto, self._chance = box, influxdb, mosquitto, chance
        self.done: list[str] = []
        self.uses: list[Use] = []

    def faults(self) -> dict[str, Callable[[], None]]:
        """By name."""
        return {
            "database killed": self._database_killed,
            "database stopped": self._database_stopped,
            "database frozen": lambda: self._frozen(self.influxdb.pid),
            "broker restarted": self.mosquitto.restart,
            "broker frozen": lambda: self._frozen(self.mosquitto.pid),
            "agent frozen": lambda: self._frozen(self._pid),
            "configuration read again": lambda: os.kill(self._pid, signal.SIGHUP),
        }

    @property
    def _pid(self) -> int:
        assert self.box.process
        return self.box.process.pid

    def _database_killed(self) -> None:
        self.influxdb.kill()
        time.sleep(self._chance.uniform(0, 4))
        self.influxdb.start()

    def _database_stopped(self) -> None:
        self.influxdb.stop()
        time.sleep(self._chance.uniform(0, 4))
        self.influxdb.start()

    def _frozen(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.2, 2))
        os.kill(pid, signal.SIGCONT)

    def run(self, seconds: float) -> None:
        """Faults, one after the other with pauses, until the time is over; a look at the agent after each."""
        ends = time.monotonic() + seconds
        faults = self.faults()
        while time.monotonic() < ends:
            name = self._chance.choice(sorted(faults))
            faults[name]()
            self.done.append(name)
            time.sleep(self._chance.uniform(0.3, 1.7) * EVERY)
            self.uses.append(used_by(self._pid))


def quarantined(folder: Path) -> int:
    """Refused readings that the box keeps or has counted."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "journal.db")) as journal:
        return int(journal.execute("SELECT count(*) FROM quarantine").fetchone()[0])


def settled(uses: list[Use]) -> Iterator[Use]:
    """After the warm-up."""
    yield from uses[int(WARM * len(uses)) :]


@pytest.mark.faults
def test_all_faults_mixed_leave_every_generated_reading_accounted_for(
    tmp_path: Path, mosquitto: Mosquitto, influxdb: InfluxDB
) -> None:
    """generated = delivered + quarantined + thinned + rejected, exactly; memory, files and threads stay flat."""
    influxdb.create_database("city")
    urllib.request.urlopen(f"{influxdb.url}/write?db=city", data=POISON, timeout=10).close()
    seconds = scaled_seconds(60 * MINUTES, 60)
    with Box(tmp_path, mosquitto.url, sinks(influxdb), every="250ms", period=0.1) as box:
        box.start()
        trial = Trial(box, influxdb, mosquitto, random.Random(SEED))
        trial.run(seconds)
        box.end_ward()
        assert wait_until(box.drained, 120, step=0.2), box.status()
        found, rows = box.compare_influxdb(influxdb), box.ledger()
        now = box.status()
        thinned = sum(row.thinned for row in rows)
        assert box.stop() == 0
    held = now.sinks[0].quarantined
    refused = [miss for miss in found.missing if (miss.device, miss.point) == ("water-1", "water.distance_m")]
    print(
        f"{seconds:.0f} s, {len(trial.done)} faults, seed {SEED}: {found.generated} generated ="
        f" {found.delivered} delivered + {held} quarantined + {thinned} thinned + {found.rejected} rejected"
    )
    assert (found.wrong, found.unexpected, found.duplicates) == ([], [], 0)
    assert [miss for miss in found.missing if miss not in refused] == []
    assert found.generated == found.delivered + len(refused) + thinned + found.rejected
    # An answer that came while the agent was frozen is late: nobody had to deliver it, yet it may be read and refused.
    assert 0 < len(refused) <= held <= len(refused) + trial.done.count("agent frozen")
    for row in rows:
        assert row.stored == row.delivered.get("centre", 0) + row.quarantined + row.thinned, row
    _is_flat(list(settled(trial.uses)), seconds)


def _is_flat(uses: list[Use], seconds: float) -> None:
    first, last = uses[: len(uses) // 3 + 1], uses[-(len(uses) // 3 + 1) :]
    grown = {name: _least(last, name) - _least(first, name) for name in Use.__struct_fields__}
    print(f"grown over {(1 - WARM) * seconds:.0f} s: {grown['memory'] / 1e6:.1f} MB, {grown['files']} files")
    assert grown["memory"] < (GROWS if seconds >= LONG else WARMING)
    assert grown["files"] <= 2
    assert grown["threads"] <= 1


def _least(uses: list[Use], name: str) -> int:
    """The least of several looks: what is under way at a look comes and goes."""
    return min(int(getattr(use, name)) for use in uses)
