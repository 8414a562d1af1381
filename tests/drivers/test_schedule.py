"""Whose turn it is on a bus."""

from __future__ import annotations

import time
from itertools import pairwise

import msgspec

from drivers.bus_line import assumed
from drivers.quarantine import LONGEST, LONGEST_FOR_COST, SAVED, SHARE, Cause
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
    """What quarantined units cost is used up: one that failed once since it answered is asked all the same."""
    dead, stumbled, well = _units(3)
    dead.quarantine.fail(Cause.silent)
    stumbled.quarantine.read()
    stumbled.quarantine.fail(Cause.silent)
    schedule = Schedule([dead, stumbled, well], lambda _unit: 0.0, NOW)
    assert schedule.turn(NOW) is dead
    schedule.charge(dead, SAVED + 1, costly=True)
    dead.advance(NOW, rests_until=schedule.rests_until(dead, NOW))
    assert dead.due >= NOW + 1 / SHARE
    assert schedule.turn(NOW) is stumbled
    schedule.charge(stumbled, SAVED + 1, costly=True)
    assert schedule.next_try(stumbled, NOW) > NOW
    assert schedule.turn(NOW) is well
    well.due = NOW + 60
    assert schedule.turn(NOW) is None
    assert NOW < schedule.wake <= NOW + 60
    assert schedule.turn(schedule.wake) in (dead, stumbled)


def test_classes_of_units_that_are_all_due() -> None:
    """Alarm before normal before slow, though the slow one has been due for longest."""
    line = bus("/dev/ttyS0", *(device(number, every=100.0) for number in (1, 2, 3)))
    told = [
        each.model_copy(update={"priority": name})
        for each, name in zip(line.devices, ("slow", "normal", "alarm"), strict=True)
    ]
    units = [Unit(line, each, WEATHER, Turnaround(*assumed(line)), SplitMemory(None, "")) for each in told]
    for at, unit in enumerate(units):
        unit.due = NOW - 3 + at
    schedule, order = Schedule(units, lambda _unit: 0.0, NOW), []
    while unit_now := schedule.turn(NOW):
        order.append(unit_now.device.priority)
        unit_now.due = NOW + 100
    assert order == ["alarm", "normal", "slow"]


class _Asked(msgspec.Struct):
    """The probes of one unit in quarantine, as they came and as they had been told."""

    every: float
    costs: float
    at: list[float] = msgspec.field(default_factory=list)
    told: float = 0.0
    wrong: float = 0.0
    """Seconds by which a probe came later than told, at most."""


def _probed(costs: dict[int, float], seconds: float) -> tuple[dict[int, _Asked], float]:
    """Probes of five units at 2 s, those in `costs` failing from the start, and what they cost; time is made up.

    What costs less than 0.1 s is a refusal.
    """
    line = bus("/dev/ttyS0", *(device(number, every=2.0) for number in range(1, 6)))
    measured = Turnaround(*assumed(line))
    units = [Unit(line, each, WEATHER, measured, SplitMemory(None, "")) for each in line.devices]
    now, spent, found = NOW, 0.0, {number: _Asked(2.0, cost) for number, cost in costs.items()}
    schedule = Schedule(units, lambda _unit: 0.0, now)
    for i, each in enumerate(units):
        each.start(now, 1 - i / 5)
    while now < NOW + seconds:
        unit = schedule.turn(now)
        if unit is None:
            now = max(schedule.wake, now + 0.001)
            continue
        if asked := found.get(unit.device.unit):
            asked.wrong = max(asked.wrong, now - (asked.told or now))
            asked.at.append(now)
            now, spent = now + asked.costs, spent + asked.costs
            schedule.charge(unit, asked.costs, costly=asked.costs > 0.1)
            unit.quarantine.fail(Cause.silent)
        else:
            now += 0.05
            unit.quarantine.read()
        unit.advance(now, rests_until=schedule.rests_until(unit, now))
        if asked:
            asked.told = schedule.next_try(unit, now)
            assert unit.state.next_try is not None
            assert abs(unit.state.next_try - time.time() - (asked.told - now)) < 1
    return found, spent


def test_units_in_quarantine_are_asked_when_it_was_told() -> None:
    """Late, garbled, another's answer, refused: each is asked when told and in time, the refusing one each minute."""
    costs = {2: 4.5, 3: 1.0, 4: 1.0, 5: 0.03}
    found, spent = _probed(costs, 3600.0)
    for asked in found.values():
        pauses = [after - before for before, after in pairwise(asked.at)]
        # Later than told by polls that are under way alone, or by all that are due just then.
        assert asked.wrong < sum(costs.values())
        bound = LONGEST if asked.costs < 0.1 else LONGEST_FOR_COST
        assert max(pauses) <= bound + asked.every + sum(costs.values())
    once = sum(costs.values())
    assert spent <= SAVED + once + 3600 * max(SHARE, once / LONGEST_FOR_COST)


def test_units_in_quarantine_where_nobody_is_well() -> None:
    """Nobody loses anything by them: only the minute bounds how rarely they are asked."""
    found, _ = _probed(dict.fromkeys(range(1, 6), 1.0), 600.0)
    for asked in found.values():
        assert max(after - before for before, after in pairwise(asked.at)) <= LONGEST + asked.every + 5
