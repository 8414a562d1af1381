"""A disk that takes nothing, while the line is up: the centre goes on getting readings, and none is counted twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from drivers.reading import Readings, Source, quantities
from edge_agent import delivery, recovery, unwritten
from edge_agent import journal as journal_module
from edge_agent.config import Influx
from edge_agent.delivery import SinkNow, forward
from edge_agent.demo_servers import InfluxDB
from edge_agent.journal import Journal
from edge_agent.sinks.influx import InfluxSink
from edge_agent.store import Store
from tests.e2e.box import Agent
from tests.faults.card import card
from tests.faults.test_power_cut import NO_FUSE, mounted
from tests.faults.test_start_on_a_bad_disk import AGENT, broken
from tests.waiting import until, wait_until

needs_fuse = pytest.mark.skipif(not Path("/dev/fuse").exists(), reason=NO_FUSE)
STATION = Source("met-1", (quantities()["weather.temp_c"],))
NOW = time.time_ns() // 1_000_000


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits ten seconds for the disk."""
    monkeypatch.setattr(unwritten, "PATIENCE", 0.2)
    monkeypatch.setattr(unwritten, "MOST", 20)
    monkeypatch.setattr(delivery, "LOOK", 0.3)
    monkeypatch.setattr(delivery, "AHEAD_EVERY", 0.1)
    monkeypatch.setattr(recovery, "RETRY", 0.1)
    monkeypatch.setattr(journal_module, "RETRY", 0.1)


class Centre:
    """A database of this test."""

    def __init__(self, server: InfluxDB, database: str) -> None:
        """An empty one."""
        self.settings = Influx.model_validate({"url": server.url, "version": 1, "database": database})
        self._server, self._database = server, database

    def values(self) -> list[int]:
        """What it has, in order of the stamps."""
        rows = self._server.query("SELECT temp_c FROM weather", self._database)
        return [int(cast(float, row["temp_c"])) for row in rows]


@pytest.fixture
def centre(shared_influxdb: InfluxDB, database: str) -> Centre:
    """A real one."""
    return Centre(shared_influxdb, database)


def put(journal: Journal, *numbers: int, done: Callable[[], None] | None = None, stamped: bool = False) -> None:
    """Readings whose value is their number, one each second."""
    for n in numbers:
        journal.put([Readings(STATION, NOW + 1000 * n, n, (float(n),), stamped=stamped)], done)


def run(disk: Path, centre: Centre, script: Callable[[Journal], Awaitable[None]], *, killed: bool = False) -> None:
    """A journal on `disk` and its way to the centre; `killed`: it ends as if the power had gone."""

    async def main() -> None:
        journal = Journal(Store(disk / "journal.db", "cl-02", "boot", 64 << 20, patient=True), {"centre": ()}, 0.01, 30)
        sink = InfluxSink("centre", centre.settings)
        work = (journal.run(), forward(sink, journal, SinkNow("centre", sink.where)))
        tasks = [asyncio.create_task(each) for each in work]
        try:
            await asyncio.wait_for(script(journal), 30)
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not killed:
                await journal.close()

    asyncio.run(main())


async def adds_up(journal: Journal, readings: int) -> None:
    """The ledger knows so many, each delivered once."""
    await until(lambda: not journal.waiting("centre") and not journal.pending and journal.top == readings)
    table = await journal.ledger(0)
    for name in ("stored", "delivered:centre"):
        assert sum(row.get(name, 0) for row in table.values()) == readings, (name, table)


@needs_fuse
def test_readings_of_a_dead_disk_reach_the_centre_and_count_once_it_is_back(tmp_path: Path, centre: Centre) -> None:
    """They are there while the disk is away, uncounted; afterwards each is there once, and the ledger adds up."""
    with mounted(tmp_path) as (disk, _):

        async def script(journal: Journal) -> None:
            put(journal, *range(5))
            await until(lambda: journal.states["centre"].delivered == 5)
            mends = broken(disk)
            put(journal, *range(5, 60))
            await until(lambda: centre.values() == list(range(60)))
            put(journal, *range(60, 70))
            await until(lambda: centre.values() == list(range(70)))
            assert journal.pending == 65
            assert journal.states["centre"].delivered == journal.top == 5
            mends()
            await adds_up(journal, 70)
            assert centre.values() == list(range(70))

        run(disk, centre, script)


@needs_fuse
def test_agent_killed_while_the_disk_was_dead(tmp_path: Path, centre: Centre) -> None:
    """The centre keeps what was sent ahead. What comes after the start gets the same numbers, and is not left out."""
    with mounted(tmp_path) as (disk, _):
        mends: list[Callable[[], None]] = []

        async def dies(journal: Journal) -> None:
            put(journal, *range(5))
            await until(lambda: journal.states["centre"].delivered == 5)
            await journal.flush()
            mends.append(broken(disk))
            put(journal, *range(5, 30))
            await until(lambda: centre.values() == list(range(30)))

        async def goes_on(journal: Journal) -> None:
            assert journal.top == 5
            put(journal, *range(30, 60))
            await adds_up(journal, 35)
            assert centre.values() == list(range(60))

        run(disk, centre, dies, killed=True)
        mends.pop()()
        run(disk, centre, goes_on)


@needs_fuse
def test_what_a_broker_keeps_waits_for_the_disk(tmp_path: Path, centre: Centre) -> None:
    """After a crash it comes again, with another stamp unless the device gives it. The disk is dead from the start."""
    with mounted(tmp_path) as (disk, _):
        mends = broken(disk)

        async def script(journal: Journal) -> None:
            put(journal, 0, 1, done=lambda: None)
            put(journal, 2, done=lambda: None, stamped=True)
            put(journal, 3)
            await until(lambda: centre.values() == [2, 3])
            mends()
            await adds_up(journal, 4)
            assert centre.values() == [0, 1, 2, 3]

        run(disk, centre, script)


@pytest.mark.faults
def test_agent_whose_ext4_turns_read_only(tmp_path: Path, shared_influxdb: InfluxDB, database: str) -> None:
    """The kernel protects the card: the agent stays up, says so, and every second of it reaches the centre."""
    with card(tmp_path / "card") as small:
        config = AGENT.format(state=small.folder, control=tmp_path / "control.sock")
        sink = (
            f"sinks:\n- {{id: centre, influxdb: {{url: '{shared_influxdb.url}', version: 1, database: {database}}}}}\n"
        )
        (tmp_path / "agent.yaml").write_text(config + sink, encoding="utf-8")
        agent = Agent(tmp_path, control=tmp_path / "control.sock")
        agent.start()
        try:
            assert wait_until(lambda: seconds(shared_influxdb, database) >= 3, 30), agent.log()
            small.turns_read_only()
            assert wait_until(lambda: agent.status().verdict == "failed", 20), agent.log()
            before = agent.status().sinks[0].delivered
            assert wait_until(lambda: seconds(shared_influxdb, database) >= 40, 90), agent.log()
            now = agent.status()
            assert (now.verdict, now.sinks[0].delivered) == ("failed", before)
            assert any("read-only" in reason for reason in now.reasons), now.reasons
        finally:
            agent.kill()


def seconds(server: InfluxDB, database: str) -> int:
    """How many readings of the box's uptime there are."""
    rows = server.query("SELECT count(uptime_s) FROM box", database)
    return int(cast(int, rows[0]["count"])) if rows else 0
