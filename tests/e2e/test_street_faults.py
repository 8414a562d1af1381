"""Ten faults of the street, each made for real: GET /findings names it in time, with the right first thing to try."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.client import NotRunning, ask
from edge_agent.demo_servers import Mosquitto, free_port
from edge_agent.findings import Finding, Findings
from tests.e2e.box import Process
from tests.waiting import wait_until

PERIOD = 1.0
"""Seconds between polls."""
SLACK = 8.0
"""Seconds beyond two periods, for a loaded machine; `make faults` allows none."""
STALE = 10.0
"""Seconds before a sensor that reports by itself counts as silent: nobody polls it, and it may skip a report."""
SILENT = 6 * PERIOD
"""Seconds from the first missed poll, which is told at once, until a slave counts as silent: three polls missed in a
row, and after each the line rests for three and a half time-outs (docs/decisions/013-dead-units.md)."""
SHOWING = 1.0
"""Seconds between two looks at the board."""

CONFIG = """
site: cl-02
language: en
state: ./state
control: ./control.sock
box: {{every: 1s}}
journal: {{max_bytes: 16MiB}}
clock: {{patience: 0s}}
buses:
  - {{id: line-1, serial: ./line-1.tty, timeout: 300ms, devices: [
      {{id: met-1, profile: renke-01f4-station, unit: 1, every: 1s}}]}}
  - {{id: line-2, serial: ./line-2.tty, timeout: 300ms, devices: [
      {{id: cab-2, profile: xy-md02, unit: 2, every: 1s}}]}}
  - id: line-3
    serial: ./line-3.tty
    timeout: 300ms
    devices:
      - {{id: cab-3, profile: xy-md02, unit: 3, every: 1s}}
      - {{id: met-3, profile: renke-01f4-station, unit: 4, every: 1s}}
      - {{id: cab-5, profile: xy-md02, unit: 5, every: 1s}}
      - {{id: lost-3, profile: xy-md02, unit: 9, every: 1s}}
mqtt:
  - {{id: field, broker: "{broker}", client_id: a, subscriptions: [
      {{topic: application/+/device/+/event/up, decoder: chirpstack}}]}}
  - {{id: gone, broker: "mqtt://127.0.0.1:{closed}", client_id: b, subscriptions: [
      {{topic: x/+, decoder: json, points: {{water.level_m: $.l}}}}]}}
sinks:
  - {{id: stopped, influxdb: {{url: "http://127.0.0.1:{closed}", version: 1, database: city}}}}
  - {{id: denied, influxdb: {{url: "http://127.0.0.1:{denying}", version: 2, bucket: city, token: !secret t}}}}
