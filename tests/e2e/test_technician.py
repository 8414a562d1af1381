"""`edge tui` on real terminals against a real agent: a slow line, a stopped agent, terminals that know little."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.client import NotRunning, ask
from edge_agent.status import Status
from tests.waiting import wait_until

CONFIG = "site: cl-02\nname: Phường Sao Đỏ\nlanguage: vi\nstate: ./state\nbox: {every: 1s}\n"
PATIENCE = 30.0
"""Seconds for what must happen; the machine may be loaded."""


class Agent:
    """`edge run` with nothing but the box's own readings."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        """Start it and wait until it answers."""
        self.file = folder / "agent.yaml"
        self.file.write_text(config, encoding="utf-8")
        self._log = (folder / "agent.log").open("wb")
        words = [sys.executable, "-m", "edge_agent", "run", "-c", str(self.file)]
        self.process = subprocess.Popen(words, stderr=self._log)
        assert wait_until(self._answers, PATIENCE)

    def _answers(self) -> bool:
        try:
            now: Status = ask(self.file.parent / "state/control.sock", "/status", Status)
        except NotRunning:
            return False
        return now.points.total > 0

    def stop(self) -> None:
        """End it, also where it was halted."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(PATIENCE)
        self._log.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """A running agent of this test alone."""
    found = Agent(tmp_path)
    yield found
    found.stop()


class Line:
    """`edge tui` on a pseudo terminal whose other end takes at most so many bytes a second."""

    def __init__(
        self,
        file: Path,
        environ: dict[str, str],
        *words: str,
        rate: float = 1e6,
        answers: bool = False,
        raw: bool = False,
    ) -> None:
        """Start it. `answers`: to the question where the cursor stands, as soon as that has come through.

        `raw`: as a program that died leaves a console.
        """
        self.file = file
        self._master, slave = pty.openpty()
        if raw:
            tty.setraw(slave)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        base = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        command = [sys.executable, "-m", "edge_agent", "tui", "-c", str(file), *words]
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=base | environ, start_new_session=True
        )
        os.close(slave)
        self._rate, self._seen, self._open = rate, bytearray(), True
        self._answers, self._answered = answers, 0
        self._reader = threading.Thread(target=self._read, name="line")
        self._reader.start()

    def _read(self) -> None:
        piece = max(1, int(self._rate / 100))
        while self._open:
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            try:
                self._seen += os.read(self._master, min(piece, 65_536))
            except OSError:  # the other end is gone
                return
            if self._answers and (asked := self._seen.count(b"\x1b[6n")) > self._answered:
                self._answered = asked
                os.write(self._master, b"\x1b[24;1R")
            if self._rate < 1e5:
                time.sleep(0.01)

    @property
    def seen(self) -> str:
        """Everything that came through so far."""
        return bytes(self._seen).decode("utf-8", "replace")

    def type(self, keys: str) -> None:
        """As a person would."""
        os.write(self._master, keys.encode())

    def until(self, words: str) -> float:
        """Seconds since the start until the words have come through."""
        assert wait_until(lambda: words in self.seen, PATIENCE), words
        return time.monotonic() - self.began

    def left(self) -> int:
        """The exit code, once it ends by itself."""
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(PATIENCE)
        self._open = False
        self._reader.join()
        os.close(self._master)


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    """Lines to be closed."""
    opened: list[Line] = []
    yield opened
    for line in opened:
        line.close()


def _open(lines: list[Line], agent: Agent, environ: dict[str, str], *words: str, rate: float = 1e6) -> Line:
    lines.append(Line(agent.file, environ, *words, rate=rate))
    return lines[-1]


def test_serial_console_at_9600_baud(agent: Agent, lines: list[Line]) -> None:
    """At 960 bytes/s with TERM=vt100 the first line comes soon, no control sequence is sent, and `q` leaves at once."""
    line = _open(lines, agent, {"TERM": "vt100", "LANG": "vi_VN.UTF-8"}, rate=960)
    line.until("TERM=vt100")
    line.until("Mọi thứ đang tốt.")
    line.until("--")
    line.type("2")
    line.until("box.box.uptime_s")
    line.type("q")
    asked = time.monotonic()
    assert line.left() == 0
    assert time.monotonic() - asked < 5
    assert "\x1b" not in line.seen


def test_console_left_raw(agent: Agent, lines: list[Line]) -> None:
    """After a program that died on it: lines begin at the left all the same, and Enter is Enter."""
    lines.append(Line(agent.file, {"TERM": "vt100", "LANG": "C.UTF-8"}, raw=True))
    lines[-1].until("Mọi thứ đang tốt.")
    lines[-1].type("/uptime\r")
    lines[-1].until("[CHỈ XEM] /uptime")
    shown = lines[-1].seen
    assert shown.count("\n") == shown.count("\r\n") > 3, shown
    lines[-1].type("q")
    assert lines[-1].left() == 0


def test_locale_without_letters(agent: Agent, lines: list[Line]) -> None:
    """With LANG=C every Vietnamese letter arrives."""
    line = _open(lines, agent, {"TERM": "xterm-256color", "LANG": "C"})
    line.until("Tổng quan")
    line.type("q")
    assert line.left() == 0


def test_charset_that_is_not_utf8(agent: Agent, lines: list[Line]) -> None:
    """Who chose another character set gets plain lines in ASCII, and is told why."""
    line = _open(lines, agent, {"TERM": "xterm", "LANG": "en_US.ISO-8859-1"})
    line.until("ISO-8859-1")
    line.until("Moi thu dang tot.")
    line.type("q")
    assert line.left() == 0
    assert line.seen.isascii()


def test_no_colour(agent: Agent, lines: list[Line]) -> None:
    """NO_COLOR leaves shapes and words, and sends no colour at all; the mouse stays the terminal's own, for copying."""
    line = _open(lines, agent, {"TERM": "xterm-256color", "LANG": "C.UTF-8", "NO_COLOR": "1"})
    line.until("● tốt")
    line.type("q")
    line.until("Hộp vẫn đo tiếp.")
    assert line.left() == 0
    assert agent.process.poll() is None
    assert "\x1b[32m" not in line.seen
    assert "38;5;" not in line.seen
    assert "\x1b[?1000h" not in line.seen


