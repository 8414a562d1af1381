"""kill -9 again and again, with the database up and then coming and going: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.demo_servers import InfluxDB, Mosquitto
from tests.e2e.box import Box, sinks
from tests.faults.scale import scaled
from tests.faults.watched import in_journal, top
from tests.waiting import wait_until

ROUNDS = 200
SOON = 5.0
"""Seconds from the start of the process to the first new reading on disk."""
FLAP = 3.0
"""Seconds for which the database is there, and is not."""
FROM_MQTT = ("rain-1", "cnt-1")


class Flapping:
    """A database that comes and goes, or stays."""

    def __init__(self, server: InfluxDB, *, still: bool) -> None:
        """`still`: it stays."""
        self._server = server
        self._next = float("inf") if still else time.monotonic() + FLAP

    def turn(self) -> None:
        """Stop or start it where it is time. Called from the thread that ends it when it ends."""
        if time.monotonic() < self._next:
            return
        if self._server.running:
            self._server.kill()
        else:
            self._server.start()
        self._next = time.monotonic() + FLAP


def life(box: Box, seconds: float, flapping: Flapping) -> float | None:
    """Start the agent and kill it after `seconds`; how long it took to the first new reading, None: it did not live."""
    before, began, first = _top(box.folder), time.monotonic(), None
    box.start()
    while time.monotonic() - began < seconds:
        flapping.turn()
        if first is None and _top(box.folder) > before:
            first = time.monotonic() - began
        time.sleep(0.02)
    box.kill()
    return first if first is not None or seconds < SOON - 0.5 else SOON + seconds


def _top(folder: Path) -> int:
    with contextlib.suppress(sqlite3.Error):
        return top(folder)
    return 0


def lives(box: Box, server: InfluxDB, chance: random.Random) -> Iterator[float]:
    """All rounds: the first half with the database up, the second with it coming and going."""
    rounds = scaled(ROUNDS)
    for still in (True, False):
        flapping = Flapping(server, still=still)
        for _ in range(rounds // 2):
            if (first := life(box, chance.uniform(0.5, 5.0), flapping)) is not None:
                yield first


@pytest.mark.faults
def test_agent_killed_hundreds_of_times_delivers_every_acknowledged_reading_once(
    tmp_path: Path, mosquitto: Mosquitto, influxdb: InfluxDB
) -> None:
    """Each sequence number that was acknowledged is in the database exactly once; new readings come within 5 s."""
    influxdb.create_database("city")
    chance = random.Random(21)
    with Box(tmp_path, mosquitto.url, sinks(influxdb), every="200ms", period=0.05) as box:
        firsts = list(lives(box, influxdb, chance))
        influxdb.start()
        box.start()
        time.sleep(2)
        box.end_ward()
        assert wait_until(box.drained, 60), box.log()[-3000:]
        result = box.compare_influxdb(influxdb)
        stored = [(row.device, row.point, row.time) for row in box.influxdb_rows(influxdb)]
        rows = box.ledger()
        assert box.stop() == 0
    kept = in_journal(tmp_path)
    print(f"{scaled(ROUNDS)} kills: {len(kept)} readings acknowledged, first new one after at most {max(firsts):.1f} s")
    assert max(firsts) <= SOON
    assert set(kept) == set(stored)
    assert (result.wrong, result.unexpected, result.twice) == ([], [], [])
    assert not [found for found in result.missing if found.device in FROM_MQTT]
    polled = [key for key in kept if key[0] not in FROM_MQTT]  # the broker delivers again what it was not told
    assert len(polled) == len(set(polled))
    assert sum(row.stored for row in rows) == len(kept) == sum(row.delivered.get("centre", 0) for row in rows)
