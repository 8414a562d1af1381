"""Everything that a broker and the line to it can do to a box that takes its messages: none that it kept is lost."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from edge_agent.client import ask
from edge_agent.demo_servers import InfluxDB
from edge_agent.findings import Findings
from tests.e2e.box import Agent
from tests.faults.line import FarInfluxDB, Line, thin_line
from tests.faults.scale import scaled_seconds
from tests.faults.street_broker import Broker, Sensor
from tests.faults.watched import in_journal, newest_ms
from tests.waiting import wait_until

BACK = 30.0
"""Seconds from the end of a fault to the first new message in the database."""
LEAST_BUSY = 0.2
"""Share of a core that the agent may have while the connection comes and goes."""
FLAP = 2.0
"""Seconds for which the broker is there, and is not."""
GONE = 45.0
"""Seconds of a line that is cut without a word; that it is takes 25 s to notice (`drivers.mqtt_seam.HALF_OPEN`)."""
POINT = "counter.count"

CONFIG = """
site: cl-02
language: en
state: ./state
box: {{disabled: true}}
clock: {{patience: 0s}}
mqtt:
  - id: field
    broker: mqtt://{host}:{door}
    subscriptions:
      - {{topic: s/+, decoder: json, device: "{{1}}", time: $.t, points: {{counter.count: $.n}}}}
sinks: [{{id: centre, influxdb: {{url: "{url}", version: 1, database: city}}}}]
"""


class Seen(msgspec.Struct):
    """What all of it came to."""

    back: dict[str, float] = {}
    """Seconds until the first new message was in the database, by fault."""
    busy: dict[str, float] = {}
    """Share of a core, by fault."""

    def __str__(self) -> str:
        """As it stands in docs/reliability.md."""
        each = [f"{name}: {back:.1f} s, {self.busy[name]:.1%} of a core" for name, back in self.back.items()]
        return "back after " + "; ".join(each)


class Street:
    """A box, its broker and its database."""

    def __init__(self, folder: Path, line: Line, broker: Broker, influxdb: InfluxDB) -> None:
        """The box is started."""
        self.broker, self.influxdb, self._line = broker, influxdb, line
        self.seen = Seen()
        self.box = self.another(folder)

    def another(self, folder: Path) -> Agent:
        """A box with the same configuration."""
        folder.mkdir(exist_ok=True)
        box = Agent(folder)
        box.before = self._line.before
        words = CONFIG.format(host=self.broker.host, door=self.broker.door, url=self.influxdb.url)
        box.file.write_text(words, encoding="utf-8")
        box.start()
        return box

    def named(self, key: str, within: float) -> None:
        """The agent says of its broker what is wrong, and its verdict is not "ok"."""
        assert wait_until(lambda: key in self._findings(), within, step=0.5), (key, self._findings(), self.box.log())
        assert self.box.status().verdict != "ok"

    def _findings(self) -> list[str]:
        found: Findings = ask(self.box.control, "/findings", Findings)
        return [each.key for each in found.findings if each.of == "broker"]

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """It is over at the end of the block: new messages are in the database soon."""
        assert self.box.process
        cpu, began = _cpu(self.box.process.pid), time.monotonic()
        yield
        self.seen.busy[name] = (_cpu(self.box.process.pid) - cpu) / (time.monotonic() - began)
        over, over_ms = time.monotonic(), time.time_ns() // 1_000_000
        assert wait_until(lambda: newest_ms(self.influxdb, POINT) > over_ms, 3 * BACK, step=0.1), self.box.log()
        self.seen.back[name] = time.monotonic() - over


def _cpu(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def killed(street: Street, sensor: Sensor) -> None:
    """kill -9, three times: at once there again, after a while, and after the box has made longer pauses."""
    for away in (0.0, 3.0, 8.0):
        with sensor.silent(), street.fault(f"killed, away {away:.0f} s"):
            street.broker.kill()
            time.sleep(away)
            street.broker.start()
            sensor.go()


def flapping(street: Street, _: Sensor) -> None:
    """The line is reset, and then the broker restarted, every two seconds."""
    seconds = scaled_seconds(300, 24)
    with street.fault("line reset every 2 s"):
        for _round in range(int(seconds / FLAP / 2)):
            for way in ("reset", "whole"):
                street.broker.line(way)
                time.sleep(FLAP)
    with street.fault("broker restarted every 2 s"):
        for _round in range(int(seconds / FLAP / 2)):
            street.broker.stop()
            time.sleep(FLAP)
            street.broker.start()
            time.sleep(FLAP)


def half_open(street: Street, _: Sensor) -> None:
    """Nothing goes through, then nothing that the box says, and nobody is told so."""
    for way in ("black hole", "deaf broker"):
        with street.fault(way):
            street.broker.line(way)
            street.named("broker_unreachable", GONE)
            time.sleep(5)
            street.broker.line("whole")


def denied(street: Street, _: Sensor) -> None:
    """The broker lets us in and answers SUBSCRIBE with 0x87."""
    with street.fault("subscription denied"):
        street.broker.stop()
        street.broker.allow(subscribe=False)
        street.broker.start()
        street.named("topic_refused", BACK)
        assert "0x87" in street.box.log() or "ot authorized" in street.box.log()
        street.broker.stop()
        street.broker.allow(subscribe=True)
        street.broker.start()


def taken_over(street: Street, _: Sensor) -> None:
    """A box made from a copy of the card has the same client id; what it takes, it keeps and delivers."""
    with street.fault("session taken over"):
        twin = street.another(street.box.folder / "twin")
        street.named("client_id_twice", 60)
        time.sleep(scaled_seconds(60, 10))
        assert twin.stop() == 0


@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.xdist_group("broker")
def test_broker_that_does_everything_a_broker_can_costs_no_message_that_it_kept(tmp_path: Path) -> None:
    """Killed, flapping, behind a black hole, deaf, denying, with a twin of ours: named, back within 30 s, none lost."""
    influxdb = FarInfluxDB(tmp_path)
    with thin_line("100mbit") as line, contextlib.ExitStack() as stack:
        influxdb.host = line.host
        broker = Broker(tmp_path, line.host)
        stack.enter_context(influxdb)
        stack.enter_context(broker)
        influxdb.create_database("city")
        street = Street(tmp_path / "box", line, broker, influxdb)
        stack.callback(street.box.kill)
        sensor = Sensor(broker)
        with sensor:
            with street.fault("none"):
                time.sleep(2)
            for fault in (killed, flapping, half_open, denied, taken_over):
                fault(street, sensor)
        kept = dict(sensor.kept)
        assert wait_until(lambda: newest_ms(influxdb, POINT) >= max(kept), 30)
        assert street.box.stop() == 0
        rows = influxdb.query('SELECT "count" FROM "counter"', "city")
    there = {int(row["time"] or 0): int(row["count"] or 0) for row in rows}
    there |= {time: -1 for _, _, time in in_journal(tmp_path / "box" / "twin") if time not in there}
    print(f"{len(kept)} messages kept by the broker; {street.seen}")
    assert [n for time, n in kept.items() if time not in there] == []
    assert max(street.seen.back.values()) <= BACK
    assert max(street.seen.busy.values()) < LEAST_BUSY
