"""A week's outage is over and the line has 256 kbit/s: everything arrives, and the new never waits for the old.

The box and its sensors are behind the line, the database is before it. How old the new is, is looked at as the centre
would: the newest value of the box itself and of each sensor in the database, against the clock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from drivers.reading import Readings, Source, quantities
from edge_agent.demo_servers import InfluxDB
from edge_agent.rows import Group
from edge_agent.store import Store
from tests.e2e.box import Agent, Process
from tests.faults.line import FarInfluxDB, Line, thin_line
from tests.faults.scale import SCALE
from tests.faults.watched import newest_ms, used_by
from tests.waiting import wait_until

WEEK = 7 * 86_400
SHARE = 0.5 * SCALE if SCALE < 1 else 1.0
"""A twentieth of the week where everything else runs at a tenth: catching up is bound by the line."""
POINTS = 20
LINE = "256kbit"
OLDEST, MOST_MEMORY = 10.0, 100e6
"""Seconds that a live reading may be old; bytes."""

CONFIG = """
site: cl-02
language: en
state: ./state
box: {{every: 1s}}
clock: {{patience: 0s}}
buses:
  - id: meters
    tcp: 127.0.0.1:{modbus}
    devices:
      - {{id: power-1, profile: eastron-sdm630, unit: 1, every: 1s}}
      - {{id: water-1, profile: dfrobot-sen0676-radar, unit: 7, every: 1s}}
sinks: [{{id: centre, influxdb: {{url: "{url}", version: 1, database: city}}}}]
"""
LIVE = ("box.uptime_s", "power.voltage_l1_v", "water.distance_m")
"""Of the box and of both sensors."""
MODBUS = 5020
"""In the namespace nobody else has it."""


def outage(folder: Path, seconds: int) -> int:
    """A journal as a box fills it that polls four stations of five points each second; how many readings."""
    names = [
        name for name, quantity in quantities().items() if name.startswith("weather.") and quantity.kind == "float"
    ]
    fields = tuple(quantities()[name] for name in names[: POINTS // 4])
    stations = [Source(f"met-{n}", fields) for n in range(4)]
    folder.mkdir()
    store, chance = Store(folder / "journal.db", "cl-02", "before", 4 << 30), random.Random(5)
    began = time.time_ns() // 1_000_000 - 1000 * (seconds + 3600)
    values = [[round(chance.uniform(15, 35), 1) for _ in fields] for _ in stations]
    for second in range(seconds):
        group = Group()
        for source, last in zip(stations, values, strict=True):
            last[second % len(fields)] = round(last[second % len(fields)] + chance.uniform(-0.3, 0.3), 1)
            group.add(Readings(source, began + 1000 * second, 1000 * second, tuple(last)))
        store.commit(group)
    with store._db as db:
        db.execute("UPDATE blobs SET committed_ms = last_ms")
    store.close()
    return seconds * POINTS


@contextmanager
def sensors(folder: Path, line: Line) -> Iterator[None]:
    """Two of them, behind the line."""
    devices = ("power-1:eastron-sdm630:1@tcp", "water-1:dfrobot-sen0676-radar:7@tcp")
    words = ("sim", "ward", "--port-modbus", str(MODBUS), *(word for name in devices for word in ("--device", name)))
    ward = Process(folder / "ward.log", *words, before=line.before)
    try:
        assert "modbus=" in ward.line(), (folder / "ward.log").read_text(encoding="utf-8")
        yield
    finally:
        ward.kill()


class Seen(msgspec.Struct):
    """The worst of the catching up."""

    age: float = 0.0
    """Seconds: oldest that the newest reading in the database was."""
    memory: float = 0.0
    seconds: float = 0.0


def catch_up(agent: Agent, server: InfluxDB, within: float) -> Seen:
    """Watch until nothing of the outage waits."""
    process = agent.start()
    seen, began = Seen(), time.monotonic()
    assert wait_until(lambda: all(newest_ms(server, point) > 0 for point in LIVE), 30), agent.log()
    while True:
        seen.age = max(seen.age, *(time.time() - newest_ms(server, point) / 1000 for point in LIVE))
        seen.memory = max(seen.memory, used_by(process.pid).memory)
        seen.seconds = time.monotonic() - began
        if agent.status().sinks[0].waiting < POINTS:
            return seen
        assert seen.seconds < within, agent.status()
        time.sleep(0.5)


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_week_of_outage_is_caught_up_over_a_thin_line_and_live_readings_never_wait(tmp_path: Path) -> None:
    """Every reading arrives; meanwhile each sensor's newest is at most 10 s old, and memory under 100 MB."""
    count = outage(tmp_path / "state", int(SHARE * WEEK))
    server = FarInfluxDB(tmp_path)
    with thin_line(LINE) as line:
        server.host = line.host
        with server, sensors(tmp_path, line):
            server.create_database("city")
            agent = Agent(tmp_path)
            agent.before = line.before
            agent.file.write_text(CONFIG.format(url=server.url, modbus=MODBUS), encoding="utf-8")
            try:
                seen = catch_up(agent, server, within=60 + count * 16 / 25_000)
                assert agent.stop() == 0
            finally:
                agent.kill()
            (counts,) = server.query('SELECT count(*) FROM "weather"', "city")
            stored = sum(int(n or 0) for name, n in counts.items() if name.startswith("count_") and name != "count_q")
    print(
        f"{count} readings over {LINE}: {seen.seconds:.0f} s, live at most {seen.age:.1f} s old,"
        f" memory {seen.memory / 1e6:.0f} MB"
    )
    assert stored == count
    assert seen.age <= OLDEST
    assert seen.memory < MOST_MEMORY
