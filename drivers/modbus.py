"""One Modbus bus, serial or TCP: one task that polls its devices in turn, one request under way at a time.

`readings` waits for the unit that is due (`_next`), asks its blocks (`_poll`) and yields one batch per due poll,
whatever became of it. What an answer is stands in `frames.py`, a unit in `unit.py`, the connection in `wire.py`.
Always holds: after an RTU request without a fitting answer the line is silent until no late answer can come, since
nothing in an RTU frame tells it from the next answer.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import time
import zlib
from collections.abc import AsyncGenerator, Mapping
from operator import attrgetter

import msgspec

from drivers.driver import Batch, Trouble
from drivers.frames import Guard, Outcome
from drivers.profile import Profile
from drivers.reading import Reason
from drivers.register import Line, serial_line, tcp_line
from drivers.regmap import Step
from drivers.settings import Bus
from drivers.unit import BEHIND_GATEWAY, ENOUGH, DeviceState, Failure, Unit
from drivers.wire import Wire

log = logging.getLogger("edge.modbus")
monotonic = time.monotonic

CONNECT = 3.0
"""Seconds to wait for a connection, at least; a longer time-out of the bus counts."""
RETRY_FIRST, RETRY_LAST = 0.5, 30.0
"""Seconds between two attempts to connect: doubled each time, up to a quarter more or less at random."""
SLICE = 2.0
"""Longest single sleep in seconds, so that the watchdog sees progress."""
EARLY = 0.001
"""Seconds by which a poll may be early: an event loop sleeps no finer."""
AWAY = 0.02
"""Seconds between two batches at least while there is no connection: nothing else would slow them down."""
UNANSWERED = 5
"""Requests in a row without a byte from a TCP endpoint after which the connection is made anew: it may be half open."""
LATEST = 30.0
"""Longest silence in seconds that a late answer can bring about."""
UNSETTLED = (Outcome.timeout, Outcome.garbled, Outcome.short, Outcome.lost)
"""Outcomes after which an answer may still be on its way."""
SETTLE = 0.05
"""Seconds without a byte after which a late answer is taken to be over; USB adapters hand bytes over every 16 ms."""
BABBLE = 1.0
"""Seconds for which a line that never falls silent is waited for; then it is asked all the same, and found garbled."""
WORDS = {
    Outcome.timeout: "device_silent",
    Outcome.garbled: "device_garbled",
    Outcome.short: "device_garbled",
    Outcome.exception: "device_exception",
}
OVERDUE = 64
"""Transactions that are remembered as timed out, so that their late answers are told from foreign ones."""


class _Away(msgspec.Struct, frozen=True):
    """Why there is no connection."""

    what: str
    """Key of the trouble's sentence."""
    error: str
    facts: Mapping[str, str]
    since: float
    """Unix seconds."""


class _Debt(msgspec.Struct, frozen=True):
    """A request whose answer may still come."""

    unit: Unit
    sent: float
    """`time.monotonic()`"""


