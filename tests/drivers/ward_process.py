"""The simulated ward as a child process: start it, know its ports, end it."""

from __future__ import annotations

import re
import select
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Self

from edge_agent.demo_servers import dies_with_us

START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


class WardFailed(RuntimeError):
    """The ward did not start; the message carries its own words."""


class WardProcess:
    """One `edge sim ward`."""

    def __init__(self, *options: str) -> None:
        """`options` as on the command line."""
        self.options = options
        self.ready = ""
        """Its first line."""
        self._process: subprocess.Popen[str] | None = None
        self._said = ""
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - lives with us

    @property
    def ports(self) -> list[int]:
        """Its TCP ports, in the order in which the devices name them."""
        return [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", _part(self.ready, "modbus"))]

    @property
    def port(self) -> int:
        """The first of them."""
        return self.ports[0]

    @property
    def pid(self) -> int:
        """Process id. Raises WardFailed when it does not run."""
        if self._process is None:
            raise WardFailed("the ward is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until everything listens. Raises WardFailed."""
        command = [sys.executable, "-m", "drivers.sim.ward", *self.options]
        self._process = subprocess.Popen(
            [*dies_with_us(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            process_group=0,  # Ctrl-C reaches the parent only, which ends the ward in its turn.
        )
        assert self._process.stdout
        if select.select([self._process.stdout], [], [], START_TIMEOUT)[0]:
            self.ready = self._process.stdout.readline()
        if not self.ready.startswith("ready"):
            self.kill()
            raise WardFailed(f"the ward did not start: {self.errors().strip()}")
        return self

    def stop(self) -> int:
        """SIGTERM: it answers nothing more and finishes its ledger. Returns its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        return self.wait(STOP_TIMEOUT)

    def wait(self, timeout: float) -> int:
        """Wait until it ends; after `timeout` seconds it is killed. Returns its exit code."""
        if self._process is None:
            return 0
        try:
            said, _ = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, _ = self._process.communicate()
        code = self._process.returncode
        self._process, self._said = None, said
        return code

    def kill(self) -> None:
        """SIGKILL: not even the ledger is finished."""
        if self._process:
            self._process.kill()
            self.wait(STOP_TIMEOUT)

    def summary(self) -> str:
        """Its last line: what was generated."""
        return self._said.rstrip("\n").rpartition("\n")[2]

    def errors(self) -> str:
        """What it wrote to stderr so far."""
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, tb: TracebackType | None) -> None:
        """Stop."""
        self.stop()
        self._errors.close()


def _part(line: str, name: str) -> str:
    found = re.search(rf"\b{name}=(\S+)", line)
    return found[1] if found else ""
