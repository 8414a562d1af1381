"""The technician's terminal: how soon it shows something, how much memory it takes, and what a changed cell costs.

A pseudo terminal of 80x24 takes what it sends; the agent measures a box that changes its values every second.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import msgspec

from bench.command import main
from bench.running import ROOT, Agent, folder, slaves
from bench.table import Result
from bench.ward import Ward, buses, configuration, sinks, write_profile
from edge_agent.board import Counts, PointNow
from edge_agent.status import JournalStatus, Status

CONFIG = "site: cl-02\nname: Bench\nlanguage: en\nstate: ./state\nbox: {every: 1s}\n"
WARD = Ward(devices=5, registers=100)
"""Five devices with five hundred points, whose list and whose details the terminal then shows."""
USEFUL = b"readings on disk"
"""Stands on the first screen as soon as the agent has answered, whatever it says."""
VERDICT, SILENT = b"is working.", b"has not answered"
BYTES_S = 960.0
"""9,600 baud."""
SETTLE, CELLS = 3.0, 20
PATIENCE = 30.0


class Console:
    """`edge tui` on a pseudo terminal."""

    def __init__(self, file: Path, term: str = "xterm-256color", rate: float = 0.0) -> None:
        """Start it. `rate`: bytes a second that its line takes; 0: as fast as it goes."""
        self._rate = rate
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        environment = {**os.environ, "TERM": term, "LANG": "C.UTF-8"}
        words = [sys.executable, "-m", "edge_agent", "tui", "-c", str(file)]
        self._began = time.monotonic()
        self.process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=environment)
        os.close(slave)

    def until(self, words: bytes) -> float:
        """Seconds since the start until the words came. Raises TimeoutError."""
        seen = b""
        while words not in seen:
            if time.monotonic() - self._began > PATIENCE:
                raise TimeoutError(words)
            seen += self.take(0.05)
        return time.monotonic() - self._began

    def take(self, seconds: float) -> bytes:
        """What comes within so many seconds."""
        seen, end = b"", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0]:
                seen += os.read(self._master, int(self._rate / 100) or 1 << 16)
                time.sleep(0.01 if self._rate else 0)
        return seen

    def leave(self) -> float:
        """Seconds that `q` takes, with a page under way."""
        os.write(self._master, b"2q")
        began = time.monotonic()
        while self.process.poll() is None and time.monotonic() - began < PATIENCE:
            self.take(0.01)
        return time.monotonic() - began

    def type(self, keys: str) -> None:
        """One after the other, each with the time that its screen takes."""
        for key in keys:
            os.write(self._master, key.encode())
            self.take(0.3)

    def memory(self) -> float:
        """MB in memory (RSS), which counts shared libraries in full."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmRSS"))

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


class Changing:
    """An agent whose twenty values all change every second."""

    def __init__(self, socket: Path) -> None:
        """Answer on this socket from a thread of its own."""
        self._socket = socket
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._answer, str(self._socket))
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        answers = {"/status": _status(), "/points": _points(int(time.time())), "/trends": {}}
        found = answers.get(question)
        body = msgspec.json.encode(found)
        writer.write(b"HTTP/1.0 " + (b"404 -" if found is None else b"200 OK") + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()


def _status() -> Status:
    journal = JournalStatus(1000, 1 << 20, 0, 4.0, None)
    return Status("ok", [], Counts(CELLS, CELLS, 0, 0), [], journal, "cl-02", "Bench", "0", 60.0)


def _points(moment: int) -> list[PointNow]:
    values = [1000 + (moment * 7919 + 104729 * i) % 9000 for i in range(CELLS)]
    return [PointNow(f"met-{i:02}.weather.x", value, "hPa", "good", "ok", 4.0, "") for i, value in enumerate(values)]


def per_cell(path: Path, seconds: float) -> float:
    """Bytes for each cell that changes: twenty values and the clock, every second."""
    file = path / "cells.yaml"
    file.write_text(CONFIG + f"control: {path}/cells.sock\n", encoding="utf-8")
    Changing(path / "cells.sock")
    console = Console(file)
    try:
        console.until(b"20/20")
        console.type("2")
        console.take(SETTLE)
        return len(console.take(seconds)) / (seconds * (CELLS + 1))
    finally:
        console.close()


def slow_line(config: Path) -> tuple[float, float]:
    """A serial console of 9,600 baud: seconds to the verdict, and to leave."""
    console = Console(config, "vt100", BYTES_S)
    try:
        return console.until(VERDICT), console.leave()
    finally:
        console.close()


def noticed(config: Path, agent: int) -> float:
    """Seconds until the screen says that it is old, once the agent has been halted."""
    console = Console(config)
    try:
        console.until(USEFUL)
        os.kill(agent, signal.SIGSTOP)
        began = time.monotonic()
        console.until(SILENT)
        return time.monotonic() - began
    finally:
        os.kill(agent, signal.SIGCONT)
        console.close()


def a_visit(path: Path) -> float:
    """MB after all screens, a point's details, a read and the network ladder, on a ward of five devices."""
    place = path / "ward"
    shutil.rmtree(place, ignore_errors=True)
    (place / "state").mkdir(parents=True)
    with slaves(WARD) as ports:
        write_profile(place / "devices", WARD.registers)
        config = configuration(place, [buses(ports, WARD.every), sinks({"http://127.0.0.1:9": 1})])
        with Agent(config):
            console = Console(config)
            try:
                console.until(USEFUL)
                console.type("2jj\r12345678")
                console.type("3j\r\r")
                console.take(SETTLE)
                console.type("5c")
                console.take(2 * SETTLE)
                console.type("1378")
                return console.memory()
            finally:
                console.close()


def benchmark(quick: bool) -> list[Result]:
    """Start against a real agent; cells against one that changes everything."""
    starts, memory, cells = list[float](), list[float](), list[float]()
    with folder() as path:
        (path / "state").mkdir()
        config = path / "agent.yaml"
        config.write_text(CONFIG, encoding="utf-8")
        with Agent(config) as agent:
            for _ in range(2 if quick else 7):
                console = Console(config)
                starts.append(console.until(USEFUL))
                console.type("37845621")
                console.take(SETTLE)
                memory.append(console.memory())
                console.close()
            slow = [slow_line(config) for _ in range(1 if quick else 3)]
            halted = [noticed(config, agent.pid) for _ in range(1 if quick else 3)]
        visit = [a_visit(path) for _ in range(1 if quick else 3)]
        cells = [per_cell(path, 5.0 if quick else 15.0)]
    return [
        Result("terminal: first useful screen", tuple(starts), "s", 1.0),
        Result("  memory (RSS) after all screens", tuple(memory), "MB", 45.0),
        Result("  memory after a visit to a ward of 500 points", tuple(visit), "MB", 45.0),
        Result("  for each changed cell", tuple(cells), "B", 300.0),
        Result("  vt100 at 960 bytes/s: verdict", tuple(first for first, _ in slow), "s", 3.0),
        Result("  vt100 at 960 bytes/s: `q`", tuple(left for _, left in slow), "s", 1.0),
        Result("  halted agent noticed", tuple(halted), "s", 10.0),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
