"""What a benchmark starts, and ends again: a folder, the devices, the agent. All are context managers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.machine import ON_AGENT_CORE, bytes_written, cpu_seconds, pss_mb
from bench.ward import DATABASE, Ward
from edge_agent.client import ask
from edge_agent.demo_servers import InfluxDB
from edge_agent.status import JournalStat, Status

ROOT = Path(__file__).parent.parent
RUN = ("-m", "edge_agent", "run")
READY = 20.0
"""Seconds for the agent to become ready, at most."""


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder (TMPDIR says where): on a disk, or what a commit costs is not measured."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@contextmanager
def helper(module: str, *arguments: object) -> Iterator[str]:
    """Another module of the benchmarks as a process: the first line it prints. Ends when the block does."""
    line = [sys.executable, "-m", module, *map(str, arguments)]
    process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield process.stdout.readline() if process.stdout else ""
        finally:
            process.terminate()


@contextmanager
def slaves(ward: Ward, *, busy: bool = False) -> Iterator[list[int]]:
    """The devices of a ward: their ports."""
    with helper("bench.slaves", ward.devices, ward.registers, "busy" if busy else "") as ports:
        yield [int(port) for port in ports.split()]


@contextmanager
def influxdb() -> Iterator[InfluxDB]:
    """An InfluxDB with an empty database."""
    with folder() as path, InfluxDB(path) as server:
        server.create_database(DATABASE)
        yield server


def readings_in(server: InfluxDB, measurement: str = "/.*/") -> int:
    """How many readings the database holds: values of all fields but those of quality."""
    rows = server.query(f"SELECT count(*) FROM {measurement}", DATABASE)
    names = [(name, n) for row in rows for name, n in row.items() if name.startswith("count_")]
    return sum(int(n or 0) for name, n in names if name not in ("count_q", "count_qr") and not name.endswith("_q"))


class Agent:
    """`edge run`, alone on its core, from `enter` to `exit`."""

    def __init__(
        self, config: Path, command: Sequence[str] = RUN, environment: Mapping[str, str] | None = None
    ) -> None:
        """`command`: what Python runs; `environment`: variables beside the usual ones."""
        self.config = config
        self.control = config.parent / "state" / "control.sock"
        self.log = config.with_suffix(".log")
        self._line = [*ON_AGENT_CORE, sys.executable, *command, "-c", str(config)]
        self._environment = environment or {}
        self.ready_s = 0.0
        """From the start of the process until it said READY."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        """Start, and wait until it says that it is ready, as systemd does."""
        usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, self.log.open("wb") as log:
            address = self.config.with_name("notify")
            address.unlink(missing_ok=True)
            notified.bind(str(address))
            notified.settimeout(0.2)
            began = time.perf_counter()
            self._process = subprocess.Popen(
                self._line,
                cwd=ROOT,
                env={**usual, **self._environment, "NOTIFY_SOCKET": str(address)},
                stderr=log,
            )
            self._await(notified)
            self.ready_s = time.perf_counter() - began
        return self

    def _await(self, notified: socket.socket) -> None:
        deadline = time.monotonic() + READY
        while True:
            try:
                if b"READY=1" in notified.recv(4096):
                    return
            except TimeoutError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise RuntimeError(f"the agent did not start: {self.log.read_text(encoding='utf-8')}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it in order."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return cpu_seconds(self._process.pid)

    @property
    def pss(self) -> float:
        """MB of memory now."""
        return pss_mb(self._process.pid)

    @property
    def written(self) -> int:
        """Bytes sent to the disk so far."""
        return bytes_written(self._process.pid)

    @property
    def status(self) -> Status:
        """What `edge status` shows."""
        found: Status = ask(self.control, "/status", Status)
        return found

    @property
    def delivered(self) -> int:
        """Readings that the sinks have confirmed."""
        return sum(sink.delivered for sink in self.status.sinks)

    @property
    def waiting(self) -> int:
        """Readings in the journal that the first sink has not confirmed."""
        found: JournalStat = ask(self.control, "/journal", JournalStat)
        return found.sinks[0].waiting

    def wait_delivered(self, least: int, timeout: float) -> None:
        """Wait until so many readings are delivered. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while self.delivered < least:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.delivered} of {least} readings delivered")
            time.sleep(0.1)
