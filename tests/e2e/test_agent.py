"""The agent as its people meet it: wrong input, a second start, signals, answers, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.sim.ward import DEFAULT_DEVICES
from edge_agent.demo_servers import free_port
from tests.e2e.box import Agent, Process
from tests.waiting import wait_until

BARE = "site: cl-02\nname: Phường Sao Đỏ\nlanguage: en\nstate: ./state\n"
CONTRACT = Path(__file__).parents[1] / "data" / "contract-agent.yaml"


def edge(*words: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    command = [sys.executable, "-m", "edge_agent", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


class Running(Agent):
    """An agent with a configuration that a test writes."""

    def begin(self, text: str) -> Process:
        """Write the configuration and start."""
        self.file.write_text(text, encoding="utf-8")
        return self.start()

    def said(self, *words: str) -> bool:
        """True when the status gives a reason with these words."""
        return any(all(word in reason for word in words) for reason in self.status().reasons)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Running]:
    """An agent of this test alone."""
    running = Running(tmp_path)
    yield running
    running.kill()


# --- starting ---------------------------------------------------------------------------------------------------------


def test_bare_box_is_well(box: Running) -> None:
    """A site's name is all that a configuration needs; the box measures itself, and the verdict is the first line."""
    box.begin(BARE)
    answer = edge("status", "-c", str(box.file))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines()[0].endswith("Phường Sao Đỏ: Everything is working.")
    assert len(answer.stdout.encode()) <= 1024
    assert wait_until(lambda: "box.box.uptime_s" in edge("points", "-c", str(box.file)).stdout, 5)


def test_second_agent_on_the_same_state_gets_one_sentence(box: Running) -> None:
    """The first goes on; the second says which process is in its way and ends with 2."""
    agent = box.begin(BARE)
    second = edge("run", "-c", str(box.file))
    assert second.returncode == 2
    assert f"process {agent.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert box.answers()


