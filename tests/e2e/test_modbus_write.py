"""`edge modbus write` through a running agent: what is allowed, confirmed, read back and kept in the audit file."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from drivers.writing import Written
from edge_agent.client import Failed, ask
from edge_agent.maintain import Done, Held
from edge_agent.write_events import WriteAsk
from tests.drivers.liar import exception, honest
from tests.drivers.test_writing import Writable
from tests.e2e.box import Agent

PROFILE = """
schema: chilinh.device-profile/0.1-draft
id: probe
vendor: Test
model: level probe
kind: water_level
confidence: high
transport: modbus-rtu
unit_id: {default: 1}
registers:
  - {key: level, addr: 4, scale: 0.01, unit: m, canonical: water.level_m}
writable:
  - {key: height, addr: 5, scale: 0.01, unit: m, range: [0, 40], what: {en: mast height, vi: chiều cao cột}}
  - {key: baud, addr: 6, enum: {2: '9600', 3: '115200'}, what: {en: baud rate, vi: tốc độ}}
  - {key: address, addr: 20, range: [1, 247], role: address, what: {en: Modbus address, vi: địa chỉ Modbus}}
"""
CONFIG = """
site: cl-02
language: en
state: ./state
profiles: [./devices]
box: {disabled: true}
buses:
  - id: line-1
    serial: ./line-1.tty
    baud: 115200
    timeout: 500ms
    devices:
      - {id: level-1, profile: probe, unit: 1, every: 500ms}
"""


class Box(Agent):
    """An agent with one device, which lives in a thread of this process."""

    def __init__(self, folder: Path) -> None:
        """Start both."""
        super().__init__(folder)
        (folder / "devices").mkdir()
        (folder / "devices" / "probe.yaml").write_text(PROFILE, encoding="utf-8")
        self.file.write_text(CONFIG, encoding="utf-8")
        self.slave = Writable(1)
        self.slave.held[1, 5] = 300
        self._loop, self._over, there = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(there),))
        self._thread.start()
        assert there.wait(10)
        self.start()

    async def _serve(self, there: threading.Event) -> None:
        with self.slave.on_a_pty(self.folder / "line-1.tty"):
            there.set()
            await self._over.wait()

    def end(self) -> None:
        """Stop both."""
        self.kill()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    def edge(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`edge modbus write`, to its end."""
        command = [sys.executable, "-m", "edge_agent", "modbus", "write", *words, "-c", str(self.file)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )

    def audit(self) -> list[Done]:
        """The newest lines, first the newest, without those of the lock."""
        found: list[Done] = ask(self.folder / "state" / "control.sock", "/audit", list[Done])
        return [done for done in found if done.action.startswith("modbus")]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box of this test alone."""
    running = Box(tmp_path)
    yield running
    running.end()


def test_writable_registers_are_listed(box: Box) -> None:
    """Without a setting the command says what may be written, in the box's language."""
    said = box.edge("line-1", "1").stdout.splitlines()
    assert said[1].split() == ["height", "5", "0..40", "m", "mast", "height"]
    assert box.slave.written == []


