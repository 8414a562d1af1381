"""Where a device's blocks had to be split, on disk: what it once refused is not asked for again after a restart.

One file for each bus. A split belongs to a unit of an endpoint and to the registers that are read there: another
endpoint, profile, variant or limit forgets it. Remembered is only what helped: the device answered after the split.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from drivers import files
from drivers.planner import Limits
from drivers.register import Register

log = logging.getLogger("edge.modbus")


class Split(msgspec.Struct, frozen=True):
    """What the requests to one unit keep clear of, beside what its profile says. As in planner.Limits."""

    forbidden: frozenset[tuple[int, int, int]] = frozenset()
    barriers: frozenset[tuple[int, int]] = frozenset()

    def of(self, limits: Limits) -> Limits:
        """The limits with the split."""
        forbidden, barriers = limits.forbidden | self.forbidden, limits.barriers | self.barriers
        return msgspec.structs.replace(limits, forbidden=forbidden, barriers=barriers)


class _Kept(msgspec.Struct, frozen=True):
    made_for: str
    split: Split


class _File(msgspec.Struct):
    where: str
    units: dict[int, _Kept]


def made_for(registers: Iterable[Register], limits: Limits) -> str:
    """Stands for what is read of a unit and how: a split of anything else says nothing."""
    allowed = sorted(limits.forbidden), sorted(limits.barriers), limits.registers, limits.bits, limits.whole
    return hashlib.blake2s(msgspec.json.encode([list(registers), allowed]), digest_size=8).hexdigest()


class SplitMemory:
    """The splits of one bus's units. Its methods block."""

    def __init__(self, file: Path | None, where: str) -> None:
        """`file`: None keeps nothing. `where`: the port or endpoint."""
        self._file, self._where = file, where
        self._units = self._read()

    def recall(self, unit: int, of: str) -> Split:
        """What is remembered of a unit; `of` as `made_for` gives it."""
        kept = self._units.get(unit)
        return kept.split if kept and kept.made_for == of else Split()

    def keep(self, unit: int, of: str, split: Split) -> None:
        """Remember it, whole or not at all. A disk that takes nothing costs one refused request after a restart."""
        self._units[unit] = _Kept(of, split)
        if self._file is None:
            return
        try:
            files.replace(self._file, msgspec.json.encode(_File(self._where, self._units)))
        except OSError as error:
            log.warning("splits not written file=%s error=%s", self._file, error)

    def _read(self) -> dict[int, _Kept]:
        found = files.read(self._file, _File) if self._file else None
        return found.units if found and found.where == self._where else {}


def memory_of(state: Path, bus: str) -> Path:
    """The file of a bus in the state folder."""
    return state / f"splits-{bus}.json"