def test_socket_left_behind_is_replaced(box: Running) -> None:
    """After kill -9 the old socket is still there and in nobody's way."""
    box.begin(BARE)
    box.kill()
    path = box.folder / "state" / "control.sock"
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert not box.answers()
    box.begin(BARE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_faulty_configuration_is_told_with_every_line(tmp_path: Path) -> None:
    """All errors at once as file:line:column: path: sentence, exit code 2; the same from every command."""
    file = tmp_path / "agent.yaml"
    file.write_text(
        "site: cl-02\nbuses:\n- {id: a, tcp: x, baudd: 9600, devices: [{id: A, profile: none, unit: 300}]}\n"
    )
    checked = edge("check", "-c", str(file))
    assert checked.returncode == 2
    lines = [line for line in checked.stderr.splitlines() if line.startswith(f"{file}:3:")]
    assert {line.split(": ")[1] for line in lines} >= {
        "buses[0].baudd",
        "buses[0].devices[0].id",
        "buses[0].devices[0].unit",
    }
    for command in (["run"], ["status"], ["points"], ["journal", "stat"], ["ledger"]):
        answer = edge(*command, "-c", str(file))
        assert answer.returncode == 2
        assert f"{file}:3:" in answer.stderr
        assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("command", [["status"], ["points"], ["journal", "stat"], ["ledger"]])
def test_command_without_an_agent_says_how_to_start_it(tmp_path: Path, command: list[str]) -> None:
    """One sentence with the command to type, exit code 2."""
    file = tmp_path / "agent.yaml"
    file.write_text(BARE)
    answer = edge(*command, "-c", str(file))
    assert answer.returncode == 2
    assert f"edge run -c {file}" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The path and the reason, not a stack trace."""
    (tmp_path / "state").write_text("a file, not a folder")
    file = tmp_path / "agent.yaml"
    file.write_text(BARE)
    answer = edge("run", "-c", str(file))
    assert answer.returncode == 2
    assert str(tmp_path / "state") in answer.stderr
    assert "Traceback" not in answer.stderr


def test_control_socket_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The path and the key to change."""
    (tmp_path / "taken").write_text("a file, not a folder")
    file = tmp_path / "agent.yaml"
    file.write_text(BARE + "control: ./taken/control.sock\n")
    answer = edge("run", "-c", str(file))
    assert answer.returncode == 2
    assert "under control" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_journal_of_a_newer_version_is_left_alone(box: Running) -> None:
    """A downgrade does not touch what it cannot read."""
    import sqlite3

    box.begin(BARE)
    assert box.stop() == 0
    file = sqlite3.connect(box.folder / "state" / "journal.db")
    file.executescript("UPDATE meta SET value = 99 WHERE key = 'schema'; PRAGMA user_version=99;")
    file.close()
    answer = edge("run", "-c", str(box.file))
    assert answer.returncode == 2
    assert "newer version" in answer.stderr


# --- what is not there ------------------------------------------------------------------------------------------------


def test_everything_missing_is_one_sentence_each_and_tried_again(box: Running) -> None:
    """Port, endpoint, broker and database: each is named with what to do, nothing ends, nothing is traced."""
    nobody = free_port()
    box.begin(
        BARE
        + f"""
buses:
  - {{id: line-1, serial: ./no-such-tty, devices: [{{id: met-1, profile: renke-01f4-station, unit: 1, every: 1s}}]}}
  - {{id: meters, tcp: "127.0.0.1:{nobody}", devices: [{{id: power-1, profile: eastron-sdm630, unit: 1, every: 1s}}]}}
mqtt: [{{id: field, broker: "mqtt://127.0.0.1:{nobody}", client_id: a, subscriptions: [
  {{topic: a/+, decoder: json, points: {{water.level_m: $.l}}}}]}}]
sinks: [{{id: centre, influxdb: {{url: "http://127.0.0.1:{nobody}", version: 1, database: city}}}}]
"""
    )
    assert wait_until(lambda: box.said("line-1", "no-such-tty"), 10), box.status().reasons
    assert wait_until(lambda: box.said("meters", f"127.0.0.1:{nobody}"), 10), box.status().reasons
    assert wait_until(lambda: box.said("field", f"127.0.0.1:{nobody}"), 10), box.status().reasons
    assert wait_until(lambda: box.said("centre", "safe on the box"), 10), box.status().reasons
    answer = edge("status", "-c", str(box.file))
    assert answer.returncode == 2
    assert "Traceback" not in box.log()
    assert json.loads(edge("status", "--json", "-c", str(box.file)).stdout)["verdict"] == "failed"


def test_blocks_not_built_yet_are_named_and_the_rest_runs(box: Running) -> None:
    """The contract's configuration starts as it is; each block whose part is missing is named once."""
    text = CONTRACT.read_text(encoding="utf-8").replace("language: vi", "language: en")
    box.begin(text)
    named = [line.partition("path=")[2] for line in box.log().splitlines() if "not available yet" in line]
    assert sorted(named) == [
        "alarms part=alarms",
        "mqtt[0].subscriptions[1].decoder part=zigbee2mqtt",
        "sinks[2].mqtt part=mqtt",
    ]
    assert {sink.id: sink.state for sink in box.status().sinks}["uplink"] == "unavailable"
    assert sum("not available in this version" in reason for reason in box.status().reasons) == 3
    assert wait_until(lambda: box.said("meeting", "edge-meet"), 10), box.status().reasons
    assert edge("status", "-c", str(box.file)).returncode in (1, 2)


def test_contract_copy_is_the_contract() -> None:
    """The copy that the tests use is what outside scripts rely on, where the contract is at hand."""
    original = Path(__file__).parents[3] / "shared" / "contract" / "agent.yaml"
    if not original.exists():
        pytest.skip("the contract folder is not beside the project")
    assert CONTRACT.read_bytes() == original.read_bytes()


# --- signals ----------------------------------------------------------------------------------------------------------


def test_sigterm_ends_with_zero(box: Running) -> None:
    """Within 5 s, exit code 0, and the socket is gone."""
    box.begin(BARE)
    began = time.monotonic()
    assert box.stop() == 0
    assert time.monotonic() - began < 5
    assert not (box.folder / "state" / "control.sock").exists()


def test_sighup_restarts_only_the_bus_that_changed(box: Running) -> None:
    """A changed bus is opened anew, the other goes on; a faulty file is refused and the old configuration stays."""
    ports = [free_port(), free_port()]
    devices = [device for device in DEFAULT_DEVICES if device.endswith("@tcp")]
    wards = [
        Process(box.folder / "ward.log", "sim", "ward", "--device", f"{device}:{port}", "--port-modbus", str(port))
        for device, port in zip(devices, ports, strict=True)
    ]
    try:
        for ward in wards:
            assert ward.line().startswith("ready")
        agent = box.begin(BARE + _buses(ports, every=("200ms", "200ms")))
        assert wait_until(lambda: box.status().points.good > 5, 10), box.status()
        box.file.write_text(BARE + _buses(ports, every=("200ms", "300ms")))
        os.kill(agent.pid, signal.SIGHUP)
        assert wait_until(lambda: "part stops part=bus b1" in box.log(), 5), box.log()
        assert "part stops part=bus b0" not in box.log()
        assert "Traceback" not in box.log()
        box.file.write_text("site: cl-02\nnonsense: 1\n")
        os.kill(agent.pid, signal.SIGHUP)
        assert wait_until(lambda: box.said("is not used"), 5), box.status()
        assert wait_until(lambda: box.status().points.good > 5, 10)
    finally:
        for ward in wards:
            ward.kill()


def _buses(ports: list[int], every: tuple[str, str]) -> str:
    models = ("eastron-sdm630, unit: 1", "dfrobot-sen0676-radar, unit: 7")
    lines = [
        f'  - {{id: b{i}, tcp: "127.0.0.1:{port}", devices: [{{id: d{i}, profile: {models[i]}, every: {every[i]}}}]}}'
        for i, port in enumerate(ports)
    ]
    return "buses:\n" + "\n".join(lines) + "\nbox: {disabled: true}\n"


def test_service_manager_is_told(box: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """READY when it answers, WATCHDOG while everything moves, STOPPING at the end (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(box.folder / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(box.folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        box.begin(BARE)
        heard = [manager.recv(4096).decode() for _ in range(3)]
        assert "READY=1" in heard
        assert any(message.startswith("WATCHDOG=1\nSTATUS=") for message in heard)
        assert box.stop() == 0
        manager.settimeout(0.5)
        rest: list[str] = []
        while len(rest) < 20 and (not rest or rest[-1] != "STOPPING=1"):
            rest.append(manager.recv(4096).decode())
        assert rest[-1] == "STOPPING=1"


# --- answers ----------------------------------------------------------------------------------------------------------


def test_json_answers_have_the_contracts_keys(box: Running) -> None:
    """What scripts rely on (contract)."""
    box.begin(BARE)
    assert wait_until(lambda: box.status().journal.readings > 0, 5)
    status = json.loads(edge("status", "--json", "-c", str(box.file)).stdout)
    assert {"verdict", "reasons", "points", "sinks"} <= status.keys()
    assert status["points"].keys() == {"total", "good", "uncertain", "bad"}
    (point, *_) = json.loads(edge("points", "--json", "-c", str(box.file)).stdout)
    assert {"point", "value", "unit", "quality", "reason", "age_s", "source"} <= point.keys()
    stat_ = json.loads(edge("journal", "stat", "--json", "-c", str(box.file)).stdout)
    wanted = {"readings", "first_time", "last_time", "bytes", "sinks", "quarantined", "thinned", "damaged_files"}
    assert wanted <= stat_.keys()
    (row, *_) = json.loads(edge("ledger", "--json", "-c", str(box.file)).stdout)
    wanted = {"device", "hour", "expected", "read", "stored", "delivered", "excluded", "quarantined", "thinned"}
    assert wanted | {"rejected"} <= row.keys()


def test_ledger_since_takes_durations_and_times(box: Running) -> None:
    """24h, 7d, RFC 3339; anything else is one sentence."""
    box.begin(BARE)
    for since in ("24h", "7d", "2026-01-01T00:00:00+07:00"):
        assert edge("ledger", "--since", since, "-c", str(box.file)).returncode == 0
    wrong = edge("ledger", "--since", "yesterday", "-c", str(box.file))
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)


def test_output_into_a_closed_pipe_is_no_error(box: Running) -> None:
    """`edge points | head -1` ends quietly."""
    box.begin(BARE)
    command = f"{sys.executable} -m edge_agent points -c {box.file} | true"
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20, check=False)
    assert answer.stderr == ""


def test_terminal_without_vietnamese_letters_still_gets_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A character set that lacks a letter shows a question mark instead."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    answer = edge("check", "-c", str(CONTRACT))
    assert (answer.returncode, "Traceback" in answer.stderr) == (0, False)


@pytest.mark.parametrize("words", [[], ["nonsense"], ["status", "--nonsense"], ["journal"], ["ledger", "--since"]])
def test_wrong_words_are_told_with_the_usage(words: list[str]) -> None:
    """Exit code 2 and the usage line; what is wrong with them: tests/edge_agent/test_arguments.py."""
    answer = edge(*words)
    assert answer.returncode == 2
    assert "usage: edge" in answer.stderr
