"""One Modbus bus, serial or TCP: one task that polls its devices in turn, one request under way at a time.

`readings` waits for the unit whose turn it is (`_next`), asks its blocks (`_poll`) and yields one batch per due poll,
whatever became of it. Tools are its guests: `guest` asks one transaction in the gaps of polling, `tap` listens in
(`guests.py` tells how). Whose turn it is stands in `schedule.py`, a unit in `unit.py`, how it is asked in
`connection.py`, and what is an answer in `frames.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from drivers.bus_line import assumed
from drivers.connection import Connection
from drivers.device_state import DeviceState, Failure
from drivers.driver import Batch, Trouble
from drivers.frames import Outcome, Request, RtuGuard
from drivers.guests import LONGEST, SHARE, SHORTEST, Answer, BusAway, Frame, Guest, Guests
from drivers.link import LinkReport
from drivers.profile import Profile
from drivers.quarantine import Cause
from drivers.reading import Reason
from drivers.regmap import Step
from drivers.schedule import EARLY, Schedule
from drivers.settings import Bus
from drivers.silence import Debt
from drivers.splits import SplitMemory
from drivers.turnaround import Turnaround
from drivers.unit import BEHIND_GATEWAY, Unit

log = logging.getLogger("edge.modbus")
monotonic = time.monotonic

AWAY = 0.02
"""Seconds between two batches at least while there is no connection: nothing else would slow them down."""


class ModbusBus:
    """A bus and its units. Implements Driver."""

    def __init__(self, bus: Bus, profiles: Mapping[str, Profile], memory: Path | None = None) -> None:
        """`profiles` by id, as the devices name them; `memory`: file for splits. Raises profile.UnknownVariant."""
        self.name = bus.id
        self._bus = bus
        line, wire, gap = assumed(bus)
        self._connection = Connection(bus, gap, self._came_late)
        self._splits = SplitMemory(memory, bus.where)
        self._units = [
            Unit(bus, device, profiles[device.profile], Turnaround(line, wire, gap), self._splits)
            for device in bus.devices
        ]
        self.devices: Mapping[str, DeviceState] = {unit.device.id: unit.state for unit in self._units}
        """Counters of every device."""
        self._schedule = Schedule(self._units, self._rests_until, monotonic())
        self._brisk = 0.8 * min(device.every for device in bus.devices) if len(bus.devices) > 1 else float("inf")
        """Seconds that may be waited for an answer whoever else is due."""
        self._interposed: list[Batch] = []
        """Of alarms that were polled between the blocks of another unit."""
        self._guests = Guests(SHARE if self._units else 1.0)
        self._link = LinkReport(bus.id, self._units, monotonic())

    # --- what others see ---

    def progress(self) -> float:
        """See Driver."""
        return self._connection.turned

    def troubles(self) -> list[Trouble]:
        """See Driver. While the bus is away its devices are not named: nothing is known of them."""
        if away := self._connection.away:
            return [Trouble(away.what, self.name, away.since, {"bus": self.name, **away.facts}, failed=True)]
        found = [self._trouble(unit, unit.failure) for unit in self._units if unit.failure]
        if since := self._connection.babbles_since:
            found.append(Trouble("bus_babbles", self.name, since, {"bus": self.name, "where": self._bus.where}))
        return sorted(found, key=lambda trouble: (not trouble.failed, trouble.since))

    @property
    def hears_itself(self) -> bool:
        """The adapter gives back what it sends: the request's own bytes come before the answer, or alone."""
        return isinstance(guard := self._connection.guard, RtuGuard) and guard.hears_itself

    def units(self) -> Sequence[Unit]:
        """The devices, in order of the configuration."""
        return self._units

    def _trouble(self, unit: Unit, failure: Failure) -> Trouble:
        facts: dict[str, str | int | float] = {"device": unit.device.id, "bus": self.name, "unit": unit.device.unit}
        now = monotonic()
        facts["next"] = max(0.0, self._schedule.next_try(unit, now) - now)
        if failure.cause is Cause.exception:
            facts["code"] = failure.code
        if failure.cause is Cause.identity:
            facts["found"] = unit.identification.wrong
        return Trouble(f"device_{failure.cause.value}", unit.device.id, failure.since, facts, not failure.partly)

    # --- guests ---

    async def guest(
        self, request: Request, timeout: float, baud: int | None = None, framing: str | None = None
    ) -> Answer:
        """Ask `request` in a gap of polling and wait up to `timeout` seconds (LONGEST at most) for its answer.

        Raises BusAway where there is no connection, or other settings are wanted of what is no serial port; OSError
        where the port refuses them; ValueError where `timeout` is no such number. Cancelling gives a request up that
        has not been sent yet.
        """
        tuned = (baud or self._bus.baud, framing or self._bus.framing)
        if not timeout >= SHORTEST:
            raise ValueError(f"timeout {timeout}")
        different = tuned if tuned != (self._bus.baud, self._bus.framing) else None
        if different and not self._bus.is_serial:
            raise BusAway
        waits = asyncio.get_running_loop().create_future()
        self._guests.add(Guest(request, min(timeout, LONGEST), different, monotonic(), waits))
        self._connection.rouse()
        answer: Answer = await waits
        return answer

    def tap(self, listener: Callable[[Frame], None]) -> Callable[[], None]:
        """`listener` is called with every frame, sent and heard, until what is returned is called; it must not wait."""
        return self._connection.taps.add(listener)

    async def _serve(self, guest: Guest) -> None:
        """One guest's request; its time on the line is charged to all guests."""
        began = monotonic()
        try:
            answer = await self._transact(guest)
        except Exception as error:  # whatever a tool asks for, and nobody thought of: polling goes on without it
            if not isinstance(error, BusAway | OSError):
                log.exception("guest failed bus=%s request=%s", self.name, guest.request)
            if not guest.answer.done():
                guest.answer.set_exception(error)
        else:
            if not guest.answer.done():
                guest.answer.set_result(answer)
        finally:
            self._guests.charge(monotonic() - began + self._connection.held)

    async def _transact(self, guest: Guest) -> Answer:
        """Raises BusAway, and OSError where the port refuses the settings."""
        connection, request = self._connection, guest.request
        if not await connection.make():
            await asyncio.sleep(AWAY)
            raise BusAway
        if guest.tuned:
            outcome = await connection.ask_tuned(request, guest.timeout, guest.tuned)
        else:
            unit = self._unit(request.dev_id)
            trusted = unit is not None and unit.quarantine.trusted
            outcome = await connection.ask(request, guest.timeout, trusted, shaky=not trusted, guest=True)
        guard = connection.guard
        if guard is None:
            raise BusAway
        body = guard.body if outcome is Outcome.ok else b""
        code = guard.code if outcome is Outcome.exception else 0
        return Answer(outcome, body, code, connection.seconds, guard.sent, guard.heard)

    def _unit(self, number: int) -> Unit | None:
        return next((unit for unit in self._units if unit.device.unit == number), None)

    # --- the straight path ---

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """See Driver. Each due poll gives one batch; polls for which there was no time are folded into later ones."""
        self._start()
        try:
            if not self._units:  # no poll will find out whether the port is there, and tools ask that first
                await self._connection.make()
            while True:
                unit = await self._next()
                batch = await self._turn(unit)
                self._connection.turned = monotonic()
                while self._interposed:
                    yield self._interposed.pop(0)
                if batch:
                    yield batch
                if unit.split_is_new:
                    unit.split_is_new = False
                    await asyncio.to_thread(unit.remember, self._splits)
                if self._link.due(now := monotonic()):
                    yield Batch(self._link.readings(now, self._connection.busy, self._connection.strays))
        except asyncio.CancelledError:
            # Polls that were left out are told with the next good one; at the end there is none, and the sum must hold.
            if left := [each for unit in self._units for each in unit.left_out(monotonic())]:
                yield Batch(tuple(left))
            raise
        finally:
            self._guests.send_away()
            self._connection.drop()

    def _start(self) -> None:
        """All units are due at once, then spread over their periods; buses differ by their names."""
        now, share = monotonic(), zlib.crc32(self.name.encode()) / 2**32
        for i, unit in enumerate(self._units):
            unit.start(now, 1 - (share + i / len(self._units)) % 1)

    async def _next(self) -> Unit:
        """Wait for the unit whose turn it is. A bus that is away is tried again meanwhile, and guests are let in."""
        connection = self._connection
        while True:
            now = monotonic()
            is_open = connection.is_open
            if self._guests and (guest := self._guests.take(now, self._units, connection.rests_until)):
                await self._serve(guest)
                continue
            if unit := self._schedule.turn(now):
                return unit
            wake = self._schedule.wake
            if connection.away and not is_open:
                if connection.retry_at <= now:
                    await connection.make()
                    continue
                wake = min(wake, connection.retry_at)
            if self._guests:
                wake = min(wake, max(self._guests.wake(now), now + AWAY))
            await connection.sleep(wake - now)

    async def _turn(self, unit: Unit) -> Batch | None:
        """One due poll, or part of it where the device needs a pause meanwhile: None, it goes on in a later turn."""
        if unit.map.apart:
            return await self._turn_apart(unit)
        if not await self._reach():
            batch = unit.unread(Reason.not_connected)
            unit.advance(monotonic(), Reason.not_connected)
            return batch
        await self._poll(unit)
        if unit.left:
            return None
        now = monotonic()
        batch = unit.report(now)
        unit.advance(now, rests_until=self._rests_after(unit, now))
        return batch

    async def _turn_apart(self, unit: Unit) -> Batch | None:
        """One of the two turns of a poll whose alarm points are asked by themselves; one that fails ends the poll."""
        alarms = unit.apart.due <= monotonic() + EARLY
        if not await self._reach():
            batch = unit.unread(Reason.not_connected, rest=not alarms)
            if alarms:
                unit.advance(monotonic(), Reason.not_connected)
            else:
                unit.advance_rest(monotonic())
            return batch
        due = unit.due
        ended = await self._poll(unit, alarms)
        if unit.due != due:  # a turn for its alarm points came between, and failed
            return self._interposed.pop()
        if alarms in unit.left:
            return None
        now = monotonic()
        if alarms and not ended:
            return unit.report_alarms(now)
        batch = unit.report(now, rest=not alarms)
        (unit.advance if alarms else unit.advance_rest)(now, rests_until=self._rests_after(unit, now))
        return batch

    async def _reach(self) -> bool:
        """There is a connection."""
        if self._connection.is_open or await self._connection.make():
            return True
        await self._connection.sleep(AWAY)
        return False

    def _rests_until(self, unit: Unit) -> float:
        return self._connection.rests_until(unit.device.unit)

    def _rests_after(self, unit: Unit, now: float) -> float:
        return max(self._rests_until(unit), self._schedule.rests_until(unit, now))

    async def _poll(self, unit: Unit, alarms: bool | None = None) -> bool:
        """Ask the unit's blocks; the first that gets no answer ends the poll where going on would cost the line.

        `alarms`: only the alarm points' blocks, or the others'. True: the poll has ended early.
        """
        steps = unit.left.pop(alarms, [])
        if not steps and unit.identification.asks and not await self._identify(unit):
            return True
        steps, due = steps or unit.steps(monotonic(), alarms), unit.due
        for i, step in enumerate(steps):
            if unit.device.pause and self._rests_until(unit) > monotonic() + EARLY:
                unit.left[alarms] = steps[i:]
                return False
            if i and not alarms:
                await self._let_in_alarms(unit)
                if unit.due != due:
                    return True
            if i and not self._connection.is_open:
                unit.skip([*steps[i:], *unit.rest(alarms)], Reason.not_connected)
                return True
            if await self._ask(unit, step):
                unit.give_up(step, [*steps[i + 1 :], *unit.rest(alarms)], monotonic())
                return True
        return False

    async def _let_in_alarms(self, busy: Unit) -> None:
        """Between two blocks of `busy`: each alarm that is due, once, so that the next block comes in any case."""
        due, rounds = busy.due, len(self._units) if self._schedule.has_alarms else 0
        while rounds and (alarm := self._schedule.alarm(monotonic(), busy)):
            rounds -= 1
            if batch := await self._turn(alarm):
                self._interposed.append(batch)
            if busy.due != due:
                return

    async def _identify(self, unit: Unit) -> bool:
        """True where the unit is the one that it should be, as far as is known."""
        steps = unit.identification.steps(monotonic())
        for step in steps:
            if await self._ask(unit, step) and not unit.identification.missed(step, monotonic()):
                unit.skip(unit.order, step.faults[0])
                return False
            if not step.read:
                unit.forgive(step)
        if steps:
            unit.identification.judge(monotonic())
        if unit.identification.wrong:
            unit.is_another()
        return not unit.identification.wrong

    async def _ask(self, unit: Unit, step: Step) -> bool:
        """Ask a block. True: there was no answer, and it cost so much that the rest of the poll is better left."""
        connection = self._connection
        patience = unit.patience(step)
        if patience > self._brisk:
            patience = unit.patience(step, self._schedule.patience(unit))
        held_for = unit.quarantine.trusted
        its_own = unit.quarantine.shaky > 0 and len(self._units) > 1
        ask = connection.ask if connection.doubts else connection.once
        if step.once and step.request.dev_id in connection.doubts:
            outcome = await self._settle(unit, step, patience, held_for, its_own)
        else:
            outcome = await ask(step.request, patience, held_for, its_own)
        if connection.guard:
            unit.heard(step, outcome, connection.guard, connection.seconds)
        if outcome is Outcome.ok:
            return False
        if connection.blameless:
            unit.excuse()
            unit.quarantine.suspect()
        costly = self._costly(outcome, patience)
        self._schedule.charge(unit, connection.seconds + connection.held, costly)
        return costly

    async def _settle(self, unit: Unit, step: Step, patience: float, held_for: bool, its_own: bool) -> Outcome:
        """Ask for what may be read but once of a unit whose next answer may be an old one: first for something else.

        That is asked twice, as ever after a missed answer. A device that has nothing else is asked once all the same:
        the line has been silent for longer than its answers take.
        """
        connection = self._connection
        if harmless := unit.harmless():
            outcome = await connection.ask(harmless, patience, held_for, its_own)
            if outcome is not Outcome.ok:
                return outcome
        connection.doubts.discard(step.request.dev_id)
        return await connection.once(step.request, patience, held_for, its_own)

    def _costly(self, outcome: Outcome, patience: float) -> bool:
        """True where the line had to wait: for a time-out or a gateway's, past a stray answer, or to be drained."""
        connection = self._connection
        behind = outcome is Outcome.exception and connection.guard and connection.guard.code in BEHIND_GATEWAY
        waited = connection.seconds >= 0.5 * patience
        return bool(waited or behind or not connection.is_open or (connection.rtu and outcome is not Outcome.exception))

    def _came_late(self, debt: Debt) -> None:
        if unit := self._unit(debt.number):
            unit.came_late(debt.age, learn=not debt.others_since)
