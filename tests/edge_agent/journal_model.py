"""What must hold of the journal, whatever it does inside: sets of readings, and counts for the ledger."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from typing import Self

import msgspec

from edge_agent.lines import Line
from edge_agent.thin import GAP

SINKS: dict[str, tuple[str, ...]] = {"centre": (), "ward": ("water",)}
"""And the measurements that each takes; none: all."""


class Reading(msgspec.Struct, frozen=True):
    """One value."""

    device: str
    measurement: str
    field: str
    time: int

    def wanted(self, sink: str) -> bool:
        """True where the sink takes it."""
        return not SINKS[sink] or self.measurement in SINKS[sink]


def readings(lines: Iterable[Line]) -> set[Reading]:
    """Of some lines; a marker says how many are missing and is none itself."""
    return {
        Reading(line.device, line.measurement, name, line.time)
        for line in lines
        if line.measurement != GAP
        for name, _ in line.fields
    }


class Settled(msgspec.Struct):
    """What the journal knows to be done with."""

    of: dict[str, set[Reading]]
    """By sink."""
    refused: Counter[str]
    """Readings in quarantine by device, markers' too."""

    def copy(self) -> Self:
        """Another one."""
        return type(self)({sink: set(done) for sink, done in self.of.items()}, self.refused.copy())


class Model:
    """The journal as it should be."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.pending: set[Reading] = set()
        self.disk: set[Reading] = set()
        """Acknowledged, and neither thinned nor deleted since."""
        self.at: dict[str, set[Reading]] = {name: set() for name in SINKS}
        """What each server has, or refused for good."""
        self.settled = Settled({name: set() for name in SINKS}, Counter())
        self.saved = self.settled.copy()
        """The same, as it is on the disk."""
        self.stored: Counter[str] = Counter()
        """All that was ever acknowledged, by device, markers less those that were merged."""
        self.gone: Counter[str] = Counter()
        """Thinned, by device."""
        self.thinned: Counter[tuple[str, str]] = Counter()
        """By sink and device: what the sink had not settled by then."""

    def copy(self) -> Self:
        """Another one that goes its own way; what servers have, they have in both."""
        other = copy.copy(self)
        other.pending, other.disk = set(self.pending), set(self.disk)
        other.settled, other.saved = self.settled.copy(), self.saved.copy()
        other.stored, other.gone, other.thinned = self.stored.copy(), self.gone.copy(), self.thinned.copy()
        return other

    def committed(self) -> None:
        """The journal has said that all is on disk."""
        self.disk |= self.pending
        self.stored.update(reading.device for reading in self.pending)
        self.pending = set()
        self.saves()

    def saves(self) -> None:
        """What is settled is on disk."""
        self.saved = self.settled.copy()

    def crashed(self) -> None:
        """What was not acknowledged is gone."""
        self.pending = set()
        self.settled = self.saved.copy()

    def trimmed(self, left: set[Reading]) -> None:
        """Deleted: only what every sink has settled, as the disk knows."""
        for sink in SINKS:
            assert self.disk - left <= self.saved.of[sink], (sink, self.disk - left - self.saved.of[sink])
        self.disk = left

    def rewritten(self, left: set[Reading], markers: Counter[str]) -> None:
        """Thinned: each reading counts as that for the sinks that had not settled it, and markers came."""
        for reading in self.disk - left:
            self.gone[reading.device] += 1
            for sink in SINKS:
                if reading.wanted(sink) and reading not in self.settled.of[sink]:
                    self.thinned[sink, reading.device] += 1
        self.stored.update(markers)
        self.disk = left

    def owed(self, sink: str) -> set[Reading]:
        """What must still come to a sink."""
        return {reading for reading in self.disk if reading.wanted(sink)} - self.at[sink]