class ModbusBus:
    """A bus and its units. Implements Driver."""

    def __init__(self, bus: Bus, profiles: Mapping[str, Profile]) -> None:
        """`profiles` by id, as the devices name them. Raises profile.UnknownVariant."""
        self.name = bus.id
        self._bus = bus
        self._rtu = bus.is_serial or bus.framer == "rtu"
        line, self._gap = _line(bus, self._rtu)
        self._units = [Unit(bus, device, profiles[device.profile], line) for device in bus.devices]
        self.devices: Mapping[str, DeviceState] = {unit.device.id: unit.state for unit in self._units}
        """Counters of every device."""
        self._wire: Wire | None = None
        self._away: _Away | None = None
        self._retry_at, self._retry_delay = 0.0, RETRY_FIRST
        self._proven = False
        """The connection has carried an answer, or at least outlived a request."""
        self._unanswered = 0
        self._overdue: dict[int, _Debt] = {}
        """By transaction (TCP)."""
        self._debt: _Debt | None = None
        """The last one (RTU)."""
        self._quiet_until = 0.0
        self._slowest = 0.0
        """Seconds that the longest late answer took (RTU)."""
        self._turned = monotonic()

    # --- what others see ---

    def progress(self) -> float:
        """See Driver."""
        return self._turned

    def troubles(self) -> list[Trouble]:
        """See Driver. While the bus is away its devices are not named: nothing is known of them."""
        if self._away:
            facts = {"bus": self.name, **self._away.facts}
            return [Trouble(self._away.what, self.name, self._away.since, facts, failed=True)]
        found = [self._trouble(unit, unit.failure) for unit in self._units if unit.failure]
        return sorted(found, key=lambda trouble: (not trouble.failed, trouble.since))

    def _trouble(self, unit: Unit, failure: Failure) -> Trouble:
        facts: dict[str, str | int | float] = {"device": unit.device.id, "bus": self.name, "unit": unit.device.unit}
        what = WORDS[failure.outcome]
        if failure.code in BEHIND_GATEWAY:
            what = WORDS[Outcome.timeout]
        elif failure.outcome is Outcome.exception:
            facts["code"] = failure.code
        return Trouble(what, unit.device.id, failure.since, facts, failed=not failure.partly)

    # --- the straight path ---

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """See Driver. Each due poll gives one batch; polls for which there was no time are folded into later ones."""
        self._start()
        try:
            while True:
                unit = await self._next()
                batch = await self._turn(unit)
                self._turned = monotonic()
                _heed_cancel()
                yield batch
        finally:
            self._drop()

    def _start(self) -> None:
        """All units are due at once, then spread over their periods; buses differ by their names."""
        now, share = monotonic(), zlib.crc32(self.name.encode()) / 2**32
        for i, unit in enumerate(self._units):
            unit.start(now, 1 - (share + i / len(self._units)) % 1)

    async def _next(self) -> Unit:
        """Wait for the unit that is due. A bus that is away is tried again meanwhile."""
        while True:
            now = monotonic()
            if self._wire and self._wire.lost:
                self._drop()  # closed by the other end while idle, as many do: made anew at the next poll
            unit = min(self._units, key=_due, default=None)
            if unit and unit.due <= now + EARLY:
                return unit
            wake = unit.due if unit else now + SLICE
            if self._away and not self._wire:
                if self._retry_at <= now:
                    await self._connect()
                    continue
                wake = min(wake, self._retry_at)
            await self._sleep(wake - now)

    async def _turn(self, unit: Unit) -> Batch:
        """One due poll."""
        if not self._wire and monotonic() >= self._retry_at:
            await self._connect()
        if not self._wire:
            await self._sleep(AWAY)
            batch = unit.unread(Reason.not_connected)
            unit.advance(monotonic(), Reason.not_connected)
            return batch
        await self._poll(unit, self._wire)
        now = monotonic()
        batch = unit.report(now)
        unit.advance(now)
        return batch

    async def _poll(self, unit: Unit, wire: Wire) -> None:
        """Ask the unit's blocks; the first that gets no answer ends the poll where going on would cost the line."""
        for step in unit.order:
            outcome = await self._ask(unit, step, wire)
            if outcome is not Outcome.ok and (wire.lost or unit.costly(outcome, wire.guard.code)):
                unit.give_up(step)
                return

    async def _ask(self, unit: Unit, step: Step, wire: Wire) -> Outcome:
        """One request and what became of it."""
        if self._rtu:
            await self._silence(wire.guard)
        sent = self._turned = monotonic()
        outcome = await wire.ask(step.request, step.patience)
        unit.heard(step, outcome, wire.guard, monotonic() - sent)
        if outcome is Outcome.ok and self._proven:
            self._unanswered = 0
        else:
            self._aftermath(unit, step, outcome, sent)
        return outcome

    # --- what follows an answer that did not come ---

    def _aftermath(self, unit: Unit, step: Step, outcome: Outcome, sent: float) -> None:
        """Remember what may still come, and whether the connection is of any use."""
        if self._rtu and outcome in UNSETTLED:
            self._hold(unit, step, outcome, sent)
        elif outcome is Outcome.timeout and self._wire:
            self._overdue[self._wire.guard.transaction] = _Debt(unit, sent)
            if len(self._overdue) > OVERDUE:
                del self._overdue[next(iter(self._overdue))]
        if outcome is Outcome.lost:
            self._went_away(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
            return
        self._prove()
        self._unanswered = self._unanswered + 1 if outcome is Outcome.timeout else 0
        half_open = self._unanswered >= UNANSWERED and not self._bus.is_serial
        if self._wire and (self._wire.guard.broken or half_open):
            self._drop()

    def _hold(self, unit: Unit, step: Step, outcome: Outcome, sent: float) -> None:
        """RTU: nobody is asked until no late answer can come any more.

        A unit that has long been silent holds only itself up: if it does answer, its frame is not taken for another
        unit's, and the line is too dear to wait for it each time.
        """
        longest = max(3.5 * step.patience, min(1.5 * self._slowest, LATEST))
        until = monotonic() + longest
        self._debt = _Debt(unit, sent)
        if outcome is Outcome.timeout and unit.silent >= ENOUGH and not unit.tardy:
            unit.rest_until = until
        else:
            self._quiet_until = until

    async def _silence(self, guard: Guard) -> None:
        """RTU: wait until the line may carry a request; bytes that come meanwhile are late and thrown away."""
        limit = max(monotonic(), self._quiet_until) + BABBLE
        while (now := monotonic()) < limit:
            pause = SETTLE if guard.stray else self._gap
            heard = guard.heard_at
            wait = max(self._quiet_until, heard + pause) - now
            if wait > 0:
                await self._sleep(wait)
                continue
            # Bytes may lie in the kernel that the loop has not come to read: let it, before they count as an answer.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if guard.heard_at == heard:
                break
        if guard.stray and self._debt:
            self._debt.unit.came_late()
            self._slowest = max(self._slowest, guard.heard_at - self._debt.sent)
        guard.stray, self._debt = False, None

    def _late(self, number: int) -> bool:
        """A whole answer came that nobody waits for: by its transaction on TCP, its unit on RTU."""
        if self._rtu:
            unit = next((each for each in self._units if each.device.unit == number), None)
        else:
            debt = self._overdue.pop(number, None)
            unit = debt.unit if debt else None
        if unit:
            unit.came_late()
        return unit is not None

    # --- the connection ---

    async def _connect(self) -> None:
        wire = Wire(self._bus, self._late)
        try:
            await wire.open(max(CONNECT, self._bus.timeout))
        except OSError as error:
            wire.close()
            self._went_away(error)
            return
        self._wire, self._proven, self._unanswered = wire, False, 0
        self._overdue.clear()

    def _prove(self) -> None:
        """The connection has outlived a request: the bus is there."""
        self._proven, self._retry_delay = True, RETRY_FIRST
        if self._away:
            log.warning("bus back bus=%s where=%s", self.name, self._bus.where)
            self._away = None

    def _went_away(self, error: OSError) -> None:
        """No connection, or none any more: say it once, and try again after a while."""
        self._drop()
        away = _why(self._bus, error)
        if not self._away:
            log.warning("bus unreachable bus=%s where=%s error=%s", self.name, self._bus.where, away.error)
        self._away = msgspec.structs.replace(away, since=self._away.since) if self._away else away
        self._retry_at = monotonic() + self._retry_delay * random.uniform(0.75, 1.25)
        self._retry_delay = min(2 * self._retry_delay, RETRY_LAST)

    def _drop(self) -> None:
        """Close the connection; the next poll makes a new one."""
        if self._wire:
            self._wire.close()
        self._wire = None

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not for long at once: `progress` must go on."""
        await asyncio.sleep(min(max(seconds, 0), SLICE))
        self._turned = monotonic()


_due = attrgetter("due")


def _heed_cancel() -> None:
    """Raise where the task was cancelled: asyncio.wait_for of Python 3.11, which pymodbus awaits each answer with,
    swallows a cancellation that comes together with the answer (python/cpython#86296)."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def _line(bus: Bus, rtu: bool) -> tuple[Line, float]:
    """What a request costs, and the silence in seconds that must come before it (a gateway keeps it by itself)."""
    known = {} if bus.turnaround is None else {"turnaround": bus.turnaround}
    if not rtu:
        return tcp_line(*known.values()), 0.0
    line = serial_line(bus.baud, bus.framing, **known)
    silence = 3.5 * line.register / 2 if bus.baud <= 19200 else 0.00175
    return line, silence if bus.is_serial else 0.0


def _why(bus: Bus, error: OSError) -> _Away:
    """The trouble that an error at opening is."""
    now, number = time.time(), error.errno or 0
    text = os.strerror(number) if number > 0 else error.strerror or str(error) or os.strerror(errno.ETIMEDOUT)
    if not bus.is_serial:
        return _Away("endpoint_unreachable", text, {"where": bus.where, "error": text}, now)
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO, errno.ECONNRESET):
        return _Away("port_missing", text, {"port": bus.where}, now)
    if number in (errno.EAGAIN, errno.EBUSY):
        return _Away("port_busy", text, {"port": bus.where}, now)
    return _Away("port_refused", text, {"port": bus.where, "error": text}, now)
