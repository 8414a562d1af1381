"""Whose turn it is on a bus: of the units that are due, alarms first, and failing ones within their share. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from drivers.quarantine import LONGEST_FOR_COST, Losses

if TYPE_CHECKING:
    from drivers.unit import Unit

EARLY = 0.001
"""Seconds by which a poll may be early: an event loop sleeps no finer."""
URGENCY = {"alarm": 0, "normal": 1, "slow": 2}

_due = attrgetter("due")


class Schedule:
    """The units of one bus."""

    def __init__(self, units: Sequence[Unit], rests_until: Callable[[Unit], float], now: float) -> None:
        """`rests_until`: before when a unit is not asked. `now`: `time.monotonic()`, here and everywhere."""
        self._units, self._rests_until = units, rests_until
        self._alarms = [unit for unit in units if unit.device.priority == "alarm" or unit.map.apart]
        self._orderly = len({unit.device.priority for unit in units}) < 2 and not any(u.map.apart for u in units)
        self.has_alarms = bool(self._alarms)
        self._losses = {in_quarantine: Losses(now) for in_quarantine in (False, True)}
        """Apart, so that those long dead do not use up what one needs that stumbled."""
        self._costly: set[str] = set()
        """Devices whose last poll held the line for more than its own bytes."""
        self.wake = 0.0
        """When to look again, where it was nobody's turn."""

    def turn(self, now: float) -> Unit | None:
        """The unit to poll now."""
        first = self._units[0] if len(self._units) == 1 else min(self._units, key=_due, default=None)
        if first is None or first.due > now + EARLY:
            self.wake = first.due if first else now + 60.0
            return None
        rests = self._rests_until(first) > now + EARLY
        if not rests and (len(self._units) == 1 or (not first.quarantine.shaky and self._orderly)):
            return first
        due = [unit for unit in self._units if self._ready(unit) <= now + EARLY]
        if not due:
            self.wake = min(map(self._ready, self._units))
            return None
        allowed = self._allowed(due, now)
        return min(allowed, key=lambda unit: _rank(unit, now), default=None)

    def charge(self, unit: Unit, seconds: float, costly: bool) -> None:
        """A request to the unit failed and has held the line for so long; `costly`: others had to wait for nothing."""
        self._losses[unit.quarantine.begun].charge(seconds)
        if costly:
            self._costly.add(unit.device.id)

    def rests_until(self, unit: Unit, now: float) -> float:
        """Its poll is over: before when it is not polled again, for what it and others in quarantine have cost.

        Settled once, here, so that nothing but a poll under way comes between the time told for it and the poll.
        """
        costly = unit.device.id in self._costly
        self._costly.discard(unit.device.id)
        alone = all(other.quarantine.shaky for other in self._units)
        if not unit.quarantine.begun or not costly or alone:
            return 0.0
        return min(self._losses[True].free_at(now), now + LONGEST_FOR_COST)

    def next_try(self, unit: Unit, now: float) -> float:
        """When it will be asked, as far as can be told."""
        stumbled = unit.quarantine.shaky and not unit.quarantine.begun
        free = self._losses[False].free_at(now) if stumbled else now
        return max(self._ready(unit), free)

    def alarm(self, now: float, busy: Unit) -> Unit | None:
        """Whose alarm points may be asked between two blocks of `busy`; nobody's where it is all alarms itself."""
        if not self._alarms or busy.device.priority == "alarm":
            return None
        return next((unit for unit in self._alarms if self._may_interrupt(unit, now)), None)

    def _may_interrupt(self, unit: Unit, now: float) -> bool:
        return urgent(unit, now) and not unit.quarantine.shaky and self._rests_until(unit) <= now

    def _ready(self, unit: Unit) -> float:
        return max(unit.due, self._rests_until(unit))

    def patience(self, unit: Unit) -> float:
        """Seconds that an answer may take without making a healthy unit's poll later than by its period."""
        others = [other.device.every for other in self._units if other is not unit and not other.quarantine.begun]
        return max(0.8 * min(others), 0.05) if others else float("inf")

    def _allowed(self, due: list[Unit], now: float) -> list[Unit]:
        """Those due; units that stumbled only while what they cost is within bounds. A quarantine has its own times."""
        free = self._losses[False].free_at(now)
        bound = [unit for unit in self._units if unit.quarantine.shaky and not unit.quarantine.begun]
        if free <= now or all(unit.quarantine.shaky for unit in self._units):
            return due
        self.wake = min(free, *(self._ready(unit) for unit in self._units if unit not in bound), now + 60.0)
        return [unit for unit in due if unit not in bound]


def _rank(unit: Unit, now: float) -> tuple[int, float]:
    """The class first, and the longest due within it; each period overdue makes up for a class, so none starves."""
    if unit.apart.due <= now + EARLY:
        return URGENCY["alarm"] - _overdue(unit, unit.apart.due, now), unit.apart.due
    return URGENCY[unit.device.priority] - _overdue(unit, unit.due, now), unit.due


def _overdue(unit: Unit, due: float, now: float) -> int:
    return int(max(now - due, 0.0) / unit.device.every)


def urgent(unit: Unit, now: float) -> bool:
    """Its turn, were it to come now, would be for alarm points."""
    return unit.apart.due <= now or (unit.device.priority == "alarm" and unit.due <= now)
