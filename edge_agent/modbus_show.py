"""What the Modbus tools print for people. No I/O."""

from __future__ import annotations

from drivers.bus_plan import PlannedBlock, PlannedBus, PlannedDevice, PlannedRange
from edge_agent.show import painted, table
from edge_agent.text import Text

FULL = 80.0
"""Load in % above which a line has no room for a time-out or a second look."""


def plan(bus: PlannedBus, text: Text) -> str:
    """One bus: a line for itself, a table of its requests, and the load against one request for each register."""
    lines = [text("modbus.plan.bus", bus=bus.bus, where=bus.where, line=bus.line)]
    some = any(device.measured for device in bus.devices)
    known = "measured" if bus.measured else "partly" if some else "assumed"
    lines.append("  " + text(f"modbus.plan.{known}"))
    if not bus.devices:
        return "\n".join([*lines, "  " + text("modbus.plan.no_devices")])
    names = ("device", "unit", "every", "request", "registers", "wanted", "ms", "costs")
    head = [text(f"modbus.plan.{name}") for name in names]
    rows = [row for device in bus.devices for row in _rows(device, text, some)]
    lines += ["  " + line for line in table(head, rows, right=(1, 2, 4, 5, 6, 7)).splitlines()]
    lines += ["  " + line for device in bus.devices for line in _splits(device, text)]
    return "\n".join([*lines, *("  " + line for line in _loads(bus, text))])


def _splits(device: PlannedDevice, text: Text) -> list[str]:
    """What the device has refused, so that its requests go around it."""
    lines = []
    for what, places in (("refused", device.refused), ("cuts", device.cuts)):
        if places:
            names = ", ".join(f"fc{each.fc} {_span(each)}" for each in places)
            lines.append(text(f"modbus.plan.{what}", device=device.device, places=names))
    return lines


def _span(each: PlannedRange) -> str:
    return f"{each.first}..{each.last}" if each.last > each.first else str(each.first)


def _rows(device: PlannedDevice, text: Text, some: bool) -> list[list[str]]:
    """`some`: of the bus's devices are measured, so those that are not are marked."""
    first = [device.device, str(device.unit), f"{text.number(device.every_s)} s"]
    costs = f"{text.number(device.request_ms, 1)} + {text.number(device.register_ms, 2)}"
    costs = f"~ {costs}" if some and not device.measured else costs
    return [
        [
            *(first if i == 0 else ["", "", ""]),
            request(block),
            str(block.count),
            str(block.wanted),
            _ms(block.ms, text),
            "" if i else costs,
        ]
        for i, block in enumerate(device.blocks)
    ]


def request(block: PlannedBlock) -> str:
    """`fc3 500..515`, addresses as they go on the wire; `!` marks alarm points."""
    last, mark = block.start + block.count - 1, "!" if block.alarm else ""
    return f"fc{block.fc} {block.start}..{last}{mark}" if last > block.start else f"fc{block.fc} {block.start}{mark}"


def _loads(bus: PlannedBus, text: Text) -> list[str]:
    requests = sum(len(device.blocks) for device in bus.devices)
    singles = sum(device.singles for device in bus.devices)
    state = "bad" if bus.load_pct > 100 else "uncertain" if bus.load_pct > FULL else "good"
    ours = text("modbus.plan.load", requests=requests, load=text.number(bus.load_pct, 1))
    theirs = {"requests": singles, "load": text.number(bus.singles_load_pct, 1)}
    ratio = bus.singles_load_pct / bus.load_pct if bus.load_pct else 1.0
    lines = [painted(ours, state), text("modbus.plan.singles", **theirs, ratio=text.number(ratio, 1))]
    if bus.load_pct > FULL:
        lines.append(text("modbus.plan.overloaded" if bus.load_pct > 100 else "modbus.plan.full"))
    return lines


def _ms(ms: float, text: Text) -> str:
    return text.number(ms, 1)
