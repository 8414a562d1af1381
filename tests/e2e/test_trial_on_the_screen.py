"""A configuration on trial as a technician sees it: the power fails, and the service may or may not write its file."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.client import Refused, ask
from edge_agent.maintain import Held
from edge_agent.trial_now import Candidate, ConfigNow
from tests.e2e.box import Agent
from tests.e2e.test_technician import Line

SYSTEMD = Path(__file__).parents[2] / "systemd"
CONFIG = "site: cl-02\nname: {name}\nstate: {state}\nbox: {{every: 1s}}\n"
XTERM = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
OTHER = 65534
"""A user who is not us: owner of the folder, as root is in the field."""
NO_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
"""Root whom permissions bind, as they do the service's user."""
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may give a folder to another user"
)


class Placed(Agent):
    """An agent whose configuration lies in a folder of its own, as /etc/edge-agent."""

    def __init__(self, folder: Path) -> None:
        """Nothing is started yet."""
        super().__init__(folder)
        self.etc = folder / "etc"
        self.etc.mkdir()
        self.file = self.etc / "agent.yaml"
        self.file.write_text(self.text("Phường Sao Đỏ"), encoding="utf-8")
        self.control = folder / "state/control.sock"

    def text(self, name: str) -> str:
        """The configuration with this name."""
        return CONFIG.format(name=name, state=self.folder / "state")

    def proposed(self) -> tuple[Candidate, str]:
        """A change of the name, and the lock's token."""
        held: Held = ask(self.control, "/maintain", Held, method="POST", body=b'{"name": "An"}')
        body = self.text("Phường Chí Minh").encode()
        found: Candidate = ask(self.control, "/config/candidate", Candidate, method="POST", body=body, token=held.token)
        return found, held.token

    def step(self, name: str, token: str) -> ConfigNow:
        """Apply or confirm."""
        now: ConfigNow = ask(self.control, f"/config/{name}", ConfigNow, method="POST", token=token)
        return now


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Placed]:
    """One for this test, started by it."""
    found = Placed(tmp_path)
    yield found
    if found.process:
        found.process.kill()


def test_power_cut_is_told_on_the_screen(agent: Placed) -> None:
    """Countdown, then kill -9: the screen says that nobody answers, and after the start why the old one is back."""
    agent.start()
    new = agent.folder / "new.yaml"
    new.write_text(agent.text("Phường Chí Minh"), encoding="utf-8")
    line = Line(agent.file, XTERM, "--maintain", "An")
    try:
        line.until("BẢO TRÌ An")
        line.type("d")
        line.until("agent.yaml.new")
        line.type(f"{new}\r")
        line.until("Cấu hình mới dùng")
        line.type("A")
        line.until("Bấm Y trong")
        line.until("Phường Chí Minh")
        agent.kill()
        line.until("Dịch vụ đo không chạy")
        agent.start()
        line.type("8")
        line.until("của An đã bị bỏ")
        assert agent.status().name == "Phường Sao Đỏ"
        assert agent.file.read_text(encoding="utf-8") == agent.text("Phường Sao Đỏ")
        line.type("q")
        assert line.left() == 0
    finally:
        line.close()


@as_root
def test_service_replaces_the_file_by_its_group(agent: Placed) -> None:
    """A folder of another that the group may write to, as systemd-tmpfiles makes it: replaced, with its mode."""
    agent.file.chmod(0o640)
    os.chown(agent.file, OTHER, 0)
    os.chown(agent.etc, OTHER, 0)
    agent.etc.chmod(0o770)
    agent.before = NO_OVERRIDE
    agent.start()
    found, token = agent.proposed()
    assert (found.usable, found.writable) == (True, True)
    agent.step("apply", token)
    agent.step("confirm", token)
    assert "Phường Chí Minh" in agent.file.read_text(encoding="utf-8")
    assert stat.S_IMODE(agent.file.stat().st_mode) == 0o640


@as_root
def test_service_that_may_not_write_says_so_before_the_trial(agent: Placed) -> None:
    """Not after two minutes, when the confirmation fails: at the candidate already, and `apply` is refused in words."""
    os.chown(agent.etc, OTHER, 0)
    agent.etc.chmod(0o750)
    agent.before = NO_OVERRIDE
    agent.start()
    found, token = agent.proposed()
    assert (found.usable, found.writable) == (True, False)
    with pytest.raises(Refused, match=r"Permission denied.*ReadWritePaths"):
        agent.step("apply", token)
    assert agent.status().name == "Phường Sao Đỏ"


def test_unit_and_folder_let_the_service_write() -> None:
    """The group of the service, the folder's mode, and the hole in the read-only file system belong together."""
    unit = (SYSTEMD / "edge-agent.service").read_text(encoding="utf-8")
    folders = (SYSTEMD / "tmpfiles.d/edge-agent.conf").read_text(encoding="utf-8")
    assert re.search(r"^Group=edge-agent$", unit, re.MULTILINE)
    assert re.search(r"^ReadWritePaths=-/etc/edge-agent$", unit, re.MULTILINE)
    assert re.search(r"^d /etc/edge-agent +0770 root edge-agent$", folders, re.MULTILINE)
    assert re.search(r"^d /etc/edge-agent/secrets +0700 root root$", folders, re.MULTILINE)
