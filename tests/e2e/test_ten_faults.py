"""The first sixty seconds at the cabinet: ten seeded faults, each seen on a real terminal (tmux) and named at once."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from edge_agent.client import ask
from edge_agent.demo_servers import free_port
from edge_agent.findings import Finding, Findings
from edge_agent.text import texts
from tests.e2e.box import Agent
from tests.e2e.tmux import Screen
from tests.waiting import wait_until

HEAD = "site: cl-02\nname: Phường Sao Đỏ\nlanguage: vi\nstate: ./state\nbox: {every: 1s}\n"
DEVICE = "devices: [{id: power-1, profile: eastron-sdm630, unit: 1, every: 1s}]"
TEXT = texts("vi", strict=True)
PATIENCE = 40.0
"""Seconds for what has no limit of its own."""
PERIOD = 1.0
"""Seconds between polls; a finding is on the screen within two of them …"""
SHOWING = 1.0
"""… and the second between two pictures. Strict: the machine must be at rest, as `make faults` wants it."""
FIRST = {
    "endpoint_unreachable": "Kiểm tra nguồn của bộ chuyển đổi Modbus TCP",
    "gateway_silent": "Kiểm tra nguồn và dây A/B phía sau bộ chuyển đổi",
    "device_behind_gateway": "Kiểm tra nguồn của thiết bị",
    "device_no_register": "Đối chiếu nhãn máy với hồ sơ eastron-sdm630",
    "port_missing": "Cắm lại bộ chuyển đổi RS-485 (USB)",
    "port_refused": "Thêm tài khoản chạy dịch vụ vào nhóm dialout",
    "sink_unreachable": "Kiểm tra mạng của hộp: edge net",
    "sink_sign_in_page": "Mở địa chỉ đó bằng trình duyệt trên mạng này",
    "sink_secret_missing": "Ghi mật khẩu hoặc mã truy cập vào tệp /etc/edge-agent/secrets/gone",
    "broker_unreachable": "Xem dịch vụ MQTT có chạy không: systemctl status mosquitto",
    "meeting_down": "Xem dịch vụ: systemctl status edge-meet",
}
"""The first thing to try, by the finding."""
DOCTOR, READ = "line line-1", "read line-1 1 ir 0 2 --all-types"
LEADS = {
    "endpoint_unreachable": (TEXT("tui.network.begin"), "line-1"),
    "gateway_silent": (TEXT("tui.modbus.gaps"), DOCTOR),
    "device_behind_gateway": (TEXT("tui.modbus.gaps"), READ),
    "device_no_register": (TEXT("tui.modbus.gaps"), READ),
    "device_refuses": (TEXT("tui.modbus.gaps"), READ),
    "port_missing": (TEXT("tui.modbus.gaps"), DOCTOR),
    "port_refused": (TEXT("tui.modbus.gaps"), DOCTOR),
    "sink_unreachable": (TEXT("tui.uplink.journal"), "centre"),
    "sink_sign_in_page": (TEXT("tui.network.begin"), "centre"),
    "sink_secret_missing": (TEXT("tui.box.program"), TEXT("tui.box.file")),
    "broker_unreachable": (TEXT("tui.network.begin"), "field"),
    "meeting_down": (TEXT("tui.meeting.silent"), ""),
}
"""What stands on the screen that Enter leads to, and in the selected row there, by the finding."""

Serves = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serves) -> Iterator[int]:
    """Each connection gets its own thread and `serve`; gives the port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=_quietly, args=(serve, listening.accept()[0]), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.close()


def _quietly(serve: Serves, connection: socket.socket) -> None:
    with connection, suppress(OSError):
        serve(connection)


def silent(connection: socket.socket) -> None:
    """Takes requests and says nothing."""
    while connection.recv(4096):
        pass


def refusing(connection: socket.socket) -> None:
    """A Modbus TCP device that has none of the registers: exception 2."""
    while request := connection.recv(4096):
        connection.sendall(request[:4] + b"\x00\x03" + request[6:7] + bytes([request[7] | 0x80, 2]))


