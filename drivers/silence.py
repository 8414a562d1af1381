"""When an RTU line may carry the next request: after a time-out not before no late answer can come. No I/O.

Nothing in an RTU frame tells the late answer to one request from the answer to the next, except its unit. So after an
answer that did not come the whole line is held, for as long as was waited, and the unit rests for longer: a time-out
that is learned says what is usual, not what is possible. A unit that has long been silent, or that nobody polls, holds
only itself: should it answer after all, its frame is not taken for another unit's, and the line is too dear to wait.
"""

from __future__ import annotations

import time

import msgspec

from drivers.frames import LONGEST, Guard, RtuGuard

monotonic = time.monotonic

TIMES_PATIENCE, TIMES_SLOWEST = 3.5, 1.5
"""How long the line is held: so many time-outs, and so many times the longest late answer."""
LATEST = 30.0
"""Longest silence in seconds that a late answer can bring about."""
SETTLE = 0.05
"""Seconds without a byte after which a late answer is taken to be over; USB adapters hand bytes over every 16 ms."""
BABBLE = 1.0
"""Seconds for which a line that never falls silent is waited for; then it is asked all the same, and found garbled."""


class Debt(msgspec.Struct, frozen=True):
    """A request whose answer may still come."""

    number: int
    """The unit's."""
    sent: float
    """`time.monotonic()`"""
    others_since: bool = False
    """Others were asked before its answer came: the line was not held for it."""

    @property
    def age(self) -> float:
        """Seconds since the request."""
        return monotonic() - self.sent


class Silence:
    """One line."""

    def __init__(self, gap: float) -> None:
        """`gap`: seconds between two frames at least."""
        self.gap = gap
        self._debt: Debt | None = None
        """The last one."""
        self._debts: dict[int, Debt] = {}
        """The last one of each unit."""
        self._until = 0.0
        self._slowest = 0.0
        """Seconds that the longest late answer took."""
        self._strays = 0
        """Bytes that nobody had asked for, up to the last time that the line was free."""
        self._rest: dict[int, float] = {}
        """Until when a unit is not asked, by number."""
        self._slowest_of: dict[int, float] = {}
        """Seconds that the longest late answer of a unit took."""

    def hold(self, debt: Debt, patience: float, whole_line: bool, allowed: float) -> float:
        """The request was waited for `patience` seconds in vain. How many seconds nobody may be asked.

        `allowed`: seconds that its answer may take by the configuration; the unit itself rests accordingly.
        """
        self._debt = self._debts[debt.number] = debt
        now = monotonic()
        seconds = max(TIMES_PATIENCE * patience, min(TIMES_SLOWEST * self._slowest, LATEST))
        slowest = min(TIMES_SLOWEST * self._slowest_of.get(debt.number, 0.0), LATEST)
        rest = max(now + seconds, debt.sent + (1 + TIMES_PATIENCE) * allowed, debt.sent + allowed + slowest)
        self._rest[debt.number] = max(self._rest.get(debt.number, 0.0), rest)
        if not whole_line:
            return 0.0
        self._until = now + seconds
        return seconds

    def pause(self, debt: Debt, seconds: float) -> None:
        """Listen for so long before the next request: the answer that came may not have been the last."""
        self._debt = debt
        self._until = max(self._until, monotonic() + seconds)

    def settle(self, number: int) -> Debt | None:
        """A whole answer of the unit came while another was asked: the request that it is late for."""
        if debt := self._debts.pop(number, None):
            self._took(debt, monotonic())
        return debt

    def rests_until(self, number: int) -> float:
        """`time.monotonic()` before which the unit is not asked; in the past: it may be."""
        return self._rest.get(number, 0.0)

    def limit(self) -> float:
        """When the line is asked at the latest, however much it babbles."""
        return max(monotonic(), self._until) + BABBLE

    def wait(self, guard: Guard) -> float:
        """Seconds until the next request may go out, as things are."""
        pause = SETTLE if guard.stray else self.gap
        return max(self._until, guard.heard_at + pause) - monotonic()

    def over(self, guard: Guard) -> Debt | None:
        """The line is free. The request that was answered late, if any; more bytes than an answer has are noise."""
        last, self._debt = self._debt, None
        stray, guard.stray = guard.stray, False
        heard, self._strays = guard.strays - self._strays, guard.strays
        if not stray or heard > LONGEST:
            return None
        debt = last or self._named(guard)
        if debt and debt is last:
            self._slowest = max(self._slowest, guard.heard_at - debt.sent)
        if not debt:
            return None
        self._took(debt, guard.heard_at)
        return debt

    def _named(self, guard: Guard) -> Debt | None:
        """The debt that a whole stray frame names: others may have been asked since."""
        units = guard.stray_units() if isinstance(guard, RtuGuard) else ()
        found = next((self._debts.pop(number) for number in units if number in self._debts), None)
        return found and msgspec.structs.replace(found, others_since=True)

    def _took(self, debt: Debt, heard_at: float) -> None:
        self._slowest_of[debt.number] = max(self._slowest_of.get(debt.number, 0.0), heard_at - debt.sent)