"""

BOX = (
    # A disk of its own, small enough to fill, and a time service that never gets the time.
    "mkdir -p {state} && mount -t tmpfs -o size=6M tmpfs {state} && mount -t tmpfs tmpfs /run"
    " && mkdir -p /run/systemd/timesync && exec {python} -m edge_agent run -c {file}"
)


class Denies(http.server.BaseHTTPRequestHandler):
    """A database that knows no such token."""

    def do_POST(self) -> None:  # named by http.server
        """401 in the words of InfluxDB 2."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(b'{"code":"unauthorized","message":"unauthorized access"}')

    do_GET = do_POST  # noqa: N815

    def _answer(self, body: bytes) -> None:
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def denying() -> Iterator[int]:
    """Its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denies)
    thread = threading.Thread(target=server.serve_forever, name="denies")
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


class Street:
    """The agent, its devices, and their faults."""

    def __init__(self, folder: Path, broker: str, denied: int) -> None:
        """Start the devices; those of line 1 and of MQTT can be switched off."""
        self.folder, self.slack = folder, SLACK
        self.file = folder / "agent.yaml"
        block = CONFIG.format(broker=broker, closed=free_port(), denying=denied)
        self.file.write_text(block, encoding="utf-8")
        line = f"met-1:renke-01f4-station:1@rtu:{folder}/line-1.tty"
        first = ("--device", line, "--device", "soil-1:chirpstack@mqtt", "--mqtt", broker, "--every-mqtt", "0.5")
        self.cut = Process(folder / "cut.log", "sim", "ward", *first)
        rest = [f"cab-2:xy-md02:2@rtu:{folder}/line-2.tty"]
        rest += [f"{device}@rtu:{folder}/line-3.tty" for device in ("cab-3:xy-md02:3", "met-3:renke-01f4-station:4")]
        rest += [f"cab-5:xy-md02:5@rtu:{folder}/line-3.tty"]
        faults = ["garbled:cab-2:1", "exception:cab-5:1", "out-of-range:met-3:1"]
        words = [w for device in rest for w in ("--device", device)] + [w for f in faults for w in ("--fault", f)]
        self.bad = Process(folder / "bad.log", "sim", "ward", *words)
        for ward in (self.cut, self.bad):
            assert ward.line(), "the ward is ready"
        self.agent: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The agent on a disk of its own."""
        script = BOX.format(state=self.folder / "state", python=sys.executable, file=self.file)
        log = (self.folder / "agent.log").open("wb")
        environ = os.environ | {"EDGE_SECRET_T": "wrong"}
        self.agent = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], stderr=log, env=environ)
        log.close()
        assert wait_until(self.answers, 20), (self.folder / "agent.log").read_text()

    def answers(self) -> bool:
        """True once it does."""
        try:
            self.findings()
        except NotRunning:
            return False
        return True

    def findings(self) -> dict[tuple[str, str], Finding]:
        """What is wrong now, by key and subject."""
        found: Findings = ask(self.folder / "control.sock", "/findings", Findings)
        return {(each.key, each.subject): each for each in found.findings}

    def names(self, key: str, subject: str, within: float) -> Finding:
        """The finding, as soon as it is there."""
        began = time.monotonic()
        assert wait_until(lambda: (key, subject) in self.findings(), within + self.slack), sorted(self.findings())
        print(f"{key} {subject} after {time.monotonic() - began:.1f} s")
        return self.findings()[key, subject]

    def fill_disk(self) -> None:
        """Until nothing more fits, seen from outside the agent's own view of the file system."""
        assert self.agent
        ballast = Path(f"/proc/{self.agent.pid}/root{self.folder}/state/ballast")
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
        assert not os.statvfs(ballast).f_bavail

    def end(self) -> None:
        """End what runs."""
        for ward in (self.cut, self.bad):
            os.kill(ward.pid, signal.SIGCONT)
            ward.kill()
        if self.agent:
            self.agent.kill()
            self.agent.wait(10)


@pytest.fixture
def street(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Street]:
    """All faults but those that come while one looks."""
    tried = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/run"]
    if not shutil.which("unshare") or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("this user may not have a disk of its own (user namespaces are off)")
    with denying() as port:
        found = Street(tmp_path, mosquitto.url, port)
        try:
            found.start()
            yield found
        finally:
            found.end()


AT_ONCE = [
    ("device_garbled_at_first", "cab-2", "Compare speed and framing with the device: now 9600 8N1"),
    ("device_never_answered", "lost-3", "Check the device's power"),
    ("device_own_fault", "cab-5", "Switch the device off for 10 seconds and on again"),
    ("value_out_of_range", "met-3", "Compare with the device's own display or a hand-held meter"),
    ("sink_unreachable", "stopped", "Check the box's network: edge net"),
    ("sink_token_wrong", "denied", "Check this sink's token or password"),
    ("broker_unreachable", "gone", "See whether the broker's service runs: systemctl status mosquitto"),
    ("clock_not_yet_synced", "clock", "Wait some minutes"),
]


@pytest.mark.parametrize("slack", [SLACK, pytest.param(0.0, marks=pytest.mark.faults)])
def test_ten_faults_are_named_with_the_right_first_step(street: Street, slack: float) -> None:
    """Wrong settings, wrong unit, exception, range, database, token, broker and clock; then a slave that is unplugged,
    a disk that fills: each within two poll periods. A sensor that nobody polls: as soon as it counts as silent."""
    street.slack = slack
    for key, subject, first in AT_ONCE:
        assert street.names(key, subject, 2 * PERIOD).steps[0] == first
    assert wait_until(lambda: not any(item == "met-1" for _, item in street.findings()), 10), "met-1 is well so far"

    cut = time.monotonic()
    os.kill(street.cut.pid, signal.SIGSTOP)
    gone = street.names("device_missed_a_poll", "met-1", 2 * PERIOD)
    assert gone.steps[0] == "Check the sensor's power"
    assert gone.screen == "modbus"
    left = cut + SILENT - time.monotonic()
    assert street.names("device_went_silent", "met-1", left).steps[0] == "Check the sensor's power"
    left = cut + STALE + SHOWING - time.monotonic()
    assert street.names("value_stale", "soil-1", left).steps[0] == "Check the sensor's battery or power"

    street.fill_disk()
    full = street.names("disk_full", "journal", 2 * PERIOD)
    assert full.steps[0].startswith("Find what fills it")
    assert next(iter(street.findings().values())).severity == "failed"
