"""Whose turn it is on a bus."""

from __future__ import annotations

from drivers.bus_line import assumed
from drivers.quarantine import SAVED, Cause
from drivers.schedule import Schedule
from drivers.splits import SplitMemory
from drivers.turnaround import Turnaround
from drivers.unit import Unit
from tests.drivers.polling import WEATHER, bus, device

NOW = 1000.0


def _units(count: int) -> list[Unit]:
    """Units that are all due, the first for longest."""
    line = bus("/dev/ttyS0", *(device(unit) for unit in range(1, count + 1)))
    measured = Turnaround(*assumed(line))
    units = [Unit(line, each, WEATHER, measured, SplitMemory(None, "")) for each in line.devices]
    for at, unit in enumerate(units):
        unit.due = NOW - count + at
    return units


def test_dead_units_use_up_nothing_of_one_that_stumbled() -> None:
    """What quarantined units cost is used up: they wait, and one that failed once since it answered does not."""
    dead, stumbled, well = _units(3)
    dead.quarantine.fail(Cause.silent)
    stumbled.quarantine.read()
    stumbled.quarantine.fail(Cause.silent)
    schedule = Schedule([dead, stumbled, well], lambda _unit: 0.0, NOW)
    assert schedule.turn(NOW) is dead
    schedule.charge(dead, SAVED + 1)
    assert schedule.turn(NOW) is stumbled
    schedule.charge(stumbled, SAVED + 1)
    assert schedule.turn(NOW) is well
    well.due = NOW + 60
    assert schedule.turn(NOW) is None
    assert NOW < schedule.wake <= NOW + 60
    assert schedule.turn(schedule.wake) is dead
