"""A whole box for tests: the simulated ward and the agent as processes of their own, real servers beside them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

import msgspec

from drivers.sim.compare import Comparison, Delivered, compare, influx_rows, victoria_rows
from drivers.sim.ledger import Ledger, read_ledger
from edge_agent.client import NotRunning, ask
from edge_agent.demo.stage import MQTT
from edge_agent.demo_servers import InfluxDB, VictoriaMetrics
from edge_agent.status import LedgerRow, Status
from tests.waiting import wait_until

MEASUREMENTS = ("air", "weather", "noise", "water", "power", "traffic", "supply")

CONFIG = """
site: cl-02
name: Phường Sao Đỏ
language: en
state: ./state
box: {{disabled: true}}
clock: {{patience: 0s}}
buses:
  - id: line-1
    serial: ./line-1.tty
    devices:
      - {{id: met-1, profile: renke-01f4-station, unit: 1, every: {every}}}
      - {{id: cab-1, profile: xy-md02, unit: 2, every: {every}}}
  - id: meters
    tcp: 127.0.0.1:{modbus}
    devices:
      - {{id: power-1, profile: eastron-sdm630, unit: 1, every: {every}}}
      - {{id: water-1, profile: dfrobot-sen0676-radar, unit: 7, every: {every}}}
sinks: {sinks}
"""


class Located(Protocol):
    """A server, or what stands before it."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...


def sinks(influxdb: Located | None = None, victoria: VictoriaMetrics | None = None) -> str:
    """The `sinks` block: v1 for InfluxDB, v2 for victoria-metrics, which gets some measurements only."""
    found: list[dict[str, object]] = []
    if influxdb:
        found.append({"id": "centre", "influxdb": {"url": influxdb.url, "version": 1, "database": "city"}})
    if victoria:
        v2 = {"url": victoria.url, "version": 2, "org": "city", "bucket": "city", "confirm_after": "1s"}
        found.append({"id": "province", "influxdb": v2, "only": ["air", "weather", "water"]})
    return json.dumps(found)


class Process:
    """One process of ours, ended by its id."""

    def __init__(
        self, log: Path, *words: str, before: Sequence[str] = (), module: Sequence[str] = ("edge_agent",)
    ) -> None:
        """Start `edge` with `words`; `before`: a command that runs it, such as one that enters a namespace.

        `module`: another one that runs it, with its own words.
        """
        self._log = log.open("ab")
        command = [*before, sys.executable, "-m", *module, *words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._end()

    def _end(self) -> int:
        self._process.communicate(timeout=20)
        self._log.close()
        return self._process.returncode


class Agent:
    """An agent in a folder, with the configuration that is there."""

    def __init__(self, folder: Path, control: Path | None = None) -> None:
        """Nothing is started yet; `control`: its socket, where that is not in the state folder."""
        self.folder = folder
        self.control = control or folder / "state" / "control.sock"
        self.file = folder / "agent.yaml"
        self.process: Process | None = None
        self.before: tuple[str, ...] = ()
        self.module: tuple[str, ...] = ("edge_agent",)

    def start(self) -> Process:
        """Start the agent and wait until it answers."""
        words = ("run", "-c", str(self.file))
        self.process = Process(self.folder / "agent.log", *words, before=self.before, module=self.module)
        assert wait_until(self.answers, 10), self.log()
        return self.process

    def answers(self) -> bool:
        """True when the control socket does."""
        try:
            self.status()
        except NotRunning:
            return False
        return True

    def status(self) -> Status:
        """What `edge status` knows."""
        found: Status = ask(self.control, "/status", Status)
        return found

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """An `edge` command with this agent's configuration."""
        command = [sys.executable, "-m", "edge_agent", *words, "-c", str(self.file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def log(self) -> str:
        """What the agent logged."""
        return (self.folder / "agent.log").read_text(encoding="utf-8")

    def kill(self) -> None:
        """kill -9, if it runs."""
        if self.process:
            self.process.kill()
        self.process = None

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process
        process, self.process = self.process, None
        return process.stop()


class Box(Agent):
    """A simulated ward with its agent."""

    def __init__(
        self,
        folder: Path,
        broker: str,
        sinks_block: str,
        every: str = "500ms",
        period: float = 0.5,
        *,
        faults: Sequence[str] = (),
    ) -> None:
        """Start the ward, its devices with `faults`; the agent is started by `start`."""
        super().__init__(folder)
        self._ledger, pty = folder / "ward.jsonl", folder / "line-1.tty"
        places = ("--port-modbus", "0", "--pty", str(pty), "--mqtt", broker)
        options = (
            "--ledger",
            str(self._ledger),
            "--every-mqtt",
            str(period),
            *(word for fault in faults for word in ("--fault", fault)),
        )
        self.ward = Process(folder / "ward.log", "sim", "ward", *places, *options)
        ready = re.search(r"modbus=127\.0\.0\.1:(\d+)", self.ward.line())
        assert ready, (folder / "ward.log").read_text()
        block = CONFIG.format(every=every, modbus=ready[1], sinks=sinks_block) + MQTT.format(broker="field", url=broker)
        self.file.write_text(block, encoding="utf-8")
        self._ward_runs = True

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        self.kill()
        if self._ward_runs:
            self.ward.kill()

    def ledger(self) -> list[LedgerRow]:
        """What `edge ledger` knows."""
        found: list[LedgerRow] = ask(self.control, "/ledger", list[LedgerRow])
        return found

    def end_ward(self) -> None:
        """Stop the simulation, so that nothing more is generated."""
        assert self.ward.stop() == 0
        self._ward_runs = False

    def drained(self) -> bool:
        """True when every sink has everything."""
        now = self.status()
        return now.journal.pending == 0 and all(sink.waiting == sink.unconfirmed == 0 for sink in now.sinks)

    def generated(self) -> Ledger:
        """What the ward's own ledger says."""
        return read_ledger(self._ledger)

    def compare_influxdb(self, server: InfluxDB) -> Comparison:
        """The ward's ledger against InfluxDB."""
        return compare(self.generated(), self.influxdb_rows(server))

    def influxdb_rows(self, server: InfluxDB) -> Iterator[Delivered]:
        """All that InfluxDB returns."""
        for measurement in MEASUREMENTS:
            yield from influx_rows(measurement, server.query(f'SELECT * FROM "{measurement}"', "city"))

    def compare_victoria(self, server: VictoriaMetrics, only: tuple[str, ...]) -> Comparison:
        """The ward's ledger, its entries cut to the measurements of `only`, against victoria-metrics."""
        ledger = self.generated()
        entries = [
            msgspec.structs.replace(entry, values={k: v for k, v in entry.values.items() if k.split(".")[0] in only})
            for entry in ledger.entries
        ]
        rows = [row for s in server.export() for row in victoria_rows(s.metric, s.values, s.timestamps)]
        return compare(msgspec.structs.replace(ledger, entries=entries), rows)


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
