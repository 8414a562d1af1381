"""What the demonstration runs: real servers, the simulated ward and the agent, each a process of its own.

All of them live below one folder, and whatever runs when `close` is called is ended. A server that is not installed is
left out, and with it what needs it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from drivers.sim.ledger import Ledger, read_ledger
from edge_agent.client import NotRunning, ask
from edge_agent.demo_servers import InfluxDB, Mosquitto, Server, installed
from edge_agent.status import Status

SITE = "Phường Sao Đỏ"
BROKER = "field"
DATABASE = "city"

FAULTS = ("out-of-range:water-1:0.08", "sentinel:met-1:0.05", "sentinel:power-1:0.06", "malformed:rain-1:0.1")
"""What real devices do now and then: a value that cannot be, a code for "no reading", not a number, half a message."""

BOX = """\
# Written by `edge demo`: devices, broker and database are on this machine.
site: cl-02
name: {site}
language: {language}
state: ./state
control: ./agent.sock
box: {{every: 5s}}
buses:
  - id: line-1
    serial: ./line-1.tty
    devices:
      - {{id: met-1, profile: renke-01f4-station, unit: 1, every: 1s}}
  - id: meters
    tcp: 127.0.0.1:{meters}
    devices:
      - {{id: power-1, profile: eastron-sdm630, unit: 1, every: 1s}}
      - id: water-1
        profile: dfrobot-sen0676-radar
        unit: 7
        every: 1s
        limits: {{water.level_m: {{low: 0, high: 8}}}}
  - id: cabinet
    tcp: 127.0.0.1:{cabinet}
    framer: rtu
    devices:
      - {{id: cab-1, profile: xy-md02, unit: 2, every: 1s}}
"""
MQTT = """\
mqtt:
  - id: {broker}
    broker: {url}
    client_id: edge-cl-02
    subscriptions:
      - {{topic: application/+/device/+/event/up, decoder: chirpstack, qos: 1}}
      - topic: traffic/+/interval
        decoder: json
        device: "{{1}}"
        time: $.end
        tags: {{lane: $.lane, dir: $.dir, class: $.class}}
        points: {{traffic.count: $.count, traffic.speed_avg_kmh: $.speed}}
"""
SINKS = """\
clock: {{patience: 0s}}
sinks:
  - id: centre
    influxdb: {{url: "{url}", version: 1, database: {database}}}
"""


class Died(Exception):
    """A process ended that should not have; the message is the end of its log."""

    def __init__(self, server: Server) -> None:
        """`server`: which one."""
        super().__init__(server.tail().strip())
        self.name = server.name


class Program(Server):
    """One of our own programs, started and ended as a server is."""

    binary = sys.executable
    package = "python3"

    def __init__(self, folder: Path, name: str, words: Sequence[str] = ()) -> None:
        """`words`: what stands behind `edge`."""
        self.name = name
        super().__init__(folder)
        self._words = tuple(words)

    def command(self) -> list[str]:
        """By this Python, so that it is this version."""
        return ["-m", "edge_agent", *self._words]


class Ward(Program):
    """`edge sim ward`: some devices, and the ledger of what they generated."""

    def simulate(self, devices: Sequence[str], options: Sequence[str] = ()) -> None:
        """`devices` as `--device` takes them. They need `port`, so they are named after the ward is made."""
        chosen = [word for device in devices for word in ("--device", device)]
        self._words = ("sim", "ward", "--ledger", str(self._ledger), *chosen, *options)

    def answers(self) -> bool:
        """True when its Modbus port is open."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def _ledger(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    def ledger(self) -> Ledger:
        """What it generated."""
        return read_ledger(self._ledger)


class Agent(Program):
    """`edge run`."""

    def __init__(self, folder: Path) -> None:
        """The configuration is `agent.yaml` in `folder`."""
        self.config = folder / "agent.yaml"
        self.control = folder / "agent.sock"
        super().__init__(folder, "agent", ("run", "-c", str(self.config)))

    def answers(self) -> bool:
        """True when its control socket does."""
        try:
            ask(self.control, "/status", Status)
        except NotRunning:
            return False
        return True


class Stage:
    """All processes of one demonstration."""

    def __init__(self, folder: Path, language: str) -> None:
        """`language` is that of the agent's sentences. Nothing is started yet."""
        there = installed((Mosquitto, InfluxDB))
        self.missing = [package for package, found in there.items() if not found]
        """Debian packages of what is left out."""
        self.mosquitto = Mosquitto(folder) if there[Mosquitto.package] else None
        self.influxdb = InfluxDB(folder) if there[InfluxDB.package] else None
        self.ward, self.cabinet = Ward(folder, "ward"), Ward(folder, "cabinet")
        self.agent = Agent(folder)
        self._on: list[Server] = []
        """Those that should be running."""
        self._describe(folder, language)

    def _describe(self, folder: Path, language: str) -> None:
        """Tell the wards their devices, and the agent how to reach them."""
        meters, cabinet = self.ward.port, self.cabinet.port
        at = (f"met-1:renke-01f4-station:1@rtu:{folder / 'line-1.tty'}", f"power-1:eastron-sdm630:1@tcp:{meters}")
        devices = [*at, f"water-1:dfrobot-sen0676-radar:7@tcp:{meters}"]
        options = [word for fault in FAULTS if self.mosquitto or "rain-1" not in fault for word in ("--fault", fault)]
        config = BOX.format(site=SITE, language=language, meters=meters, cabinet=cabinet)
        if self.mosquitto:
            devices += ["rain-1:chirpstack@mqtt", "cnt-1:traffic@mqtt"]
            options += ["--mqtt", self.mosquitto.url, "--every-mqtt", "1"]
            config += MQTT.format(broker=BROKER, url=self.mosquitto.url)
        if self.influxdb:
            config += SINKS.format(url=self.influxdb.url, database=DATABASE)
        self.ward.simulate(devices, options)
        self.cabinet.simulate([f"cab-1:xy-md02:2@rtutcp:{cabinet}"])
        self.agent.config.write_text(config, encoding="utf-8")

    def servers(self) -> list[Server]:
        """All of them, in the order of starting: the agent comes last and finds everything there."""
        several = (self.mosquitto, self.influxdb, self.ward, self.cabinet, self.agent)
        return [server for server in several if server]

    def start(self, told: Callable[[int, str], None]) -> None:
        """Start everything; `told` hears before each how many are up and which comes next. Raises ServerFailed."""
        for done, server in enumerate(self.servers()):
            told(done, server.name)
            self.switch_on(server)
            if server is self.influxdb:
                self.influxdb.create_database(DATABASE)

    def switch_on(self, server: Server) -> None:
        """Start it, with its port and data, and wait until it answers."""
        server.start()
        self._on.append(server)

    def switch_off(self, server: Server) -> None:
        """End it in an orderly way; nothing happens when it is off."""
        if server in self._on:
            self._on.remove(server)
        server.stop()

    def is_on(self, server: Server | None) -> bool:
        """False while it was switched off, or is left out."""
        return server in self._on

    def check(self) -> None:
        """Raises Died when one ended by itself."""
        for server in self._on:
            if not server.running:
                raise Died(server)

    def ledgers(self) -> Iterator[Ledger]:
        """What was generated."""
        yield self.ward.ledger()
        yield self.cabinet.ledger()

    def close(self) -> None:
        """End what still runs, the agent first."""
        for server in reversed(self.servers()):
            server.stop()
