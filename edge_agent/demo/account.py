"""The proof at the end: all that the simulated ward generated, held against what InfluxDB gives back by InfluxQL, value
by value, and counted by device. It uses nothing of the agent's: neither its journal nor its counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from drivers.reading import Quality, Value
from drivers.sim.compare import Comparison, Found, compare, influx_rows
from drivers.sim.ledger import Ledger, Message
from edge_agent.demo_servers import InfluxDB

Row = Mapping[str, Value | None]

LINK = "link"
"""Measurement in which the box tells each minute how a device answers: under its name, and none of it is from it."""


class DeviceAccount(msgspec.Struct, frozen=True):
    """One device."""

    device: str
    result: Comparison
    bad: int
    """Values among the delivered ones that are marked bad."""


class Account(msgspec.Struct, frozen=True):
    """What became of everything."""

    devices: list[DeviceAccount]
    malformed: int
    """Messages of which nothing could be read."""
    unheard: int
    """Messages published before the agent listened: they went nowhere."""
    besides: int
    """Values that no simulated device gave: the box's own health, and how its lines do."""

    @property
    def exact(self) -> bool:
        """generated = delivered + rejected for each device, and nothing else is there."""
        return all(one.result.exact for one in self.devices)

    def total(self, name: str) -> int:
        """A count of the comparison over all devices."""
        return sum(getattr(one.result, name) for one in self.devices)

    @property
    def bad(self) -> int:
        """Delivered values that are marked bad."""
        return sum(one.bad for one in self.devices)

    def differences(self) -> list[tuple[str, Found]]:
        """Kind (missing, wrong, unexpected, twice) and value of everything that is not as it should be."""
        kinds = ("missing", "wrong", "unexpected", "twice")
        return [(kind, found) for one in self.devices for kind in kinds for found in getattr(one.result, kind)]


def read_back(database: InfluxDB, name: str) -> dict[str, list[Row]]:
    """All rows by measurement. Raises ServerFailed."""
    names = [str(row["name"]) for row in database.query("SHOW MEASUREMENTS", name)]
    return {measurement: list(database.query(f'SELECT * FROM "{measurement}"', name)) for measurement in names}


def account(ledgers: Iterable[Ledger], rows: Mapping[str, Sequence[Row]]) -> Account:
    """Compare device by device."""
    given = {measurement: some for measurement, some in rows.items() if measurement != LINK}
    delivered = [value for measurement, some in given.items() for value in influx_rows(measurement, some)]
    bad = _bad(given)
    devices: list[DeviceAccount] = []
    messages: list[Message] = []
    for ledger in ledgers:
        messages += [entry for entry in ledger.entries if isinstance(entry, Message)]
        for device in {entry.device for entry in ledger.entries} | ledger.sequences.keys():
            mine = [value for value in delivered if value.device == device]
            devices.append(DeviceAccount(device, compare(_only(ledger, device), mine), bad[device]))
    known = {one.device for one in devices}
    own = sum(1 for _ in influx_rows(LINK, rows.get(LINK, ())))
    heard = [message for message in messages if message.heard]
    return Account(
        devices=sorted(devices, key=lambda one: one.device),
        malformed=sum(message.fault == "malformed" for message in heard),
        unheard=len(messages) - len(heard),
        besides=sum(value.device not in known for value in delivered) + own,
    )


def _only(ledger: Ledger, device: str) -> Ledger:
    """The ledger of one device."""
    sequences = {name: point for name, point in ledger.sequences.items() if name == device}
    return Ledger(sequences, [entry for entry in ledger.entries if entry.device == device], ledger.summary)


def _bad(rows: Mapping[str, Sequence[Row]]) -> Counter[str]:
    """By device, how many values are marked bad: by their own mark, or by that of their line."""
    found: Counter[str] = Counter()
    for measurement, some in rows.items():
        for row in some:
            for value in influx_rows(measurement, [row]):
                field = value.point.partition(".")[2]
                own = row.get(f"{field}_q")
                found[value.device] += (row.get("q") if own is None else own) == Quality.BAD
    return found