def web_page(connection: socket.socket) -> None:
    """The sign-in page of a network."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
    connection.recv(65_536)
    connection.sendall(head + b"<html>Hi</html>")
    connection.shutdown(socket.SHUT_WR)
    silent(connection)


def bus(where: str) -> str:
    """A bus with one meter."""
    return f"buses: [{{id: line-1, {where}, {DEVICE}}}]\n"


def sink(url: str, more: str = "") -> str:
    """An InfluxDB v1 sink."""
    return f'sinks: [{{id: centre, influxdb: {{url: "{url}", version: 1, database: city{more}}}}}]\n'


def broker(more: str) -> str:
    """A broker connection."""
    subscription = "{topic: a, decoder: json, device: d, points: {water.level_m: $.level}}"
    return f"mqtt: [{{id: field, client_id: x, {more}, subscriptions: [{subscription}]}}]\n"


FAULTS: dict[str, Callable[[ExitStack, Path], str]] = {
    "endpoint_unreachable": lambda _, __: bus(f'tcp: "127.0.0.1:{free_port()}"'),
    "gateway_silent|device_behind": lambda stack, _: bus(f'tcp: "127.0.0.1:{stack.enter_context(server(silent))}"'),
    "device_no_register|device_refuses": lambda stack, _: bus(
        f'tcp: "127.0.0.1:{stack.enter_context(server(refusing))}"'
    ),
    "port_missing": lambda _, __: bus("serial: /dev/ttyUSB97"),
    "port_refused": lambda _, folder: ((folder / "ttyUSB8").write_text("") and "") or bus("serial: ./ttyUSB8"),
    "sink_unreachable": lambda _, __: sink(f"http://127.0.0.1:{free_port()}"),
    "sink_sign_in_page|sink_": lambda stack, _: sink(f"http://127.0.0.1:{stack.enter_context(server(web_page))}"),
    "sink_secret_missing": lambda _, __: sink("http://127.0.0.1:9", ", username: u, password: !secret gone"),
    "broker_unreachable": lambda _, __: broker(f'broker: "mqtt://127.0.0.1:{free_port()}"'),
    "meeting_down": lambda _, __: f'meeting: {{listen: "127.0.0.1:{free_port()}", room: giao-ban}}\n',
}
"""By the key of the finding (or what it may begin with): the configuration that brings the fault about."""


@pytest.mark.faults
@pytest.mark.parametrize("keys", FAULTS)
def test_fault_is_named_with_the_first_thing_to_try(keys: str, tmp_path: Path) -> None:
    """The overview says what is wrong and what to try first, and Enter leads to the screen that shows more,
    with the row for it selected: a device's own registers, its line, its server."""
    if not shutil.which("tmux"):
        pytest.skip("tmux")
    with ExitStack() as stack:
        agent = Agent(tmp_path)
        agent.file.write_text(HEAD + FAULTS[keys](stack, tmp_path), encoding="utf-8")
        agent.start()
        stack.callback(agent.kill)
        began = time.monotonic()
        screen = Screen(tmp_path)
        stack.callback(screen.close)
        finding = _finding(agent, keys)
        assert wait_until(lambda: _start(finding.sentence) in screen.shown(), PATIENCE), screen.shown()
        assert wait_until(lambda: _start(finding.steps[0]) in screen.shown(), PATIENCE), screen.shown()
        took = time.monotonic() - began
        print(f"{finding.key}: on the screen {took:.1f} s after the agent answers")
        assert finding.steps[0].startswith(FIRST[finding.key])
        assert took <= 2 * PERIOD + SHOWING
        screen.press("Down")
        screen.press("Enter")
        words, selected = LEADS[finding.key]
        assert wait_until(lambda: _start(words) in screen.shown(), PATIENCE), screen.shown()
        assert wait_until(lambda: selected in screen.selected(), PATIENCE), (screen.shown(), screen.selected())


def _start(words: str) -> str:
    """As much of a sentence as surely stands on one line: its ages and numbers change."""
    told = words.split()[:5]
    plain = [i for i, word in enumerate(told) if any(letter.isdigit() for letter in word)]
    return " ".join(told[: plain[0]] if plain and plain[0] >= 2 else told)


def _finding(agent: Agent, keys: str) -> Finding:
    """The finding, as soon as there is one of that kind."""
    assert wait_until(lambda: bool(_of(agent, keys)), PATIENCE), agent.log()
    return _of(agent, keys)[0]


def _of(agent: Agent, keys: str) -> list[Finding]:
    now: Findings = ask(agent.folder / "state/control.sock", "/findings", Findings)
    return [each for each in now.findings if each.key.startswith(tuple(keys.split("|")))]