def test_setting_is_written_read_back_and_kept(box: Box) -> None:
    """The value stands in the device, the audit file and the log; polling went on, and the lock is free again."""
    done = box.edge("line-1", "1", "height", "4.87", "--confirm", "4.87", "--name", "Tuấn")
    assert done.returncode == 0, done.stderr
    assert "Written and read back: height of unit 1: 3 -> 4.87." in done.stdout
    assert "TX  01 06 00 05 01 e7" in done.stdout
    assert box.slave.written == [(1, 5, 487)]
    line = box.audit()[0]
    assert (line.by, line.action, line.about) == ("Tuấn", "modbus write", "line-1 unit 1 height = 4.87")
    assert line.result == "done: 3.0 -> 4.87"
    kept = (box.folder / "state" / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert any(json.loads(each)["about"] == line.about for each in kept)
    assert "action=modbus write" in box.log()
    assert box.edge("line-1", "1", "5", "5", "--confirm", "5").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("1", "height", "4.87"), "This needs to be confirmed"),
        (("1", "height", "4.87", "--confirm", "4.78"), "What was typed is not the value"),
        (("1", "height", "41", "--confirm", "41"), "height takes 0 to 40 m."),
        (
            ("1", "level", "1", "--confirm", "1"),
            "level may not be written. The profile allows: 5 (height)",
        ),
        (("1", "height"), "height needs a value: 0..40 m"),
        (("1", "height", "high", "--confirm", "1"), '"high" is not a number.'),
        (("9", "height", "1", "--confirm", "1"), "Unit 9 is not configured: add --profile ID"),
        (("1", "address", "7", "--confirm", "7"), "--device-address N"),
        (("1", "20", "7", "--confirm", "7"), "--device-address N"),
        (("1", "height", "7", "--confirm", "7", "--profile", "qdy30a-submersible"), "with the profile probe"),
        (("1", "--device-address", "1", "--confirm", "1"), "The device has address 1 already."),
    ],
)
def test_what_is_not_written(box: Box, words: tuple[str, ...], said: str) -> None:
    """Unconfirmed, mistyped, out of range, not writable: one sentence, and nothing goes over the wire."""
    done = box.edge("line-1", *words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert box.slave.written == []


def test_address_as_a_setting_over_the_socket(box: Box) -> None:
    """Whoever asks the agent without the command is refused as well: the address, and all units at once."""
    control = box.folder / "state" / "control.sock"
    held: Held = ask(control, "/maintain", Held, method="POST", body=b'{"name": "Lan"}')
    for unit, name, said in (
        (1, "address", "--device-address"),
        (1, "20", "--device-address"),
        (0, "height", "unit: 1"),
    ):
        body = msgspec.json.encode(WriteAsk("line-1", unit, name, 7, profile="probe"))
        with pytest.raises(Failed, match=said):
            ask(control, "/modbus/write", Written, method="POST", body=body, token=held.token)
    assert box.slave.written == []
    assert box.audit()[0].result == "guarded"


def test_device_that_is_not_configured(box: Box) -> None:
    """With its profile named it is listed and written like any other, by that profile's rules, and polling goes on."""
    box.slave.units.append(9)
    box.slave.held[9, 5] = 100
    listed = box.edge("line-1", "9", "--profile", "probe")
    assert "mast height" in listed.stdout
    done = box.edge("line-1", "9", "height", "4.87", "--profile", "probe", "--confirm", "4.87")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Written and read back: height of unit 9: 1 -> 4.87." in done.stdout
    assert box.edge("line-1", "9", "height", "41", "--profile", "probe", "--confirm", "41").returncode == 2
    assert box.edge("line-1", "9", "height", "4", "--profile", "nobody", "--confirm", "4").returncode == 2
    assert box.slave.written == [(9, 5, 487)]
    assert box.audit()[-1].about == "line-1 unit 9 height = 4.87"


def test_choice_by_its_meaning(box: Box) -> None:
    """A choice is named and confirmed by what it means, and its number is what is written."""
    done = box.edge("line-1", "1", "baud", "115200", "--confirm", "115200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert box.slave.written == [(1, 6, 3)]


def test_device_that_refuses(box: Box) -> None:
    """The refusal is said with its code; exit code 1, and the audit line says that nothing was confirmed."""
    box.slave.always = lambda slave, ask: (exception(4) if ask.fc == 6 else honest)(slave, ask)
    done = box.edge("line-1", "1", "height", "5", "--confirm", "5")
    assert done.returncode == 1
    assert "The device refuses height = 5, code 4; it still has 3." in done.stdout
    assert box.audit()[0].result == "not confirmed (exception): 3.0 -> 3.0"


def test_nothing_is_written_while_another_maintains(box: Box) -> None:
    """The holder of the lock is named."""
    control = box.folder / "state" / "control.sock"
    body = b'{"name": "Lan"}'
    ask(control, "/maintain", Held, method="POST", body=body)
    done = box.edge("line-1", "1", "height", "5", "--confirm", "5")
    assert (done.returncode, "Lan is maintaining this box" in done.stderr) == (2, True)
    assert box.slave.written == []


def test_address_of_the_only_device(box: Box) -> None:
    """Alone on the line, the device gets its new address and answers there; what to change next is said."""
    done = box.edge("line-1", "1", "--device-address", "12", "--confirm", "12", "--wait", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "change unit: 1 to unit: 12" in done.stdout
    assert box.slave.written == [(1, 20, 12)]
    assert box.audit()[0].result == "done: 1.0 -> 12.0"


def test_address_with_another_device_on_the_line(box: Box) -> None:
    """A second device is named, and nothing is written."""
    box.slave.units.append(9)
    done = box.edge("line-1", "1", "--device-address", "12", "--confirm", "12", "--wait", "8")
    assert done.returncode == 2
    assert "Nothing was written: 9 is on the line as well." in done.stderr
    assert box.slave.written == []
    assert box.audit()[0].result == "not_alone"
