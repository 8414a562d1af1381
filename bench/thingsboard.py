"""Beside thingsboard-gateway: what a reading costs each of them, from the same Modbus TCP devices to its server.

The gateway is installed from its package into a temporary folder, with the pymodbus that it asks for, and configured as
its documentation says: SQLite storage, QoS 1, every value reported. Its server is mosquitto with a client that answers
its one question and counts the values that come. It sends them as JSON and commits in its own rhythm without waiting
for the disk; the agent waits for the disk and writes to InfluxDB. `python -m bench.thingsboard [--quick]`
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from bench import end_to_end
from bench.command import main
from bench.machine import ON_AGENT_CORE, cpu_seconds, pss_mb
from bench.running import folder, slaves
from bench.table import Result
from bench.ward import UNIT, Ward, device_name
from edge_agent.demo_servers import Mosquitto

PACKAGES = ("thingsboard-gateway==3.8.5", "pymodbus==3.9.2")
QUESTION, ANSWER = "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"
VALUES = "v1/gateway/telemetry"
LOAD = Ward()
START = 60.0
"""Seconds for the gateway's first values, at most."""
SETTLE = 5.0
SHARE = 0.1
"""Of the gateway's processor time, what a reading may cost the agent."""


class Run(msgspec.Struct, frozen=True):
    """One run of the gateway."""

    per_reading: float
    """Microseconds of processor time."""
    cpu: float
    """Percent of a core."""
    memory: float
    """MB (PSS)."""


class Values(msgspec.Struct):
    """Values of one device at one time."""

    values: dict[str, float]


class Server:
    """What the gateway takes for its server: answers its question for limits and counts values."""

    def __init__(self, port: int) -> None:
        """Connect to the broker and listen."""
        self.count = 0
        self._decode = msgspec.json.Decoder(dict[str, list[Values]]).decode
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(f"{QUESTION}+", 1), (VALUES, 1)])
        self._client.loop_start()

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, client: Client, _: object, message: MQTTMessage) -> None:
        if message.topic == VALUES:
            devices = self._decode(message.payload).values()
            self.count += sum(len(taken.values) for rows in devices for taken in rows)
        else:
            no_limits = msgspec.json.encode({"rateLimits": {}, "maxInflightMessages": 100})
            client.publish(ANSWER + message.topic.removeprefix(QUESTION), no_limits, 1)


def install(path: Path) -> Path | None:
    """The gateway in an environment of its own: its Python. None where no packages can be had."""
    venv.create(path, with_pip=True)
    python = path / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-qqq", "--disable-pip-version-check"]
    return python if subprocess.run([*pip, *PACKAGES], check=False).returncode == 0 else None


def configure(path: Path, port: int, ports: Sequence[int]) -> None:
    """Write its files: the service and one Modbus connector with each register as a value of its own."""
    server = {
        "host": "127.0.0.1",
        "port": port,
        "remoteShell": False,
        "remoteConfiguration": False,
        "statistics": {"enable": False},
        "minPackSendDelayMS": 50,
        "minPackSizeToSend": 500,
        "security": {"type": "accessToken", "accessToken": "bench"},
        "qos": 1,
        "reportStrategy": {"type": "ON_RECEIVED"},
    }
    storage = {"type": "sqlite", "data_file_path": f"{path}/data/data.db", "messages_ttl_in_days": 7}
    connectors = [{"name": "field", "type": "modbus", "configuration": "modbus.json"}]
    service = {"thingsboard": server, "storage": storage, "grpc": {"enabled": False}, "connectors": connectors}
    (path / "data").mkdir()
    (path / "tb_gateway.json").write_bytes(msgspec.json.encode(service))
    devices = [_device(device_name(i), port) for i, port in enumerate(ports)]
    (path / "modbus.json").write_bytes(msgspec.json.encode({"name": "field", "master": {"slaves": devices}}))


def _device(name: str, port: int) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "type": "tcp",
        "method": "socket",
        "unitId": UNIT,
        "deviceName": name,
        "timeout": 1,
        "byteOrder": "BIG",
        "wordOrder": "BIG",
        "pollPeriod": 1000,
        "attributes": [],
        "attributeUpdates": [],
        "rpc": [],
        "timeseries": [
            {"tag": f"r{i}", "type": "16uint", "functionCode": 3, "address": i, "objectsCount": 1}
            for i in range(LOAD.registers)
        ],
    }


@contextmanager
def running(python: Path, path: Path) -> Iterator[int]:
    """The gateway alone on its core: its process id."""
    with (path / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [*ON_AGENT_CORE, python, "-m", "thingsboard_gateway.tb_gateway"],
            cwd=path,
            env={**os.environ, "TB_GW_CONFIG_DIR": str(path)},
            stdout=log,
            stderr=log,
        )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def once(python: Path, seconds: float) -> Run:
    """Start it on fresh devices, let it settle, then measure."""
    with folder() as path, Mosquitto(path) as broker, slaves(LOAD) as ports:
        configure(path, broker.port, ports)
        server = Server(broker.port)
        with running(python, path) as pid:
            _wait(server, path)
            time.sleep(SETTLE)
            before, cpu, began = server.count, cpu_seconds(pid), time.monotonic()
            time.sleep(seconds)
            took, cpu, count = time.monotonic() - began, cpu_seconds(pid) - cpu, server.count - before
            memory = pss_mb(pid)
        server.close()
    return Run(1e6 * cpu / count, 100 * cpu / took, memory)


def _wait(server: Server, path: Path) -> None:
    deadline = time.monotonic() + START
    while not server.count:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"no value of the gateway came: {(path / 'gateway.log').read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.2)


def benchmark(quick: bool) -> list[Result]:
    """Both in turn, on the same load."""
    count, seconds = (1, 8.0) if quick else (3, 20.0)
    ours, theirs = list[end_to_end.Run](), list[Run]()
    with folder() as path:
        python = install(path / "venv")
        if python is None:
            print("  left out: the gateway's packages cannot be installed here", file=sys.stderr)
            return []
        for _ in range(count):
            ours.append(end_to_end.once(LOAD, seconds))
            theirs.append(once(python, seconds))
    shares = tuple(our.per_reading / their.per_reading for our, their in zip(ours, theirs, strict=True))
    return [
        Result("a reading beside the gateway's: processor", tuple(run.per_reading for run in ours), "us"),
        Result("  thingsboard-gateway 3.8.5", tuple(run.per_reading for run in theirs), "us"),
        Result("  share of the gateway's", shares, "", SHARE),
        Result("  the gateway: processor", tuple(run.cpu for run in theirs), "% of a core"),
        Result("  the gateway: memory", tuple(run.memory for run in theirs), "MB"),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
