"""A long outage is over: 10 million readings wait in the journal, and live ones keep coming.

How soon the agent is ready, how fast the backlog reaches the database compared with `curl` posting the same bytes, and
how old the newest live reading in the database gets meanwhile. The journal is filled by the code that fills it in the
field: the register map decodes noisy answers, the store commits at 500 readings.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median

import msgspec

from bench import ward
from bench.backlog import ROOM, fill
from bench.command import main
from bench.machine import ON_AGENT_CORE
from bench.running import Agent, folder, influxdb, slaves
from bench.table import Result
from bench.ward import DATABASE, SITE, Ward
from edge_agent.demo_servers import InfluxDB, VictoriaMetrics
from edge_agent.pipeline import BATCH_READINGS
from edge_agent.sinks.influx import MOST_BYTES
from edge_agent.store import Store

LOAD = Ward()
NEARLY = 20_000
"""Readings that wait when the backlog counts as drained: live ones are always under way."""
LOOK = 0.1
"""Seconds between two looks at the agent."""
RARELY = 5
"""Looks for one question to the database, which has enough to do."""
LONGEST = 120.0


class Drained(msgspec.Struct, frozen=True):
    """One run of the agent."""

    ready: float
    """Seconds from the start to READY=1."""
    rate: float
    """Readings per second."""
    age: float
    """Seconds: greatest age of the newest live reading in the database."""
    memory: float
    """MB (PSS), greatest seen."""
    cost: float
    """Microseconds of processor time per reading, once it was ready."""


class Run(msgspec.Struct, frozen=True):
    """The agent and curl, one after the other."""

    agent: Drained
    curl: float
    """Readings per second of the same backlog."""


class Target(msgspec.Struct, frozen=True):
    """A database server, ready and empty."""

    url: str
    version: int
    write: str
    """URL of its write requests."""
    newest: Callable[[], float]
    """Unix seconds of the newest reading of one live device."""


MakeTarget = Callable[[], AbstractContextManager[Target]]


# --- the backlog ------------------------------------------------------------------------------------------------------


def cut_bodies(journal: Path, into: Path) -> None:
    """The journal's blobs, glued to request bodies as the sink does it, one file each."""
    into.mkdir()
    store = Store(journal, SITE, "filled", ROOM)
    after = 0
    while rows := store.rows(after, store.last_id, BATCH_READINGS, MOST_BYTES):
        (into / f"{after:010}.gz").write_bytes(b"".join(row.body for row in rows))
        after = rows[-1].id
    store.close()


# --- servers ----------------------------------------------------------------------------------------------------------


@contextmanager
def influx_target() -> Iterator[Target]:
    """InfluxDB 1.6."""
    with influxdb() as server:
        write = f"{server.url}/write?db={DATABASE}&precision=ms"
        yield Target(server.url, 1, write, lambda: _newest_in_influxdb(server))


def _newest_in_influxdb(server: InfluxDB) -> float:
    question = f"SELECT last(temp_c) FROM weather WHERE sensor = '{ward.device_name(0)}' AND time > now() - 60s"
    rows = server.query(question, DATABASE)
    return float(rows[0]["time"] or 0) / 1000 if rows else 0.0


@contextmanager
def victoria_target() -> Iterator[Target]:
    """victoria-metrics, by the write protocol of InfluxDB v2; new samples cannot be read at once: no live age."""
    with folder() as path:
        server = VictoriaMetrics(path).start()
        try:
            yield Target(server.url, 2, f"{server.url}/api/v2/write?precision=ms", time.time)
        finally:
            server.stop()


# --- measuring --------------------------------------------------------------------------------------------------------


def drain(target: Target, path: Path, readings: int) -> Drained:
    """Drain a copy of the journal while the devices are polled."""
    shutil.rmtree(path / "state", ignore_errors=True)
    (path / "state").mkdir()
    shutil.copy(path / "filled.db", path / "state" / "journal.db")
    with slaves(LOAD) as ports:
        blocks = (ward.buses(ports, LOAD.every), ward.sinks({target.url: target.version}))
        with Agent(ward.configuration(path, blocks)) as agent:
            return _watch(agent, target, readings)


def _watch(agent: Agent, target: Target, readings: int) -> Drained:
    began, ready, cpu = time.monotonic(), time.time(), agent.cpu
    age = memory = 0.0
    looks = 0
    while (waiting := agent.waiting) > NEARLY:
        if looks % RARELY == 0:
            memory = max(memory, agent.pss)
            age = max(age, time.time() - max(target.newest(), ready))
        if time.monotonic() - began > LONGEST:
            raise TimeoutError(f"{waiting} readings still wait")
        looks += 1
        time.sleep(LOOK)
    gone, took = readings - waiting, time.monotonic() - began
    return Drained(agent.ready_s, gone / took, age, memory, 1e6 * (agent.cpu - cpu) / gone)


def posted_by_curl(url: str, files: list[Path], readings: int) -> float:
    """Readings per second of curl, which posts the files one after the other on one connection, on the agent's core."""
    asked = "next\n".join(
        f'url = "{url}"\ndata-binary = "@{file}"\nheader = "Content-Encoding: gzip"\nfail\nsilent\n' for file in files
    )
    began = time.monotonic()
    subprocess.run([*ON_AGENT_CORE, "curl", "-K", "-"], input=asked.encode(), check=True)
    return readings / (time.monotonic() - began)


def once(make: MakeTarget, path: Path, readings: int) -> Run:
    """The agent and then curl, each into an empty database."""
    with make() as target:
        drained = drain(target, path, readings)
    with make() as target:
        curl = posted_by_curl(target.write, sorted((path / "bodies").iterdir()), readings)
    return Run(drained, curl)


def benchmark(quick: bool) -> list[Result]:
    """Both databases in turn, from the same journal."""
    readings, count = (1_000_000, 1) if quick else (10_000_000, 3)
    with folder() as path:
        fill(path / "filled.db", LOAD, ward.write_profile(path / "devices", LOAD.registers), readings)
        cut_bodies(path / "filled.db", path / "bodies")
        influx, victoria = list[Run](), list[Run]()
        for _ in range(count):
            influx.append(once(influx_target, path, readings))
            victoria.append(once(victoria_target, path, readings))
    return [
        Result(
            f"ready with {readings:,} readings waiting", tuple(r.agent.ready for r in [*influx, *victoria]), "s", 0.5
        ),
        *_results("InfluxDB", influx),
        Result("  oldest live reading meanwhile", tuple(run.agent.age for run in influx), "s", 5),
        *_results("victoria-metrics", victoria),
    ]


def _results(database: str, runs: list[Run]) -> list[Result]:
    rates, curls = tuple(run.agent.rate for run in runs), tuple(run.curl for run in runs)
    shares = tuple(run.agent.rate / run.curl for run in runs)
    return [
        Result(f"drain into {database}: readings/s", rates, "", 1_000_000, at_least=True, limit=median(curls)),
        Result("  compared with curl", shares, "", 0.9, at_least=True),
        Result("  curl: readings/s", curls),
        Result("  processor per reading", tuple(run.agent.cost for run in runs), "us"),
        Result("  memory", tuple(run.agent.memory for run in runs), "MB"),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
