"""One Modbus bus, serial or TCP: one task that polls its devices in turn, one request under way at a time.

`readings` waits for the unit that is due (`_next`), asks its blocks (`_poll`) and yields one batch per due poll,
whatever became of it. Tools are its guests: `guest` asks one transaction in the gaps of polling, `tap` listens in
(`guests.py` tells how). What an answer is stands in `frames.py`, a unit in `unit.py`, the connection in `wire.py`,
the pauses of an RTU line in `silence.py`.
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
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from operator import attrgetter

import msgspec

from drivers.away import Away, why
from drivers.driver import Batch, Trouble
from drivers.frames import Guard, Outcome, Request
from drivers.guests import LONGEST, Answer, BusAway, Frame, Guest, Guests, Taps
from drivers.profile import Profile
from drivers.reading import Reason
from drivers.register import Line, serial_line, tcp_line
from drivers.regmap import Step
from drivers.settings import Bus
from drivers.silence import Debt, Silence
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
UNSETTLED = (Outcome.timeout, Outcome.garbled, Outcome.short, Outcome.lost)
"""Outcomes after which an answer may still be on its way."""
WORDS = {
    Outcome.timeout: "device_silent",
    Outcome.garbled: "device_garbled",
    Outcome.short: "device_garbled",
    Outcome.exception: "device_exception",
}
OVERDUE = 64
"""Transactions that are remembered as timed out, so that their late answers are told from foreign ones."""


class ModbusBus:
    """A bus and its units. Implements Driver."""

    def __init__(self, bus: Bus, profiles: Mapping[str, Profile]) -> None:
        """`profiles` by id, as the devices name them. Raises profile.UnknownVariant."""
        self.name = bus.id
        self._bus = bus
        self._rtu = bus.is_serial or bus.framer == "rtu"
        line, gap = _line(bus, self._rtu)
        self._units = [Unit(bus, device, profiles[device.profile], line) for device in bus.devices]
        self.devices: Mapping[str, DeviceState] = {unit.device.id: unit.state for unit in self._units}
        """Counters of every device."""
        self._wire: Wire | None = None
        self._away: Away | None = None
        self._retry_at, self._retry_delay = 0.0, RETRY_FIRST
        self._proven = False
        """The connection has carried an answer, or at least outlived a request."""
        self._unanswered = 0
        self._overdue: dict[int, Debt] = {}
        """By transaction (TCP)."""
        self._silence = Silence(gap)
        """RTU only."""
        self._guests, self._taps = Guests(), Taps()
        self._roused: asyncio.Future[None] | None = None
        """Ends the sleep under way."""
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

    def units(self) -> Sequence[Unit]:
        """The devices, in order of the configuration."""
        return self._units

    def _trouble(self, unit: Unit, failure: Failure) -> Trouble:
        facts: dict[str, str | int | float] = {"device": unit.device.id, "bus": self.name, "unit": unit.device.unit}
        what = WORDS[failure.outcome]
        if failure.code in BEHIND_GATEWAY:
            what = WORDS[Outcome.timeout]
        elif failure.outcome is Outcome.exception:
            facts["code"] = failure.code
        return Trouble(what, unit.device.id, failure.since, facts, failed=not failure.partly)

    # --- guests ---

    async def guest(
        self, request: Request, timeout: float, baud: int | None = None, framing: str | None = None
    ) -> Answer:
        """Ask `request` in a gap of polling and wait up to `timeout` seconds (LONGEST at most) for its answer.

        Raises BusAway where there is no connection, or other settings are wanted of what is no serial port; OSError
        where the port refuses them. Cancelling gives a request up that has not been sent yet.
        """
        tuned = (baud or self._bus.baud, framing or self._bus.framing)
        different = tuned if tuned != (self._bus.baud, self._bus.framing) else None
        if different and not self._bus.is_serial:
            raise BusAway
        waits = asyncio.get_running_loop().create_future()
        self._guests.add(Guest(request, min(timeout, LONGEST), different, monotonic(), waits))
        self._rouse()
        answer: Answer = await waits
        return answer

    def tap(self, listener: Callable[[Frame], None]) -> Callable[[], None]:
        """`listener` is called with every frame, sent and heard, until what is returned is called; it must not wait."""
        return self._taps.add(listener)

    async def _serve(self, guest: Guest) -> None:
        """One guest's request; its time on the line is charged to all guests."""
        began = monotonic()
        try:
            if not self._wire and began >= self._retry_at:
                await self._connect()
            if self._wire:
                answer = await self._transact(guest, self._wire)
            else:
                await asyncio.sleep(AWAY)
                raise BusAway
        except (BusAway, OSError) as error:
            if not guest.answer.done():
                guest.answer.set_exception(error)
        else:
            if not guest.answer.done():
                guest.answer.set_result(answer)
        finally:
            self._guests.charge(monotonic() - began)

    async def _transact(self, guest: Guest, wire: Wire) -> Answer:
        """Raises OSError where the port refuses the settings."""
        request, guard = guest.request, wire.guard
        if self._rtu:
            await self._wait_for_line(guard)
        try:
            if guest.tuned:
                wire.tune(*guest.tuned)
            sent = monotonic()
            outcome = await wire.ask(request, guest.timeout)
            seconds = monotonic() - sent
            body = guard.body if outcome is Outcome.ok else b""
            code = guard.code if outcome is Outcome.exception else 0
            answer = Answer(outcome, body, code, seconds, guard.sent, guard.heard)
            if self._taps:
                self._taps.transaction(guard, outcome, sent, monotonic(), guest=True)
        finally:
            if guest.tuned and not wire.lost:
                wire.tune(self._bus.baud, self._bus.framing)
        polled = any(unit.device.unit == request.dev_id for unit in self._units)
        self._aftermath(Debt(request.dev_id, sent), guest.timeout, outcome, polled and not guest.tuned)
        return answer

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
            self._guests.send_away()
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
            if self._guests and (guest := self._guests.take(now, self._units, self._silence.rests_until)):
                await self._serve(guest)
                continue
            unit = min(self._units, key=_due, default=None)
            if unit and unit.due <= now + EARLY:
                return unit
            wake = unit.due if unit else now + SLICE
            if self._away and not self._wire:
                if self._retry_at <= now:
                    await self._connect()
                    continue
                wake = min(wake, self._retry_at)
            if self._guests:
                wake = min(wake, max(self._guests.wake(now), now + AWAY))
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
        unit.advance(now, rests_until=self._silence.rests_until(unit.device.unit))
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
            await self._wait_for_line(wire.guard)
        sent = self._turned = monotonic()
        outcome = await wire.ask(step.request, step.patience)
        now = monotonic()
        unit.heard(step, outcome, wire.guard, now - sent)
        if self._taps:
            self._taps.transaction(wire.guard, outcome, sent, now, guest=False)
        if outcome is Outcome.ok and self._proven:
            self._unanswered = 0
        else:
            holds_line = outcome is not Outcome.timeout or unit.silent < ENOUGH or unit.tardy
            self._aftermath(Debt(unit.device.unit, sent), step.patience, outcome, holds_line)
        return outcome

    # --- what follows an answer that did not come ---

    def _aftermath(self, debt: Debt, patience: float, outcome: Outcome, holds_line: bool) -> None:
        """Remember what may still come, and whether the connection is of any use."""
        if self._rtu and outcome in UNSETTLED:
            self._silence.hold(debt, patience, holds_line)
        elif outcome is Outcome.timeout and self._wire:
            self._overdue[self._wire.guard.transaction] = debt
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

    async def _wait_for_line(self, guard: Guard) -> None:
        """RTU: wait until the line may carry a request; bytes that come meanwhile are late and thrown away."""
        limit = self._silence.limit()
        while monotonic() < limit:
            heard = guard.heard_at
            if (wait := self._silence.wait(guard)) > 0:
                await self._sleep(wait)
                continue
            # Bytes may lie in the kernel that the loop has not come to read: let it, before they count as an answer.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if guard.heard_at == heard:
                break
        if guard.stray and self._taps:
            self._taps.stray(guard)
        if (number := self._silence.over(guard)) is not None:
            self._came_late(number)

    def _came_late(self, number: int) -> bool:
        unit = next((each for each in self._units if each.device.unit == number), None)
        if unit:
            unit.came_late()
        return unit is not None

    def _late(self, number: int) -> bool:
        """A whole answer came that nobody waits for: by its transaction on TCP, its unit on RTU."""
        if self._rtu:
            return self._came_late(number)
        debt = self._overdue.pop(number, None)
        if debt:
            self._came_late(debt.number)
        return debt is not None

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
        away = why(self._bus, error)
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
        loop = asyncio.get_running_loop()
        self._roused = loop.create_future()
        timer = loop.call_later(min(max(seconds, 0), SLICE), self._rouse)
        try:
            await self._roused
        finally:
            timer.cancel()
            self._roused = None
        self._turned = monotonic()

    def _rouse(self) -> None:
        """End the sleep under way."""
        if self._roused and not self._roused.done():
            self._roused.set_result(None)


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
