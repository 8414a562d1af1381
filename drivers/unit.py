"""One device on a Modbus bus: its counters, its place in the timetable, and when it counts as failed. No I/O.

A poll asks the steps of the device's register map in `order`; `heard` is told what became of each, and `report` ends
the poll with a batch that always covers every point: its value, or why there is none.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable

from drivers.apart import Apart
from drivers.device_state import DeviceState, Failure
from drivers.driver import Batch
from drivers.frames import Guard, Outcome, Request
from drivers.identity import Identification
from drivers.planner import Line, cost
from drivers.profile import Profile
from drivers.quarantine import ENOUGH, LONGEST, Cause, Quarantine
from drivers.reading import Readings, Reason
from drivers.regmap import RegisterMap, Step
from drivers.settings import Bus, Device
from drivers.splits import Split, SplitMemory, made_for
from drivers.turnaround import Turnaround

log = logging.getLogger("edge.modbus")

REASONS = {
    Outcome.timeout: Reason.timeout,
    Outcome.garbled: Reason.garbled,
    Outcome.short: Reason.garbled,
    Outcome.lost: Reason.not_connected,
    # Not device_fault: no value came at all, and only the reasons of NOT_READ count as expected but not read.
    Outcome.exception: Reason.out_of_service,
}
CAUSES = {
    Outcome.timeout: Cause.silent,
    Outcome.garbled: Cause.garbled,
    Outcome.short: Cause.garbled,
    Outcome.lost: Cause.silent,
    Outcome.exception: Cause.exception,
}
ILLEGAL = (2, 3)
"""Exceptions illegal data address and illegal data value: the block reads what the device does not have."""
NO_PATH, NO_ANSWER = 10, 11
BEHIND_GATEWAY = (NO_PATH, NO_ANSWER)
"""Exceptions of a gateway: no path to the unit, no answer from it (application protocol 7)."""
NO_LIMIT = float("inf")
FOLD = 1.0
"""Seconds for which polls that the bus had no time for are gathered before they are reported."""


class Unit:
    """A device and what is known of it."""

    def __init__(self, bus: Bus, device: Device, profile: Profile, turnaround: Turnaround, splits: SplitMemory) -> None:
        """Raises profile.UnknownVariant."""
        self.device = device
        self.state = DeviceState()
        self.failure: Failure | None = None
        self.due = 0.0
        """`time.monotonic()` of the next poll."""
        self.quarantine = Quarantine()
        self.tardy = False
        """A late answer came since the last good poll."""
        self._needs_longer = False
        """And the line was held for it."""
        self.left: dict[bool | None, list[Step]] = {}
        """Of a poll that waits for the device's pause to be over: what is still to ask, by the turn's `alarms`."""
        self._failed, self._failing_since = 0, 0.0
        self._all_asked_from = 0.0
        """`time.monotonic()` from which no block rests."""
        self._wrong: tuple[Outcome, int] | None = None
        self._illegal: list[Step] = []
        self._missed, self._missed_why, self._folded_at = 0, Reason.waiting, 0.0
        self._bus, self._turnaround = bus, turnaround
        self.identification = Identification(device.unit, profile, device.identity)
        origin = f"{bus.id} unit {device.unit} {device.profile}"
        self.apart = Apart(device.every)
        self.map = RegisterMap(device.id, device.unit, origin, profile.points(device.variant, device.alarm_points))
        self._limits = profile.request_limits()
        self._made_for = made_for(self.map.registers, self._limits)
        self.split = splits.recall(device.unit, self._made_for)
        """Around what its blocks are planned because it refused to read over it."""
        self._split_helps = True
        self.split_is_new = False
        """The split has helped, and is not yet remembered."""
        self._plan()

    def _plan(self) -> None:
        self.map.arrange(self._turnaround.line, self.split.of(self._limits))
        self._may_change = self.map.can_change()
        self._takes, self._taken_as_of = self._cost(self._turnaround.line), 0
        self.order = list(self.map.steps)
        """The steps as they are asked: one that got no answer comes last the next time."""

    @property
    def failing(self) -> bool:
        """The last poll was not all good."""
        return self._failed > 0

    def _cost(self, line: Line) -> float:
        return cost([step.block for step in self.map.steps], line)

    @property
    def costs(self) -> Line:
        """What a request to it costs, as last planned for: assumed at first, then learned from its answers."""
        return self._turnaround.line

    def measured(self) -> Line | None:
        """What a request to it costs by its answers of late; None: too few came."""
        return self._turnaround.measured()

    def takes(self) -> float:
        """Seconds of the line that its next poll takes, as far as can be told."""
        if self._taken_as_of != self._turnaround.learned and (found := self.measured()):
            self._takes, self._taken_as_of = self._cost(found), self._turnaround.learned
        return self._takes + self._bus.timeout if self._failed else self._takes

    def patience(self, step: Step, most: float = NO_LIMIT) -> float:
        """Seconds to wait for an answer: learned, within the bus's time-out, and within `most` unless it was slower.

        A unit that has long been silent may have become slow, and one that came late needs more: both get it all.
        """
        turnaround = self._turnaround
        if not self._failed and most == NO_LIMIT:
            if step.learned != turnaround.learned:
                step.patience, step.learned = turnaround.patience(step.size, self._bus.timeout), turnaround.learned
            return step.patience
        learned = self.quarantine.failed <= ENOUGH and not self._needs_longer
        allowed = min(self._bus.timeout, max(most, self._turnaround.slowest))
        return self._turnaround.patience(step.size, allowed, learned)

    def steps(self, now: float, alarms: bool | None = None) -> list[Step]:
        """What to ask in this turn: the alarm points' blocks, those of the others, or all.

        A block that long gave no answer is left out for a while, never all of them.
        """
        asked = self._asked(now)
        return asked if alarms is None else [step for step in asked if step.alarm is alarms]

    def _asked(self, now: float) -> list[Step]:
        if self._all_asked_from <= now:
            return self.order
        resting = [step for step in self.order if step.rests_until > now]
        if not resting or len(resting) == len(self.order):
            return self.order
        for step in resting:
            step.miss(step.faults[0])
            self._wrong = step.outcome, step.code
        return [step for step in self.order if step not in resting]

    def harmless(self) -> Request | None:
        """Something that may be read as often as one likes: a block, or what tells the device."""
        requests = [step.request for step in self.map.steps if not step.once]
        return next(iter(requests or self.identification.requests()), None)

    def rest(self, alarms: bool | None) -> list[Step]:
        """What a turn for the alarm points alone leaves to ask."""
        return [step for step in self.order if not step.alarm] if alarms else []

    # --- what came ---

    def heard(self, step: Step, outcome: Outcome, guard: Guard, seconds: float) -> None:
        """`step` was asked, and `seconds` later its outcome is known."""
        if outcome is Outcome.ok:
            step.take(guard.body)
            self.state.ok += 1
            self.state.answers.append(seconds)
            self._turnaround.answered(step.size, seconds)
            return
        code = guard.code if outcome is Outcome.exception else 0
        step.miss(Reason.timeout if code in BEHIND_GATEWAY else REASONS[outcome])
        step.outcome, step.code = self._wrong = outcome, code
        self._count(outcome, code)
        if code in ILLEGAL:
            self._illegal.append(step)

    def _count(self, outcome: Outcome, code: int) -> None:
        if outcome is not Outcome.lost:  # no counter has it: the bus reports it, or the quarantine
            setattr(self.state, outcome.value, getattr(self.state, outcome.value) + 1)
            self.state.last_error = f"exception {code}" if code else outcome.value

    def came_late(self, seconds: float, learn: bool = True) -> None:
        """An answer came that nobody waited for any more, so long after its request.

        `learn`: it is waited for longer from now on; not where the line has gone on meanwhile, for the others' sake.
        """
        self.state.late += 1
        self.tardy = True
        if learn:
            self._needs_longer = True
            self._turnaround.came_late(seconds)

    def give_up(self, step: Step, left: Iterable[Step], now: float) -> None:
        """End the poll at `step`: those `left` to ask share its reason, and next time it comes last.

        So a dead unit costs one time-out a poll, and a block that a device ignores does not hide its others; itself
        it is asked more rarely.
        """
        at = self.order.index(step)
        self.skip(left, step.faults[0])
        self.order = [*self.order[at + 1 :], *self.order[:at], step]
        step.missed += 1
        if step.missed >= ENOUGH and not self.quarantine.begun:
            rest = min(self.device.every * float(1 << min(step.missed - ENOUGH + 1, 30)), LONGEST)
            step.rests_until = now + rest
            self._all_asked_from = max(self._all_asked_from, step.rests_until)

    def skip(self, steps: Iterable[Step], why: Reason) -> None:
        """These are not asked in this poll."""
        for step in steps:
            step.miss(why)

    def forgive(self, step: Step) -> None:
        """It may lack what `step` asks for: that is no failure."""
        self._wrong = None
        self._illegal = [each for each in self._illegal if each is not step]

    def is_another(self) -> None:
        """The device's own number is wrong: nothing is asked of it, and none of its values counts."""
        self.skip(self.order, Reason.out_of_service)
        self._wrong = Outcome.ok, 0
        self.state.last_error = self.identification.wrong

    def report_alarms(self, now: float) -> Batch:
        """The alarm points' turn is over; the others' is to come."""
        stamp, mono = clock()
        if self._missed:
            self.apart.both(self._missed)
            self._missed = 0
        polls = self.apart.take(alarm=True)
        left_out = self.map.blank(self._missed_why, stamp - 1, mono - 1, polls, alarm=True) if polls else ()
        self.apart.asked(now)
        return Batch((*left_out, *self.map.part(True, stamp, mono)))

    def report(self, now: float, rest: bool = False) -> Batch:
        """End the poll: its readings, and before them those of polls that were left out.

        `rest`: the alarm points have been reported.
        """
        self.left.clear()
        stamp, mono = clock()
        read = any(step.read for step in self.map.steps)
        self._judge(read, stamp / 1000)
        if rest:
            polls = self.apart.take(alarm=False)
            left_out = self.map.blank(self._missed_why, stamp - 1, mono - 1, polls, alarm=False) if polls else ()
            batch = Batch((*left_out, *self.map.part(False, stamp, mono)))
        elif read:
            batch = Batch((*self._left_out(now, stamp, mono), *self.map.readings(stamp, mono)))
        else:
            batch = Batch(self.map.readings(stamp, mono, 1 + self._missed))
            self._missed = 0
        if self._illegal and self._spare():
            self._split_helps = False
        elif read and not self._split_helps:
            self._split_helps = self.split_is_new = True
        elif self._may_change and self._turnaround.moved(now):
            self._plan()
        return batch

    def unread(self, why: Reason, rest: bool = False) -> Batch:
        """A poll for which the unit could not even be asked. `rest`: the alarm points have been."""
        self.left.clear()
        if rest:
            return Batch(self.map.blank(why, *clock(), 1 + self.apart.take(alarm=False), alarm=False))
        polls, self._missed = 1 + self._missed, 0
        return Batch(self.map.blank(why, *clock(), polls))

    def left_out(self, now: float) -> tuple[Readings, ...]:
        """At the end: what the polls left out so far stand for. Those still to come in a quarantine are not counted."""
        to_come = max(0, math.ceil((self.due - now) / self.device.every) - 1)
        polls, self._missed = max(0, self._missed - to_come), 0
        found = self.map.blank(self._missed_why, *clock(), polls) if polls else ()
        if self.map.apart:
            self.apart.rest_due(self.due)
        for alarm, count in self.apart.left():
            found += self.map.blank(self._missed_why, *clock(), count, alarm)
        return found

    def _left_out(self, now: float, stamp: int, mono: int) -> tuple[Readings, ...]:
        """What the polls left out before a good one stand for; a steady trickle is gathered for a while."""
        if not self._missed or (self._missed_why is Reason.waiting and now < self._folded_at + FOLD):
            return ()
        polls, self._missed, self._folded_at = self._missed, 0, now
        return self.map.blank(self._missed_why, stamp - 1, mono - 1, polls)

    def _judge(self, read: bool, now: float) -> None:
        """Three failed polls in a row are a failure, and so is the first of a device that never answered."""
        known = self.state.last_ok is not None
        if read:
            self.state.last_ok = now
            self.quarantine.read()
        if self._wrong is None:
            self._recover()
            return
        cause, code = self._cause(*self._wrong), self._wrong[1]
        self._wrong = None
        self._failed += 1
        self._failing_since = now if self._failed == 1 else self._failing_since
        if not read:
            self.quarantine.fail(cause)
            self.identification.doubt()
        self.state.cause = "" if read else cause.value
        if self._failed >= ENOUGH or not known:
            self._fail(Failure(cause, code, self._failing_since, partly=read))

    def _cause(self, outcome: Outcome, code: int) -> Cause:
        if outcome is Outcome.ok:
            return Cause.identity
        if code in BEHIND_GATEWAY:
            return Cause.no_path if code == NO_PATH else Cause.silent
        return Cause.late if outcome is Outcome.timeout and self.tardy else CAUSES[outcome]

    def excuse(self) -> None:
        """The poll failed for the bus's sake, and says nothing of the device."""
        self._wrong = None

    def _recover(self) -> None:
        if self.failure:
            log.warning("device back device=%s bus=%s unit=%s", self.device.id, self._bus.id, self.device.unit)
        self._failed, self.failure, self.tardy, self.state.cause = 0, None, False, ""
        self._needs_longer = False

    def _fail(self, failure: Failure) -> None:
        if not self.failure:
            event = "device answers in part" if failure.partly else "device unreachable"
            where = self.device.id, self._bus.id, self.device.unit
            log.warning(event + " device=%s bus=%s unit=%s error=%s", *where, self.state.last_error or "closed")
        self.failure = failure

    def remember(self, splits: SplitMemory) -> None:
        """Write the split down. Blocks."""
        splits.keep(self.device.unit, self._made_for, self.split)

    def _spare(self) -> bool:
        """Never again ask for a block as a whole that the device called illegal: plan around its holes.

        One without holes is halved, until the register that the device does not have stands alone. False: it does.
        """
        holes = {(step.block.fc, *hole) for step in self._illegal for hole in step.block.holes()}
        halves = {(step.block.fc, step.block.middle()) for step in self._illegal if not step.block.holes()}
        self._illegal.clear()
        before = self.split
        self.split = Split(before.forbidden | holes, before.barriers | {each for each in halves if each[1]})
        if self.split == before:
            return False
        where = self.device.id, self._bus.id
        log.info("blocks split device=%s bus=%s holes=%s halves=%s", *where, sorted(holes), sorted(halves))
        self._plan()
        return True

    # --- when ---

    def start(self, now: float, phase: float) -> None:
        """Due at once, then at `phase` (above 0, up to 1) of each period, so that the bus's devices take turns."""
        self.due = now + (phase - 1) * self.device.every
        if self.map.apart:
            self.apart.due = self.due

    def advance_rest(self, now: float, rests_until: float = 0.0) -> None:
        """The poll that was due is over, after both its turns. As `advance`."""
        self.due = self.apart.rest_due(self.due)
        self.state.next_try = None
        if self.quarantine.begun or rests_until > self.due:
            self.due -= self.device.every
            self._advance(now, Reason.waiting, rests_until)
            self.apart.due = self.due

    def advance(self, now: float, why: Reason = Reason.waiting, rests_until: float = 0.0) -> None:
        """The poll that was due is over: set the next, and count those left out, because of `why` or of silence.

        `rests_until`: before then the unit is not asked, as its late answer could be taken for another of its own.
        """
        if not self.map.apart:
            self._advance(now, why, rests_until)
            return
        self.due = self.apart.failed(self.due)
        self._advance(now, why, rests_until)
        self.apart.due = self.due

    def _advance(self, now: float, why: Reason, rests_until: float) -> None:
        every = self.device.every
        turns = max(int((max(now, rests_until) - self.due) / every) + 1, 1)
        self.state.next_try = None
        if self.quarantine.begun:
            turns, why = max(turns, int(self.quarantine.pause(every) / every)), Reason.timeout
            self.state.next_try = time.time() + self.due + turns * every - now
        if turns > 1:
            self._missed += turns - 1
            self._missed_why = why
        self.due += turns * every


def clock() -> tuple[int, int]:
    """Milliseconds since 1970 UTC, and of CLOCK_BOOTTIME."""
    return time.time_ns() // 1_000_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
