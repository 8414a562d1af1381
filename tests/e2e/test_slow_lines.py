"""`edge tui` on slow lines and beside a stopped agent: what is noticed, and the seconds that are promised."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.e2e.test_technician import Agent, Line
from tests.waiting import wait_until

XTERM = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
VT100 = {"TERM": "vt100", "LANG": "vi_VN.UTF-8"}
SLOW = "đường truyền chậm"
BYTES_S = 960.0
"""9,600 baud."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A running agent."""
    found = Agent(tmp_path_factory.mktemp("slow"))
    yield found
    found.stop()


def through(agent: Agent, environ: dict[str, str], rate: float) -> Line:
    """A line whose terminal answers."""
    return Line(agent.file, environ, rate=rate, answers=True)


def test_slow_line_behind_a_fast_terminal(agent: Agent) -> None:
    """Nothing but the terminal's late answers tells that the line is slow: the screen says it, and keys still work."""
    line = through(agent, XTERM, BYTES_S)
    try:
        line.until(SLOW)
        line.type("2")
        line.until("box.box.uptime_s")
        line.type("q")
        assert line.left() == 0
    finally:
        line.close()


def test_fast_line_is_never_called_slow(agent: Agent) -> None:
    """Also where a machine at work answers late now and then by itself, keys included."""
    line = through(agent, XTERM, 1e6)
    try:
        line.until("Mọi thứ đang tốt.")
        for key in "2345678":
            line.type(key)
        line.until("python")
        assert SLOW not in line.seen
        line.type("q")
        assert line.left() == 0
    finally:
        line.close()


@pytest.mark.faults
def test_first_line_and_last_key_at_9600_baud(agent: Agent) -> None:
    """TERM=vt100 at 960 bytes/s: the verdict within 3 s of the start, and `q` leaves within 1 s, also amid a page."""
    line = through(agent, VT100, BYTES_S)
    try:
        first = line.until("Mọi thứ đang tốt.")
        line.type("2q")
        asked = time.monotonic()
        assert line.left() == 0
        leaving = time.monotonic() - asked
        print(f"first useful line {first:.2f} s, q {leaving:.2f} s")
        assert (first <= 3.0, leaving <= 1.0) == (True, True)
    finally:
        line.close()


@pytest.mark.faults
@pytest.mark.parametrize("environ", [XTERM, VT100], ids=["screens", "lines"])
def test_stopped_agent_is_old_within_ten_seconds(agent: Agent, environ: dict[str, str]) -> None:
    """kill -STOP: within 10 s it is said, and no value looks fresh."""
    line = through(agent, environ, 1e6)
    try:
        line.until("Mọi thứ đang tốt.")
        agent.process.send_signal(signal.SIGSTOP)
        began, before = time.monotonic(), len(line.seen)
        assert wait_until(lambda: any(word in line.seen[before:] for word in ("CŨ", "không trả lời")), 30)
        took = time.monotonic() - began
        print(f"old after {took:.1f} s")
        assert took <= 10.0
    finally:
        agent.process.send_signal(signal.SIGCONT)
        line.close()
