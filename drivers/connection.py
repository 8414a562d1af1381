"""The way of one bus to its units: made anew for ever, one request at a time, each with what follows from it.

`ask` is the only way onto the line, for polls and guests alike: it keeps the pauses, tells late answers from those that
are waited for, and decides after a failure whether the connection is still of any use. Whom to ask is not its matter.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import time
from collections.abc import Callable

from drivers.away import Away, why
from drivers.frames import Guard, Outcome, Request
from drivers.guests import Taps
from drivers.settings import Bus
from drivers.silence import Debt, Silence
from drivers.wire import Wire

log = logging.getLogger("edge.modbus")
monotonic = time.monotonic

CONNECT = 3.0
"""Seconds to wait for a connection, at least; a longer time-out of the bus counts."""
RETRY_FIRST, RETRY_LAST = 0.5, 30.0
"""Seconds between two attempts to connect: doubled each time, up to a quarter more or less at random."""
SLICE = 2.0
"""Longest single sleep in seconds, so that the watchdog sees progress."""
FINE = 0.01
"""Seconds below which a pause of the line is kept exactly."""
UNANSWERED, LONG_SILENT = 5, 10.0
"""Requests in a row without a byte from a TCP endpoint after which the connection is made anew: it may be half open.
Two are enough where nothing has come for so many seconds."""
ALIVE = 30.0
"""Seconds for which an endpoint that closes the connection still counts as one that closes it for a single unit."""
UNSETTLED = (Outcome.timeout, Outcome.garbled, Outcome.short, Outcome.lost)
"""Outcomes after which an answer may still be on its way."""
BABBLES = 3
"""Requests in a row for which the line did not fall silent, after which people are told."""
OVERDUE = 64
"""Transactions that are remembered as timed out, so that their late answers are told from foreign ones."""

Tuned = tuple[int, str]
"""Baud and framing."""


class Connection:
    """One bus's port or endpoint."""

    def __init__(self, bus: Bus, gap: float, late: Callable[[Debt], None]) -> None:
        """`gap`: silence in seconds before a request (RTU). `late` is told of each answer that came too late."""
        self.taps = Taps()
        self.away: Away | None = None
        """Why there is no connection; None: there is one, or none was tried yet."""
        self.retry_at = 0.0
        """`time.monotonic()` of the next attempt, while it is away."""
        self.turned = monotonic()
        """The last sign of life."""
        self.guard: Guard | None = None
        """Of the last request."""
        self.seconds = self.held = 0.0
        """What the last request took, and for how long the line is now held because of it."""
        self.busy = 0.0
        """Seconds that requests have held the line, all in all."""
        self.blameless = False
        """The last request failed for the bus's sake, not for the unit's."""
        self.rtu = bus.is_serial or bus.framer == "rtu"
        self._bus, self._tell_late = bus, late
        self._polled = {device.unit for device in bus.devices}
        self._pauses = {device.unit: device.pause for device in bus.devices if device.pause}
        self._free_at: dict[int, float] = {}
        """`time.monotonic()` from which a device that needs a pause can take a request, by unit."""
        self.babbles_since: float | None = None
        """Unix seconds from when the line has not fallen silent before a request; None: it does."""
        self._babbled = 0
        """Requests in a row before which it did not."""
        self._strays = 0
        """Bytes that came when nobody was asked, on connections before this one."""
        self._tuned = False
        """The port has a guest's settings."""
        self._wire: Wire | None = None
        self._retry_delay = RETRY_FIRST
        self._proven = False
        """The connection has carried an answer, or at least outlived a request."""
        self._answered_at = -ALIVE
        self._unanswered = 0
        self._overdue: dict[int, Debt] = {}
        """By transaction (TCP)."""
        self._silence = Silence(gap)
        """RTU only."""
        self.doubts: set[int] = set()
        """Units of which an answer was missed."""
        self._roused: asyncio.Future[None] | None = None
        """Ends the sleep under way."""

    # --- one request ---

    async def ask(self, request: Request, patience: float, trusted: bool, shaky: bool, guest: bool = False) -> Outcome:
        """Send `request` and wait `patience` seconds; `guard` has what came. There must be a connection.

        `trusted`: the unit has answered of late, so on RTU the line is held for it.
        `shaky`: it failed not long ago, unlike others.

        A unit's first answer after a missed one could be that. It is thrown away; then the line is listened to for as
        long as an answer takes, for its own may be yet to come; and the same is asked once more.
        """
        outcome = await self.once(request, patience, trusted, shaky, guest)
        if self.doubts and outcome is Outcome.ok and request.dev_id in self.doubts and request.size:
            self.doubts.discard(request.dev_id)
            if self.rtu:
                self._silence.pause(Debt(request.dev_id, monotonic()), patience)
            outcome = await self.once(request, patience, trusted, shaky, guest)
        return outcome

    async def once(self, request: Request, patience: float, trusted: bool, shaky: bool, guest: bool = False) -> Outcome:
        """As `ask`, where no unit is doubted."""
        wire = self._wire
        if wire is None:
            return Outcome.lost
        guard = self.guard = wire.guard
        if request.dev_id in self._pauses:  # mostly over: a unit that rests does not get its turn
            await self.sleep(self._free_at.get(request.dev_id, 0.0) - monotonic(), rousable=False)
        if self.rtu:
            await self._wait_for_line(guard)
        sent = self.turned = monotonic()
        outcome = await wire.ask(request, patience)
        now = monotonic()
        self.seconds, self.held, self.blameless = now - sent, 0.0, False
        self.busy += self.seconds
        if request.dev_id in self._pauses:
            self._free_at[request.dev_id] = now + self._pauses[request.dev_id]
        if self.taps:
            self.taps.transaction(guard, outcome, sent, now, guest)
        if outcome is Outcome.ok:
            self._answered_at, self._unanswered = now, 0
            if self._proven:
                return outcome
        self._aftermath(Debt(request.dev_id, sent), patience, outcome, trusted, shaky)
        return outcome

    async def ask_tuned(self, request: Request, patience: float, tuned: Tuned) -> Outcome:
        """The same for a guest with other settings of the serial port. Raises OSError where the port refuses them."""
        wire = self._wire
        if wire is None:
            return Outcome.lost
        await self._wait_for_line(wire.guard)  # before the settings change: a late answer comes with the old ones
        try:
            wire.tune(*tuned)
            self._tuned = True
            return await self.ask(request, patience, trusted=False, shaky=True, guest=True)
        finally:
            self._tuned = False
            if not wire.lost:
                wire.tune(self._bus.baud, self._bus.framing)

    @property
    def strays(self) -> int:
        """Bytes that came when nobody was asked, since the start (RTU)."""
        return self._strays + (self._wire.guard.strays if self._wire else 0)

    def rests_until(self, number: int) -> float:
        """`time.monotonic()` before which the unit is not asked: it needs a pause, or a late answer may come."""
        return max(self._silence.rests_until(number), self._free_at.get(number, 0.0))

    # --- what follows an answer that did not come ---

    def _aftermath(self, debt: Debt, patience: float, outcome: Outcome, trusted: bool, shaky: bool) -> None:
        """Remember what may still come, and whether the connection is of any use."""
        if outcome in UNSETTLED:
            self.doubts.add(debt.number)
        if self.rtu and outcome in UNSETTLED:
            self.held = self._silence.hold(debt, patience, trusted, self._allowed(debt.number, patience, outcome))
            self.busy += self.held
        elif outcome is Outcome.timeout and self.guard:
            self._overdue[self.guard.transaction] = debt
            if len(self._overdue) > OVERDUE:
                del self._overdue[next(iter(self._overdue))]
        if outcome is Outcome.lost:
            self._lost(shaky)
            return
        self._prove()
        self._unanswered = self._unanswered + 1 if outcome is Outcome.timeout else 0
        if self._wire and (self._wire.guard.broken or self._half_open()):
            self.drop()

    def _allowed(self, number: int, patience: float, outcome: Outcome) -> float:
        """Seconds that the answer may still take; what was waited for where none can come that does harm.

        So where it did come, though spoilt; where nobody polls the unit, so that no value is kept; and where the port
        had a guest's settings: it would come with them, and be no frame.
        """
        came = self.guard is not None and (outcome is Outcome.short or self.guard.spoilt)
        harmless = came or number not in self._polled or self._tuned
        return patience if harmless else max(patience, self._bus.timeout)

    def _half_open(self) -> bool:
        enough = 2 if monotonic() > self._answered_at + LONG_SILENT else UNANSWERED
        return self._unanswered >= enough and not self._bus.is_serial

    def _lost(self, shaky: bool) -> None:
        """The connection ended instead of an answer. Some gateways do that for a unit that is dead.

        So where all was well till now another connection is made at once, and it is held against the unit alone.
        """
        recent = monotonic() < self._answered_at + ALIVE
        if ((recent and self._proven) or shaky) and not self._bus.is_serial:
            self.drop()
            return
        self.blameless = True
        self.went_away(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    async def _wait_for_line(self, guard: Guard) -> None:
        """RTU: wait until the line may carry a request; bytes that come meanwhile are late and thrown away."""
        limit = self._silence.limit()
        while monotonic() < limit:
            heard = guard.heard_at
            if (wait := self._silence.wait(guard)) > 0:
                # A timer of uvloop is exact to a millisecond, at 115,200 baud as much as an answer: the rest is waited
                # for awake, with the loop going round.
                await self.sleep(wait if wait > FINE else int(wait * 1000) / 1000, rousable=False)
                continue
            # Bytes may lie in the kernel that the loop has not come to read: let it, before they count as an answer.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if guard.heard_at == heard:
                self._babbled, self.babbles_since = 0, None
                break
        else:
            self._babbled += 1
            if self._babbled == BABBLES:
                self.babbles_since = time.time()
        if guard.stray and self.taps:
            self.taps.stray(guard)
        if debt := self._silence.over(guard):
            self._tell_late(debt)

    def _late(self, number: int) -> bool:
        """A whole answer came that nobody waits for: by its transaction on TCP, its unit on RTU."""
        debt = self._silence.settle(number) if self.rtu else self._overdue.pop(number, None)
        if debt:
            self._tell_late(debt)
        return debt is not None

    # --- the connection ---

    @property
    def is_open(self) -> bool:
        """There is a connection, as far as is known."""
        if self._wire and self._wire.lost:
            self.drop()  # closed by the other end while idle, as many do: made anew at the next poll
        return self._wire is not None

    async def make(self) -> bool:
        """Connect, unless there is a connection, or it is too early to try again. True: there is one now."""
        if not self._wire and monotonic() >= self.retry_at:
            await self._connect()
        return self._wire is not None

    async def _connect(self) -> None:
        wire = Wire(self._bus, self._late)
        try:
            await wire.open(max(CONNECT, self._bus.timeout))
        except OSError as error:
            wire.close()
            self.went_away(error)
            return
        _heed_cancel(wire)
        self._wire, self._proven, self._unanswered = wire, False, 0
        self._overdue.clear()

    def _prove(self) -> None:
        """The connection has outlived a request: the bus is there."""
        self._proven, self._retry_delay = True, RETRY_FIRST
        if self.away:
            log.warning("bus back bus=%s where=%s", self._bus.id, self._bus.where)
            self.away = None

    def went_away(self, error: OSError) -> None:
        """No connection, or none any more: say it once, and try again after a while."""
        self.drop()
        away = why(self._bus, error)
        if not self.away:
            log.warning("bus unreachable bus=%s where=%s error=%s", self._bus.id, self._bus.where, away.error)
        self.away = away.as_of(self.away.since) if self.away else away
        self.retry_at = monotonic() + self._retry_delay * random.uniform(0.75, 1.25)
        self._retry_delay = min(2 * self._retry_delay, RETRY_LAST)

    def drop(self) -> None:
        """Close the connection; the next poll makes a new one."""
        if self._wire:
            self._strays += self._wire.guard.strays
            self._wire.close()
        self._wire, self._babbled, self.babbles_since = None, 0, None

    # --- time ---

    async def sleep(self, seconds: float, rousable: bool = True) -> None:
        """Sleep, but not for long at once: the watchdog wants to see life. `rouse` ends it where it may."""
        limited = min(max(seconds, 0), SLICE)
        if rousable:
            loop = asyncio.get_running_loop()
            self._roused = loop.create_future()
            timer = loop.call_later(limited, self.rouse)
            try:
                await self._roused
            finally:
                timer.cancel()
                self._roused = None
        else:
            await asyncio.sleep(limited)
        self.turned = monotonic()

    def rouse(self) -> None:
        """End the sleep under way."""
        if self._roused and not self._roused.done():
            self._roused.set_result(None)


def _heed_cancel(wire: Wire) -> None:
    """Raise where the task was cancelled: asyncio.wait_for of Python 3.11 swallows a cancellation that comes together
    with the connection (python/cpython#86296)."""
    task = asyncio.current_task()
    if task and task.cancelling():
        wire.close()
        raise asyncio.CancelledError
