"""What goes into the journal and what comes out of it: a row, a refused reading, a group to commit, the figures."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from drivers.reading import Readings
from edge_agent.ledger import Key, Tally, add_to, merge

OBJECT_BYTES, VALUE_BYTES = 250, 32
"""What readings of one instant take in memory, and each value more."""


class Row(msgspec.Struct, frozen=True):
    """One commit."""

    id: int
    readings: int
    committed_ms: int
    body: bytes
    span: int | None = None
    """The sequence numbers that it stands for, where that is more than its readings: it was thinned."""

    @property
    def after(self) -> int:
        """The sequence number before its first reading."""
        return self.id - (self.span or self.readings)


class Held(msgspec.Struct, frozen=True):
    """One reading that a sink refused."""

    sink: str
    blob: int
    sequence: int
    device: str
    measurement: str
    hour: int
    line: str
    words: str


class Stat(msgspec.Struct, frozen=True):
    """The journal in numbers."""

    last_id: int
    readings: int
    first_ms: int | None
    last_ms: int | None
    bytes: int
    quarantined: int
    thinned: int
    damaged_files: int
    ahead_ms: int | None = None
    """The last of the stamps that are far ahead of their commit: some device's clock is wrong."""


class Miscounted(ValueError):
    """Readings with another number of values than of quantities: which is which, nobody knows. A driver is at fault."""


class Group:
    """What goes into one commit: readings with their counts, and what sinks have settled."""

    def __init__(self) -> None:
        """Begin empty."""
        self.readings: list[Readings] = []
        self.silent: dict[Key, Tally] = {}
        """Counts of readings without any value: nothing of them but the counts is stored."""
        self.points = 0
        """Values that wait, which is what the memory bound counts."""
        self.bytes = 0
        """Roughly what they take in memory."""
        self.states: dict[str, bytes] = {}
        """Packed state of each sink that settled something."""
        self.held: list[Held] = []

    def take(self, some: Sequence[Readings]) -> None:
        """Put all of them in, or none. Raises Miscounted."""
        for readings in some:
            values, quantities = len(readings.values), len(readings.source.quantities)
            if values != quantities:
                device, measurement = readings.source.device, readings.source.measurement
                raise Miscounted(f"{device} {measurement}: {values} values for {quantities} quantities")
        for readings in some:
            self.add(readings)

    def add(self, readings: Readings) -> None:
        """Put one instant of a source in."""
        values = len(readings.values)
        if readings.faults and (values := values - readings.values.count(None)) == 0:
            add_to(self.silent, readings)
            return
        self.readings.append(readings)
        self.points += values
        self.bytes += OBJECT_BYTES + sum(
            VALUE_BYTES + len(v) if isinstance(v, str) else VALUE_BYTES for v in readings.values
        )

    def extend(self, later: Group) -> None:
        """Put another group behind this one."""
        self.readings.extend(later.readings)
        merge(self.silent, later.silent)
        self.points += later.points
        self.bytes += later.bytes
        self.states |= later.states
        self.held.extend(later.held)
