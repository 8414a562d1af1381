"""A technician restarts a service: it ends itself, with an audit line, and only where something starts it again."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.client import NotRunning, Refused, ask
from edge_agent.demo_servers import free_port
from edge_agent.maintain import Done, Held
from edge_agent.meeting_now import MeetingNow
from edge_agent.status import Status
from tests.e2e.test_technician import Line
from tests.waiting import wait_until

UNITS = Path(__file__).parents[2] / "systemd"
CONFIG = """
site: cl-02
name: Phường Sao Đỏ
state: ./s
control: ./agent.sock
box: {{every: 1s}}
meeting: {{listen: "127.0.0.1:{port}", room: giao-ban, open: false}}
"""
SUPERVISED = f"""
import os, subprocess, sys
os.environ["NOTIFY_SOCKET"] = "/dev/null"
while subprocess.run([{sys.executable!r}, "-m", "edge_agent", *sys.argv[1:]]).returncode == 0:
    print("ended", flush=True)
"""
"""What of a service manager matters here: it starts again what ended well."""


class Box:
    """An agent and its meeting, both looked after or not."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet."""
        self.folder, self.file, self.socket = folder, folder / "agent.yaml", folder / "agent.sock"
        self.file.write_text(CONFIG.format(port=free_port()), encoding="utf-8")
        self.running: list[subprocess.Popen[str]] = []

    def start(self, command: str, *, supervised: bool) -> subprocess.Popen[str]:
        """`edge COMMAND`."""
        before = ["-c", SUPERVISED] if supervised else ["-m", "edge_agent"]
        words = [sys.executable, *before, command, "-c", str(self.file)]
        with (self.folder / f"{command}.log").open("wb") as log:
            self.running.append(
                subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
            )
        return self.running[-1]

    def meeting(self) -> str:
        """Its state; empty while the agent does not answer."""
        try:
            now: MeetingNow = ask(self.socket, "/meeting", MeetingNow)
        except NotRunning:
            return ""
        return now.state

    def end(self) -> None:
        """With whatever they started: each has a session of its own."""
        for process in self.running:
            subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=False)
            process.communicate(timeout=20)


@pytest.fixture
def box() -> Iterator[Box]:
    """One for this test, in a folder of a short name: sockets have room for 107 letters."""
    folder = Path(tempfile.mkdtemp(prefix="er-"))
    found = Box(folder)
    yield found
    found.end()
    shutil.rmtree(folder)


def ended(process: subprocess.Popen[str]) -> bool:
    """It has ended well and been started again."""
    assert process.stdout is not None
    return process.stdout.readline() == "ended\n"


def test_restart_of_both_services_from_the_terminal(box: Box) -> None:
    """`R` and a Y: the meeting first, then the agent; both come back, audited, and the terminal maintains again."""
    agent, meet = box.start("run", supervised=True), box.start("meet", supervised=True)
    assert wait_until(lambda: box.meeting() == "empty", 60)
    line = Line(box.file, {"TERM": "xterm-256color", "LANG": "C.UTF-8"}, "--maintain", "An")
    try:
        line.until("BẢO TRÌ An")
        line.type("6")
        line.until("chưa có ai")
        line.type("R")
        line.until("Khởi động lại dịch vụ họp?")
        line.type("y\r")
        assert ended(meet)
        assert wait_until(lambda: box.meeting() == "empty", 60)
        line.type("8R")
        line.until("Khởi động lại dịch vụ đo?")
        line.type("y\r")
        assert ended(agent)
        assert wait_until(lambda: box.meeting() == "empty", 60)
        assert wait_until(lambda: actions(box)[-1] == "maintain", 60), actions(box)
        assert [action for action in actions(box) if action.startswith("restart")] == [
            "restart edge-meet",
            "restart edge-agent",
        ]
        line.type("q")
        assert line.left() == 0
    finally:
        line.close()


def actions(box: Box) -> list[str]:
    """What the audit has, oldest first."""
    done: list[Done] = ask(box.socket, "/audit", list[Done])
    return [f"{each.action} {each.about}".strip() for each in reversed(done)]


def test_restart_without_a_service_manager(box: Box) -> None:
    """Nothing would start it again: it is refused in a sentence, and goes on."""
    agent = box.start("run", supervised=False)
    assert wait_until(lambda: box.meeting() == "down", 60)
    held: Held = ask(box.socket, "/maintain", Held, method="POST", body=b'{"name": "An"}')
    with pytest.raises(Refused, match="chạy bằng tay"):
        ask(box.socket, "/restart", bytes, method="POST", token=held.token)
    with pytest.raises(Refused, match="systemctl restart edge-meet"):
        ask(box.socket, "/meeting/restart", bytes, method="POST", token=held.token)
    with pytest.raises(Refused, match="bảo trì"):
        ask(box.socket, "/restart", bytes, method="POST")
    now: Status = ask(box.socket, "/status", Status)
    assert now.site == "cl-02"
    assert agent.poll() is None


@pytest.mark.parametrize("unit", ["edge-agent", "edge-meet"])
def test_units_start_again_what_ended(unit: str) -> None:
    """Also what ended well; for ever; and they tell that they are there to do so."""
    settings = (UNITS / f"{unit}.service").read_text(encoding="utf-8")
    for wanted in ("Type=notify", "Restart=always", "StartLimitIntervalSec=0"):
        assert re.search(f"^{wanted}$", settings, re.MULTILINE), wanted
