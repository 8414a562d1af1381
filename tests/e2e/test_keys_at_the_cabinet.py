"""Keys of `edge tui` in tmux: the bundle and the clipboard without secrets, and a screen that is held still."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.settings import Broker
from edge_agent import config as configuration
from edge_agent.demo_servers import free_port
from edge_agent.redact import secrets_of
from edge_agent.text import texts
from tests.e2e.box import Agent
from tests.e2e.tmux import Screen
from tests.waiting import wait_until

VALUES = {"field": "hunter2-field", "hub": "hunter2 hub/+=", "token": "hunter2-token-0123456789"}
WRITTEN = "hunter2-in-the-file"
"""A password that somebody wrote into a file instead of the secrets, over several lines."""
CONFIG = """
site: cl-02
name: Phường Sao Đỏ
language: vi
state: ./state
box: {{every: 1s}}
mqtt:
  - {{id: field, broker: "mqtt://127.0.0.1:{port}", client_id: x, username: lan.nguyen, password: !secret field,
     subscriptions: [{{topic: a, decoder: json, device: d, points: {{water.level_m: $.level}}}}]}}
sinks:
  - {{id: hub, influxdb: {{url: "http://127.0.0.1:{port}", version: 1, database: city, username: u,
     password: !secret hub}}}}
  - {{id: cloud, influxdb: {{url: "http://127.0.0.1:{port}", version: 2, bucket: city, token: !secret token}}}}
"""
BLOCK = f"    password: |\n      {WRITTEN}\n      {WRITTEN}-2\n"
TEXT = texts("vi", strict=True)
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux")


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A box with secrets, and a technician who may change its configuration."""
    for name, value in VALUES.items():
        monkeypatch.setenv(f"EDGE_SECRET_{name.upper()}", value)
    agent = Agent(tmp_path)
    agent.file.write_text(CONFIG.format(port=free_port()), encoding="utf-8")
    agent.start()
    opened = Screen(tmp_path, "--maintain", "An")
    yield opened
    opened.close()
    agent.kill()


def until(screen: Screen, words: str) -> None:
    """The words stand on the screen."""
    assert wait_until(lambda: words in screen.shown(), PATIENCE), screen.shown()


def test_bundle_written_at_a_key_holds_no_secret(screen: Screen, tmp_path: Path) -> None:
    """`b`: every secret of the configuration is searched for, and a password that a refused candidate brought along."""
    new = tmp_path / "new.yaml"
    new.write_text((tmp_path / "agent.yaml").read_text() + "  - id: other\n" + BLOCK, encoding="utf-8")
    until(screen, TEXT("tui.maintain.held", name="An"))
    screen.press("d")
    until(screen, "agent.yaml.new")
    screen.type(f"{new}")
    screen.press("Enter")
    until(screen, "password: •••")
    assert WRITTEN not in screen.shown()
    screen.press("b")
    assert wait_until(lambda: bool(list(tmp_path.glob("edge-report-*.tar.gz"))), PATIENCE), screen.shown()
    until(screen, ".tar.gz")
    found = unpacked(next(tmp_path.glob("edge-report-*.tar.gz")))
    config = configuration.load(tmp_path / "agent.yaml")
    assert {secret.reveal() for secret in secrets_of(config)} == set(VALUES.values())
    broker = config.mqtt[0]
    assert isinstance(broker, Broker)
    assert broker.username
    for secret in (*VALUES.values(), WRITTEN, broker.username):
        assert secret not in found
    assert "!secret field" in found


def test_bundle_of_a_file_that_cannot_be_read(screen: Screen, tmp_path: Path) -> None:
    """A password that stands in the configuration itself is hidden as well, over all its lines."""
    until(screen, TEXT("tui.maintain.held", name="An"))
    file = tmp_path / "agent.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "  - id: other\n" + BLOCK, encoding="utf-8")
    screen.press("b")
    assert wait_until(lambda: bool(list(tmp_path.glob("edge-report-*.tar.gz"))), PATIENCE), screen.shown()
    until(screen, ".tar.gz")
    found = unpacked(next(tmp_path.glob("edge-report-*.tar.gz")))
    assert "password: •••" in found
    assert WRITTEN not in found


def test_copy_arrives_at_the_terminal(screen: Screen) -> None:
    """`y`: the screen goes to the clipboard of whoever looks (OSC 52), whole and without secrets."""
    screen.press("4")
    until(screen, "cloud")
    screen.press("y")
    assert wait_until(lambda: "cloud" in screen.copied(), PATIENCE), screen.shown()
    copied = screen.copied()
    assert copied.startswith(" Phường Sao Đỏ")
    assert "hub" in copied
    assert not [value for value in VALUES.values() if value in copied]


def test_paused_screen_stands_still(screen: Screen) -> None:
    """`p`: said on the screen, and until the next `p` nothing on it changes, the clock of the first line neither."""
    until(screen, "BẢO TRÌ An")
    screen.press("p")
    until(screen, TEXT("tui.paused"))
    before = head(screen)
    assert not wait_until(lambda: head(screen) != before, 2)
    screen.press("p")
    assert wait_until(lambda: TEXT("tui.paused") not in screen.shown(), PATIENCE)
    assert wait_until(lambda: head(screen) != before, PATIENCE)


def head(screen: Screen) -> list[str]:
    """The screen above the corner where a notice may come and go."""
    return screen.lines()[:12]


def unpacked(file: Path) -> str:
    """Everything in a bundle, its file names too."""
    with tarfile.open(file) as tar:
        members = tar.getmembers()
        bodies = [part.read().decode() for part in map(tar.extractfile, members) if part]
    return "\n".join([*(member.name for member in members), *bodies])
