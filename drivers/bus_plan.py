"""What the requests of a bus cost, by its configuration or as learned: blocks, their time on the line, the load.

Beside it the same by the way of most programs, one request for each register. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from drivers.bus_line import assumed
from drivers.planner import Line, cost, plan
from drivers.profile import Profile
from drivers.register import BIT_FUNCTIONS, Block, Register
from drivers.settings import Bus, Device
from drivers.splits import Split, SplitMemory, made_for
from drivers.unit import Unit


class PlannedBlock(msgspec.Struct, frozen=True):
    """One request."""

    fc: int
    start: int
    """0-based address."""
    count: int
    """Registers, or bits for functions 1 and 2."""
    wanted: int
    """Of these, how many belong to a point; the others are read because two requests would take longer."""
    points: int
    ms: float
    alarm: bool = False
    """Of alarm points: asked before what else is due."""


class PlannedRange(msgspec.Struct, frozen=True):
    """Addresses."""

    fc: int
    first: int
    last: int


class PlannedDevice(msgspec.Struct, frozen=True):
    """One poll of a device."""

    device: str
    unit: int
    profile: str
    every_s: float
    blocks: list[PlannedBlock]
    ms: float
    """The line's time for one poll."""
    request_ms: float
    """What a request to it costs beside its registers, the device's turnaround included."""
    register_ms: float
    singles: int
    """Requests that one for each register would take."""
    singles_ms: float
    refused: list[PlannedRange] = []
    """What the device once refused to read over, so that no request does again."""
    cuts: list[PlannedRange] = []
    """Where a block without holes was refused: no request reads both these neighbours."""
    measured: bool = False
    """Costs are those that the running agent has learned from its answers; else by the configuration."""


class PlannedBus(msgspec.Struct, frozen=True):
    """One bus (`edge modbus plan --json`)."""

    bus: str
    where: str
    line: str
    """`9600 8N1`, or `tcp`."""
    measured: bool
    """Every device's costs are what the running agent has learned from its answers."""
    devices: list[PlannedDevice]
    load_pct: float
    """Part of the line's time that polling takes while all is well."""
    singles_load_pct: float


def planned(bus: Bus, profiles: Mapping[str, Profile], memory: Path | None = None) -> PlannedBus:
    """The plan of one bus by its configuration, and the splits in the file `memory`. Raises profile.UnknownVariant."""
    line, splits = assumed(bus)[0], SplitMemory(memory, bus.where)
    devices = []
    for device in bus.devices:
        profile = profiles[device.profile]
        registers = profile.points(device.variant, device.alarm_points)
        limits = profile.request_limits()
        split = splits.recall(device.unit, made_for(registers, limits))
        devices.append(_device(device, registers, plan(registers, line, split.of(limits)), line, split))
    return _bus(bus, devices)


def running(bus: Bus, units: Iterable[Unit]) -> PlannedBus:
    """The plan as the units are polled now: blocks split where a device refused them, costs as learned."""
    return _bus(bus, [_running(unit) for unit in units])


def _running(unit: Unit) -> PlannedDevice:
    blocks, found = [step.block for step in unit.map.steps], unit.measured()
    device = _device(unit.device, unit.map.registers, blocks, found or unit.costs, unit.split)
    return msgspec.structs.replace(device, measured=found is not None)


def _bus(bus: Bus, devices: list[PlannedDevice]) -> PlannedBus:
    return PlannedBus(
        bus=bus.id,
        where=bus.where,
        line=f"{bus.baud} {bus.framing}" if bus.is_serial else f"tcp ({bus.framer})",
        measured=bool(devices) and all(each.measured for each in devices),
        devices=devices,
        load_pct=_load((each.ms, each.every_s) for each in devices),
        singles_load_pct=_load((each.singles_ms, each.every_s) for each in devices),
    )


def _device(
    device: Device, registers: Sequence[Register], blocks: Sequence[Block], line: Line, split: Split
) -> PlannedDevice:
    singles = one_each(registers)
    return PlannedDevice(
        device=device.id,
        unit=device.unit,
        profile=device.profile,
        every_s=device.every,
        blocks=[_block(block, line) for block in blocks],
        ms=_ms(cost(blocks, line)),
        request_ms=_ms(line.request),
        register_ms=_ms(line.register),
        singles=len(singles),
        singles_ms=_ms(cost(singles, line)),
        refused=[PlannedRange(fc, first, after - 1) for fc, first, after in sorted(split.forbidden)],
        cuts=[PlannedRange(fc, at - 1, at) for fc, at in sorted(split.barriers)],
    )


def one_each(registers: Sequence[Register]) -> list[Block]:
    """One request for each place that is read; several bits of one register are one place."""
    places = {(row.fc, row.addr, row.words): row for row in registers}
    return [Block(fc, addr, words, (row,)) for (fc, addr, words), row in sorted(places.items(), key=lambda p: p[0])]


def _block(block: Block, line: Line) -> PlannedBlock:
    missing = sum(end - first for first, end in block.holes())
    each = line.bits() if block.fc in BIT_FUNCTIONS else line.register
    return PlannedBlock(
        fc=block.fc,
        start=block.start,
        count=block.count,
        wanted=block.count - missing,
        points=len(block.registers),
        ms=_ms(line.request + block.count * each),
        alarm=block.registers[0].alarm,
    )


def _load(polls: Iterable[tuple[float, float]]) -> float:
    return round(sum(ms / 10 / every for ms, every in polls), 2)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
