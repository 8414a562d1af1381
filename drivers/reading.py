"""What a driver hands over: the readings of one device at one instant, each with its quality.

A `Source` is the fixed part (which points, of which device), made once; `Readings` is one instant of it, so that a
poll of a hundred registers is one object and not a hundred. Names and units are those of `canonical_naming.csv`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from enum import Enum, IntEnum
from functools import cache
from importlib import resources
from types import MappingProxyType

import msgspec

Value = float | int | bool | str
"""A decoded value. Floats are finite; integers fit 64 bits signed."""


class Quality(IntEnum):
    """How far a value may be trusted (field `q` in the database)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Reason(Enum):
    """Why a reading has its quality (`domain/data_standards.yaml`, our_quality). The name is what is stored as `qr`."""

    ok = (0, 0x00000000)
    manual = (0, 0x00960000)
    clamped = (0, 0x00300000)
    stale = (1, 0x40900000)
    comm_lost_last = (1, 0x408F0000)
    substituted = (1, 0x40910000)
    warming_up = (1, 0x40920000)
    humid_pm = (1, 0x40930000)
    spike_or_step = (1, 0x40950000)
    flatline = (1, 0x40950000, "flatline")
    clock_unsynced = (1, 0x40000000)
    gross_range = (2, 0x803C0000)
    sentinel = (2, 0x808C0000)
    device_fault = (2, 0x808B0000)
    timeout = (2, 0x800A0000)
    garbled = (2, 0x80050000)
    decode = (2, 0x80070000)
    bad_time = (2, 0x80230000)
    waiting = (2, 0x80320000)
    config = (2, 0x80890000)
    not_connected = (2, 0x808A0000)
    out_of_service = (2, 0x808D0000)

    def __init__(self, quality: int, opcua: int, _distinct: str = "") -> None:
        """`quality` 0..2 and the OPC UA status code; `_distinct` keeps two reasons with one code apart."""
        self.quality = Quality(quality)
        self.opcua = opcua


NOT_READ = frozenset({Reason.timeout, Reason.garbled, Reason.not_connected, Reason.waiting, Reason.out_of_service})
"""Reasons that say no answer came: such a reading was expected but not read."""

NO_FAULTS: Mapping[int, Reason] = MappingProxyType({})


class Quantity(msgspec.Struct, frozen=True):
    """One row of the naming table: a field of a measurement."""

    measurement: str
    field: str
    kind: str
    """float, int, bool or str."""
    unit: str
    """UCUM code; empty where there is none."""
    meaning: str
    low: float | None
    high: float | None
    """Gross range in `unit`, both ends included; None where the table gives no limit."""


@cache
def quantities() -> Mapping[str, Quantity]:
    """All rows of the naming table by `measurement.field`."""
    text = resources.files("drivers").joinpath("canonical_naming.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {f"{row['measurement']}.{row['field']}": _quantity(row) for row in rows}


def _quantity(row: Mapping[str, str]) -> Quantity:
    return Quantity(
        measurement=row["measurement"],
        field=row["field"],
        kind=row["type"],
        unit=row["ucum"],
        meaning=row["meaning"],
        low=float(row["gross_min"]) if row["gross_min"] else None,
        high=float(row["gross_max"]) if row["gross_max"] else None,
    )


class Source(msgspec.Struct, frozen=True, eq=False):
    """The points that one device gives together: one series of the database. Made once, compared by identity."""

    device: str
    """Identifier of the device within the site (tag `sensor`)."""
    quantities: tuple[Quantity, ...]
    """All of one measurement."""
    tags: tuple[tuple[str, str], ...] = ()
    """Further tags in order: lane, dir, class of traffic; src where two registers give the same field."""
    origin: str = ""
    """Where the values come from, for people: `line-1 unit 2 xy-md02`, `field chirpstack`."""
    event: bool = False
    """Told when something happens and never polled: no point that people watch, and none that could grow stale."""

    @property
    def measurement(self) -> str:
        """First name of the series."""
        return self.quantities[0].measurement

    def point(self, index: int) -> str:
        """Name of a point: `met-1.weather.temp_c`, with tags `cnt-1.traffic.count[lane=1,dir=forward]`."""
        quantity = self.quantities[index]
        name = f"{self.device}.{quantity.measurement}.{quantity.field}"
        return f"{name}[{','.join(f'{key}={value}' for key, value in self.tags)}]" if self.tags else name


class Readings(msgspec.Struct, frozen=True, eq=False):
    """The readings of one source at one instant."""

    source: Source
    time: int
    """Milliseconds since 1970 UTC: when the device answered, or the stamp that the device gave."""
    mono: int
    """Milliseconds of CLOCK_BOOTTIME at arrival: order within a boot, whatever the wall clock does."""
    values: tuple[Value | None, ...]
    """One for each quantity of the source, in its unit; None: nothing decodable, or no answer."""
    faults: Mapping[int, Reason] = NO_FAULTS
    """Reason by index of each value that is not simply good."""
    stamped: bool = False
    """True: `time` came from the device, so a second copy of the message has the same stamp."""
    polls: int = 1
    """Expected readings that this stands for; above 1 only where polls had to be left out and nothing was read."""
    undated: bool = False
    """True: the box's clock was not right yet; `mono` will tell the time once it is."""

    def reason(self, index: int) -> Reason:
        """Why the value at `index` has its quality."""
        return self.faults.get(index, Reason.ok)

    def __iter__(self) -> Iterator[Reading]:
        """Each reading by itself, for the slow paths."""
        for index, value in enumerate(self.values):
            yield Reading(self.source, index, self.time, value, self.reason(index))


class Reading(msgspec.Struct, frozen=True, eq=False):
    """A point's value at a time, with quality."""

    source: Source
    index: int
    time: int
    """Milliseconds since 1970 UTC."""
    value: Value | None
    reason: Reason

    @property
    def point(self) -> str:
        """The point's name."""
        return self.source.point(self.index)
