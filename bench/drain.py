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
from edge_agent.body import glued
from edge_agent.delivery import BATCH_READINGS
from edge_agent.demo_servers import InfluxDB, VictoriaMetrics
from edge_agent.sinks.influx import MOST_BYTES
from edge_agent.store import Store

LOAD = Ward()
NEARLY = 20_000
"""Readings that wait when the backlog counts as drained: live ones are always under way."""
LOOK = 0.1
"""Seconds between two looks at the agent."""
RARELY = 5
"""Looks for one question to the database, which has enough to do."""
SETTLED = 3
"""Looks until the agent is in its stride."""
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


class Pair(msgspec.Struct, frozen=True):
    """The agent and curl, one right after the other."""

    agent: Drained
    curl: float
    """Readings per second of the same backlog."""


class Backlog(msgspec.Struct, frozen=True):
    """A journal, and its blobs cut into the bodies that the sink makes of them."""

    folder: Path
    readings: int


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


def prepare(path: Path, readings: int) -> Backlog:
    """Fill a journal, and glue its blobs to request bodies as the sink does it, one file each."""
    (path / "bodies").mkdir(parents=True)
    fill(path / "journal.db", LOAD, ward.write_profile(path / "devices", LOAD.registers), readings)
    store = Store(path / "journal.db", SITE, "filled", ROOM)
    after = 0
    while rows := store.rows(after, store.last_id, BATCH_READINGS, MOST_BYTES):
        (path / "bodies" / f"{after:010}.gz").write_bytes(glued([row.body for row in rows]))
        after = rows[-1].id
    store.close()
    return Backlog(path, readings)


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
    with folder() as path, VictoriaMetrics(path) as server:
        yield Target(server.url, 2, f"{server.url}/api/v2/write?precision=ms", time.time)


# --- measuring --------------------------------------------------------------------------------------------------------


def drain(target: Target, backlog: Backlog) -> Drained:
    """Drain a copy of the journal while the devices are polled."""
    with folder() as path, slaves(LOAD) as ports:
        ward.write_profile(path / "devices", LOAD.registers)
        (path / "state").mkdir()
        shutil.copy(backlog.folder / "journal.db", path / "state")
        blocks = (ward.buses(ports, LOAD.every), ward.sinks({target.url: target.version}))
        with Agent(ward.configuration(path, blocks)) as agent:
            return _watch(agent, target, backlog.readings)


def _watch(agent: Agent, target: Target, readings: int) -> Drained:
    ready, cpu = time.time(), agent.cpu
    age = memory = 0.0
    looks = [(time.monotonic(), agent.waiting)]
    while looks[-1][1] > NEARLY:
        if len(looks) % RARELY == 0:
            memory = max(memory, agent.pss)
            age = max(age, time.time() - max(target.newest(), ready))
        if len(looks) * LOOK > LONGEST:
            raise TimeoutError(f"{looks[-1][1]} readings still wait")
        time.sleep(LOOK)
        looks.append((time.monotonic(), agent.waiting))
    return Drained(agent.ready_s, _rate(looks[:-1]), age, memory, 1e6 * (agent.cpu - cpu) / readings)


def _rate(looks: list[tuple[float, int]]) -> float:
    """Readings per second; the first moments, when connections are made and every device is asked at once, left out."""
    (began, before), (ended, after) = looks[min(SETTLED, len(looks) - 2)], looks[-1]
    return (before - after) / (ended - began)


def posted_by_curl(target: Target, backlog: Backlog) -> float:
    """Readings per second of curl, which posts body after body on one connection, from the agent's core."""
    asked = "next\n".join(
        f'url = "{target.write}"\ndata-binary = "@{file}"\nheader = "Content-Encoding: gzip"\nfail\nsilent\n'
        for file in sorted((backlog.folder / "bodies").iterdir())
    )
    began = time.monotonic()
    subprocess.run([*ON_AGENT_CORE, "curl", "-K", "-"], input=asked.encode(), check=True)
    return backlog.readings / (time.monotonic() - began)


def pair(make: MakeTarget, backlog: Backlog) -> Pair:
    """The agent and then curl, each into an empty database."""
    with make() as target:
        drained = drain(target, backlog)
    with make() as target:
        return Pair(drained, posted_by_curl(target, backlog))


def benchmark(quick: bool) -> list[Result]:
    """Both databases in turn: long runs for the absolute figures, short pairs for the comparison with curl."""
    long, runs, short, pairs = (1_000_000, 1, 500_000, 2) if quick else (10_000_000, 2, 2_000_000, 5)
    with folder() as path:
        whole, part = prepare(path / "long", long), prepare(path / "short", short)
        in_influx, in_victoria = _taking_turns(whole, runs)
        with_influx, with_victoria = _taking_turns(part, pairs)
    ready = tuple(pair.agent.ready for pair in [*in_influx, *in_victoria])
    return [
        Result(f"ready with {long:,} readings waiting", ready, "s", 0.5),
        *_results("InfluxDB", in_influx, with_influx),
        Result("  oldest live reading meanwhile", tuple(pair.agent.age for pair in in_influx), "s", 5),
        *_results("victoria-metrics", in_victoria, with_victoria),
    ]


def _taking_turns(backlog: Backlog, count: int) -> tuple[list[Pair], list[Pair]]:
    influx, victoria = list[Pair](), list[Pair]()
    for _ in range(count):
        influx.append(pair(influx_target, backlog))
        victoria.append(pair(victoria_target, backlog))
    return influx, victoria


def _results(database: str, long: list[Pair], short: list[Pair]) -> list[Result]:
    rates, curls = tuple(pair.agent.rate for pair in long), tuple(pair.curl for pair in long)
    shares = tuple(pair.agent.rate / pair.curl for pair in short)
    return [
        Result(f"drain into {database}: readings/s", rates, "", 1_000_000, at_least=True, limit=median(curls)),
        Result("  curl: readings/s", curls),
        Result("  compared with curl", shares, "", 0.9, at_least=True),
        Result("  processor per reading", tuple(pair.agent.cost for pair in long), "us"),
        Result("  memory", tuple(pair.agent.memory for pair in long), "MB"),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
