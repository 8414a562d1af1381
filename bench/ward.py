"""A ward for benchmarks: Modbus TCP devices of one made-up model, their profile, and the agent's configuration.

The model has one 16-bit register for each number of the naming table that a sensor can give, up to 102: readings of a
device fall into as many series as the table has measurements, as those of real devices do.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from drivers.profile import Profile, read_profile
from drivers.reading import Quantity, quantities

SITE = "bench"
DATABASE = "city"
PROFILE = "bench-station"
UNIT = 1
IMAGES = 64
"""Different answers of a device, given in turn."""
NOT_A_SENSOR = ("box", "link")


class Ward(msgspec.Struct, frozen=True):
    """How much there is to measure."""

    devices: int = 20
    registers: int = 100
    every: str = "1s"

    @property
    def per_second(self) -> float:
        """Readings per second at `every` = 1s."""
        return self.devices * self.registers


def device_name(index: int) -> str:
    """Identifier of a device."""
    return f"dev-{index:02}"


def _model(registers: int) -> list[Quantity]:
    numbers = [q for q in quantities().values() if q.kind in ("int", "float") and q.measurement not in NOT_A_SENSOR]
    if registers > len(numbers):
        raise ValueError(f"the naming table has {len(numbers)} numbers of sensors, not {registers}")
    return numbers[:registers]


def _range(quantity: Quantity) -> tuple[int, int, float]:
    """Least and greatest raw number near the middle of the quantity's range, and the scale."""
    low, high = max(quantity.low or 0.0, 0.0), quantity.high or 1000.0
    scales = (1.0, 10.0, 100.0, 1e5) if quantity.kind == "int" else (0.01, 0.1, 1.0, 10.0, 100.0)
    scale = next(scale for scale in scales if high / scale < 65536)
    middle, width = (low + high) / 2 / scale, (high - low) / scale
    return round(middle - 0.03 * width), round(middle + 0.03 * width), scale


def write_profile(folder: Path, registers: int) -> Profile:
    """Write the model's profile into `folder`, as a site would add a device, and read it."""
    rows = [
        f"  - {{key: r{i}, addr: {i}, scale: {_range(q)[2]}, unit: '{q.unit}', canonical: {q.measurement}.{q.field}}}"
        for i, q in enumerate(_model(registers))
    ]
    head = f"schema: chilinh.device-profile/0.1-draft\nid: {PROFILE}\nvendor: none\nmodel: none\nkind: benchmark\n"
    rest = "confidence: high\ntransport: modbus-tcp\nunit_id: {default: 1}\ndefaults: {fc: 3, type: u16}\nregisters:\n"
    path = folder / f"{PROFILE}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(head + rest + "\n".join([*rows, ""]), encoding="utf-8")
    return read_profile(path)


def images(device: int, registers: int) -> list[bytes]:
    """The register contents that a device shows in turn: every value walks a little, as a noisy sensor's does."""
    draw = random.Random(device)
    ranges = [_range(quantity) for quantity in _model(registers)]
    values = [draw.randint(low, high) for low, high, _ in ranges]
    found = []
    for _ in range(IMAGES):
        for i, (low, high, _scale) in enumerate(ranges):
            step = max((high - low) // 20, 1)
            values[i] = min(max(values[i] + draw.randint(-step, step), low), high)
        found.append(struct.pack(f">{registers}H", *values))
    return found


def configuration(folder: Path, blocks: Iterable[str]) -> Path:
    """Write `agent.yaml` of the given blocks; state and profiles are beside it."""
    head = f"site: {SITE}\nlanguage: en\nstate: ./state\nprofiles: [./devices]\n"
    path = folder / "agent.yaml"
    path.write_text(head + "".join(blocks), encoding="utf-8")
    return path


def buses(ports: Iterable[int], every: str) -> str:
    """The block `buses`: each device on a connection of its own."""
    rows = [
        f"  - id: bus-{i:02}\n    tcp: 127.0.0.1:{port}\n    devices:\n"
        f"      - {{id: {device_name(i)}, profile: {PROFILE}, unit: {UNIT}, every: {every}}}\n"
        for i, port in enumerate(ports)
    ]
    return "buses:\n" + "".join(rows)


def sinks(urls: Mapping[str, int]) -> str:
    """The block `sinks`: InfluxDB's write protocol by URL -> version."""
    rows = [
        f'  - id: sink-{i}\n    influxdb: {{url: "{url}", version: {version}, '
        + (f"database: {DATABASE}" if version == 1 else f"org: none, bucket: {DATABASE}")
        + "}\n    spread: 0s\n"  # how fast a backlog goes is measured, not when it begins
        for i, (url, version) in enumerate(urls.items())
    ]
    return "sinks:\n" + "".join(rows)
