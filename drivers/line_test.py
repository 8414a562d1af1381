"""The line's doctor: asks every configured unit some times beside the running polling, counts, and gives a finding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec

from drivers.frames import Outcome, Request
from drivers.guests import Frame
from drivers.line_findings import Finding, LineCounts, UnitCounts, find
from drivers.modbus import ModbusBus
from drivers.profile import Profile
from drivers.recognise import blocks_of
from drivers.scan import units_in
from drivers.settings import Bus, Device

ROUNDS = 12
"""Requests to each unit."""
MOST_ROUNDS = 1000
GIVEN_UP = 3
"""Requests in a row without a byte after which a unit is not asked any more: each costs a time-out."""


class Asking(msgspec.Struct, frozen=True, tag="progress"):
    """How far the examination is."""

    done: int
    total: int
    unit: int


class Examined(msgspec.Struct, frozen=True, tag="examined"):
    """The end (`edge modbus line --json`)."""

    bus: str
    where: str
    serial: bool
    timeout_ms: float
    units: list[UnitCounts]
    stray_bytes: int
    finding: Finding


class _Count:
    """Counts what is seen on the line, polls included."""

    def __init__(self, told: Bus) -> None:
        self.rtu = told.is_serial or told.framer == "rtu"
        self.units = {device.unit: UnitCounts(device.unit, device.id) for device in told.devices}
        self.stray = 0
        self._sent = b""

    def listen(self, frame: Frame) -> None:
        if frame.sent:
            self._sent = frame.data
        elif frame.verdict == "stray":
            self.stray += len(frame.data)
        elif unit := self.units.get(self._sent[0 if self.rtu else 6]) if len(self._sent) > 6 else None:
            self.count(unit, frame)

    def count(self, unit: UnitCounts, frame: Frame) -> None:
        word, _, code = frame.verdict.partition(" ")
        if word == Outcome.lost.value:
            return
        setattr(unit, word, getattr(unit, word) + 1)
        unit.code = int(code or unit.code)
        if self.rtu and word == Outcome.garbled.value and (others := units_in(frame.data) - {unit.unit}):
            unit.foreign += 1
            unit.other = min(others)
        unit.echo += self.rtu and frame.data.startswith(self._sent)


async def examine(
    bus: ModbusBus, told: Bus, profiles: Mapping[str, Profile], rounds: int = ROUNDS
) -> AsyncIterator[Asking | Examined]:
    """Ask, count, and end with the finding. Raises guests.BusAway."""
    counted = _Count(told)
    late_before = {device.id: bus.devices[device.id].late for device in told.devices}
    silent = dict.fromkeys(counted.units, 0)
    total = rounds * len(told.devices)
    stop = bus.tap(counted.listen)
    try:
        for i in range(rounds):
            for j, device in enumerate(told.devices):
                yield Asking(i * len(told.devices) + j, total, device.unit)
                if silent[device.unit] < GIVEN_UP:
                    came = await _ask(bus, told, device, profiles[device.profile], counted.units[device.unit])
                    silent[device.unit] = 0 if came else silent[device.unit] + 1
    finally:
        stop()
    for device in told.devices:
        counted.units[device.unit].late = bus.devices[device.id].late - late_before[device.id]
    yield _examined(told, counted)


async def _ask(bus: ModbusBus, told: Bus, device: Device, profile: Profile, counts: UnitCounts) -> bool:
    """One request; True where a byte came, or nothing is there that may be read for a try."""
    if not (blocks := blocks_of(profile)):
        return True
    request = Request(device.unit, blocks[0].fc, blocks[0].start, blocks[0].count)
    answer = await bus.guest(request, told.timeout)
    if answer.outcome is Outcome.ok:
        counts.answers_ms.append(round(answer.seconds * 1000, 2))
    return answer.outcome is not Outcome.timeout


def _examined(told: Bus, counted: _Count) -> Examined:
    units = list(counted.units.values())
    counts = LineCounts(told.is_serial, told.timeout * 1000, units, counted.stray)
    return Examined(told.id, told.where, told.is_serial, told.timeout * 1000, units, counted.stray, find(counts))