def test_output_into_a_pipe(agent: Agent) -> None:
    """Without a terminal the overview is printed once, and the exit code is the verdict."""
    words = [sys.executable, "-m", "edge_agent", "tui", "-c", str(agent.file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Mọi thứ đang tốt." in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("term", ["xterm-256color", "vt100"])
def test_stopped_agent(agent: Agent, lines: list[Line], term: str) -> None:
    """kill -STOP: the screen says that it is old, and quits at once all the same; kill -CONT: it recovers."""
    line = _open(lines, agent, {"TERM": term, "LANG": "C.UTF-8"})
    line.until("Mọi thứ đang tốt.")
    agent.process.send_signal(signal.SIGSTOP)
    line.until("Dịch vụ đo không trả lời")
    before = len(line.seen)
    agent.process.send_signal(signal.SIGCONT)
    assert wait_until(lambda: "tốt" in line.seen[before:], PATIENCE)
    line.type("q")
    assert line.left() == 0


def test_two_technicians(agent: Agent, lines: list[Line]) -> None:
    """The second is told who maintains and may take over; the first is told and only looks from then on."""
    environ = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    first = _open(lines, agent, environ, "--maintain", "An")
    first.until("BẢO TRÌ An")
    second = _open(lines, agent, environ, "--maintain", "Bích")
    second.until("An")
    second.until("bấm S")
    second.type("S")
    second.until("BẢO TRÌ Bích")
    first.type("A")
    first.until("Bích")
    second.type("q")
    assert second.left() == 0


def test_no_agent(tmp_path: Path, lines: list[Line]) -> None:
    """Without an agent the screen comes up, says so and what to do, and takes the agent up when it starts."""
    file = tmp_path / "agent.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    lines.append(Line(file, {"TERM": "xterm-256color", "LANG": "C.UTF-8"}))
    lines[-1].until("Dịch vụ đo không chạy")
    agent = Agent(tmp_path)
    try:
        lines[-1].until("Mọi thứ đang tốt.")
    finally:
        agent.stop()
