"""The drivers read the simulated ward, and the ledger agrees with them to the reading, whatever faults there are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from drivers.driver import Driver
from drivers.modbus import ModbusBus
from drivers.mqtt import MqttConnection
from drivers.profile import library, read_profile
from drivers.settings import Broker, Bus
from drivers.sim.compare import Comparison, Delivered, compare
from drivers.sim.ledger import read_ledger
from edge_agent.demo_servers import Mosquitto
from tests.drivers.payloads import TRAFFIC
from tests.drivers.ward_process import WardProcess

PROFILES = ("renke-01f4-station", "xy-md02", "eastron-sdm630", "dfrobot-sen0676-radar")


async def _take(driver: Driver, rows: dict[str, Delivered]) -> None:
    """What a database would hold: a second copy of a series' time stamp is the same row."""
    async for batch in driver.readings():
        for readings in batch.readings:
            for reading in readings:
                quantity = readings.source.quantities[reading.index]
                if reading.value is not None:
                    point, tags = f"{quantity.measurement}.{quantity.field}", dict(readings.source.tags)
                    row = Delivered(readings.source.device, point, reading.time, reading.value, tags)
                    rows[f"{reading.point} {reading.time}"] = row
        if batch.done:
            batch.done()


def _buses(line: Path, port: int) -> list[Driver]:
    """The buses of the example configuration, polled faster."""
    serial = {
        "id": "line-1",
        "serial": str(line),
        "timeout": "300ms",
        "devices": [
            {"id": "met-1", "profile": PROFILES[0], "unit": 1, "every": "200ms"},
            {"id": "cab-1", "profile": PROFILES[1], "unit": 2, "every": "200ms"},
        ],
    }
    meters = {
        "id": "meters",
        "tcp": f"127.0.0.1:{port}",
        "timeout": "300ms",
        "devices": [
            {"id": "power-1", "profile": PROFILES[2], "unit": 1, "every": "100ms"},
            {"id": "water-1", "profile": PROFILES[3], "unit": 7, "every": "100ms"},
        ],
    }
    profiles = {name: read_profile(library()[name]) for name in PROFILES}
    return [ModbusBus(Bus.model_validate(bus), profiles) for bus in (serial, meters)]


async def _read(drivers: Sequence[Driver], sim: WardProcess, seconds: float) -> list[Delivered]:
    """Everything the drivers give until the ward has ended and nothing more can come."""
    rows: dict[str, Delivered] = {}
    tasks = [asyncio.create_task(_take(driver, rows)) for driver in drivers]
    await asyncio.sleep(seconds)
    await asyncio.to_thread(sim.stop)
    await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return list(rows.values())


def _exact(found: Comparison) -> bool:
    differing = [*found.missing, *found.unexpected, *found.wrong]
    return not differing and found.twice == [] and found.generated == found.delivered + found.rejected > 50


@pytest.mark.parametrize(
    "faults",
    [
        (),
        ("silent:power-1:0.1", "silent:met-1:0.1"),
        ("garbled:0.1", "wrong-unit:0.1", "exception:0.1"),
        ("late:400:0.05", "slow:water-1:40"),
        ("sentinel", "out-of-range", "nan"),
    ],
    ids=lambda faults: "+".join(fault.split(":")[0] for fault in faults) or "none",
)
def test_modbus_devices_read_by_the_driver(tmp_path: Path, faults: tuple[str, ...]) -> None:
    """Every value of every answer that had to be delivered is there once, and nothing else is."""
    line, path = tmp_path / "line.tty", tmp_path / "ledger.jsonl"
    options = ["--port-modbus", "0", "--pty", str(line), "--ledger", str(path), "--client-timeout", "0.3"]
    with WardProcess(*options, *(word for fault in faults for word in ("--fault", fault))) as sim:
        rows = asyncio.run(_read(_buses(line, sim.port), sim, 2.5))
    found = compare(read_ledger(path), rows)
    assert _exact(found), found


def test_mqtt_devices_read_by_the_driver(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The same for messages, with payloads that are cut off, values that are none, and a broker that restarts."""
    path = tmp_path / "ledger.jsonl"
    field = {
        "id": "field",
        "broker": mosquitto.url,
        "client_id": "edge-cl-02",
        "subscriptions": [
            {"topic": "application/+/device/+/event/up", "decoder": "chirpstack"},
            TRAFFIC,
        ],
    }

    async def read() -> list[Delivered]:
        connection = MqttConnection(Broker.model_validate(field), "cl-02")
        reading = asyncio.create_task(_read([connection], sim, 3.0))
        await asyncio.sleep(1)
        await asyncio.to_thread(mosquitto.restart)
        return await reading

    faults = ("--fault", "malformed:0.1", "--fault", "nan:0.1", "--fault", "out-of-range:0.1")
    with WardProcess("--mqtt", mosquitto.url, "--every-mqtt", "0.02", "--ledger", str(path), *faults) as sim:
        rows = asyncio.run(read())
    found = compare(read_ledger(path), rows)
    assert _exact(found), found
