"""One device on a Modbus bus: its counters, its place in the timetable, and when it counts as failed. No I/O.

A poll asks the steps of the device's register map in `order`; `heard` is told what became of each, and `report` ends
the poll with a batch that always covers every point: its value, or why there is none.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque

import msgspec

from drivers.driver import Batch
from drivers.frames import Guard, Outcome
from drivers.profile import Profile
from drivers.reading import Readings, Reason
from drivers.register import BIT_FUNCTIONS, Block, Line
from drivers.regmap import RegisterMap, Step
from drivers.settings import Bus, Device

log = logging.getLogger("edge.modbus")

REASONS = {
    Outcome.timeout: Reason.timeout,
    Outcome.garbled: Reason.garbled,
    Outcome.short: Reason.garbled,
    Outcome.lost: Reason.not_connected,
    # Not device_fault: no value came at all, and only the reasons of NOT_READ count as expected but not read.
    Outcome.exception: Reason.out_of_service,
}
ILLEGAL = (2, 3)
"""Exceptions illegal data address and illegal data value: the block reads what the device does not have."""
BEHIND_GATEWAY = (10, 11)
"""Exceptions of a gateway: no path, no answer (application protocol 7). The unit itself is silent."""
ENOUGH = 3
"""Failed polls in a row that make a state of it."""
LONGEST_PAUSE = 60.0
"""Seconds between two probes of a silent unit, at most; longer only where its own period is."""
FOLD = 1.0
"""Seconds for which polls that the bus had no time for are gathered before they are reported."""


class DeviceState(msgspec.Struct):
    """What became of the requests to one device since the start."""

    ok: int = 0
    timeout: int = 0
    garbled: int = 0
    exception: int = 0
    short: int = 0
    late: int = 0
    """Answers that came after their time-out, which was counted as such too."""
    last_error: str = ""
    """`timeout`, `exception 2`; empty: none yet."""
    last_ok: float | None = None
    """Unix seconds of the last poll that read something."""
    answers: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=64))
    """Seconds that the last good answers took."""

    @property
    def median(self) -> float | None:
        """Usual seconds between request and answer, None before the first."""
        return statistics.median(self.answers) if self.answers else None


class Failure(msgspec.Struct, frozen=True):
    """A device does not give what it should."""

    outcome: Outcome
    code: int
    """Exception code."""
    since: float
    """Unix seconds of the first failed poll."""
    partly: bool
    """Some of its blocks still answer."""


class Unit:
    """A device and what is known of it."""

    def __init__(self, bus: Bus, device: Device, profile: Profile, line: Line) -> None:
        """Raises profile.UnknownVariant."""
        self.device = device
        self.state = DeviceState()
        self.failure: Failure | None = None
        self.due = 0.0
        """`time.monotonic()` of the next poll."""
        self.silent = 0
        """Polls in a row that read nothing and held the line up."""
        self.tardy = False
        """A late answer came since the last good poll."""
        self._failed, self._failing_since = 0, 0.0
        self._wrong: tuple[Outcome, int] | None = None
        self._illegal: list[Step] = []
        self._missed, self._missed_why, self._folded_at = 0, Reason.waiting, 0.0
        self._bus, self._line = bus, line
        self._rtu = bus.is_serial or bus.framer == "rtu"
        self._limits = profile.request_limits()
        origin = f"{bus.id} unit {device.unit} {device.profile}"
        self.map = RegisterMap(device.id, device.unit, origin, profile.points(device.variant))
        self._plan()

    def _plan(self) -> None:
        self.map.arrange(self._line, self._limits, self._patience)
        self.order = list(self.map.steps)
        """The steps as they are asked: one that got no answer comes last the next time."""

    def _patience(self, block: Block) -> float:
        """The configured time-out; on RTU also the time that request and answer take on the line."""
        words = block.count / 16 if block.fc in BIT_FUNCTIONS else block.count
        return self._bus.timeout + (self._line.register * (words + 7) if self._rtu else 0.0)

    # --- what came ---

    def heard(self, step: Step, outcome: Outcome, guard: Guard, seconds: float) -> None:
        """`step` was asked, and `seconds` later its outcome is known."""
        if outcome is Outcome.ok:
            step.take(guard.body)
            self.state.ok += 1
            self.state.answers.append(seconds)
            return
        code = guard.code if outcome is Outcome.exception else 0
        step.miss(Reason.timeout if code in BEHIND_GATEWAY else REASONS[outcome])
        self._wrong = outcome, code
        self._count(outcome, code)
        if code in ILLEGAL:
            self._illegal.append(step)

    def _count(self, outcome: Outcome, code: int) -> None:
        if outcome is not Outcome.lost:  # not the device's: the bus reports it
            setattr(self.state, outcome.value, getattr(self.state, outcome.value) + 1)
            self.state.last_error = f"exception {code}" if code else outcome.value

    def came_late(self) -> None:
        """An answer came that nobody waited for any more."""
        self.state.late += 1
        self.tardy = True

    def give_up(self, step: Step) -> None:
        """End the poll at `step`: those not asked yet share its reason, and next time it comes last.

        So a dead unit costs one time-out a poll, and a block that a device ignores does not hide its others.
        """
        at, why = self.order.index(step), step.faults[0]
        for other in self.order[at + 1 :]:
            other.miss(why)
        self.order = [*self.order[at + 1 :], *self.order[:at], step]

    def report(self, now: float) -> Batch:
        """End the poll: its readings, and before them those of polls that were left out."""
        stamp, mono = clock()
        read = any(step.read for step in self.map.steps)
        self._judge(read, stamp / 1000)
        if read:
            batch = Batch((*self._left_out(now, stamp, mono), *self.map.readings(stamp, mono)))
        else:
            batch = Batch(self.map.readings(stamp, mono, 1 + self._missed))
            self._missed = 0
        if self._illegal:
            self._spare()
        return batch

    def unread(self, why: Reason) -> Batch:
        """A poll for which the unit could not even be asked."""
        polls, self._missed = 1 + self._missed, 0
        return Batch(self.map.blank(why, *clock(), polls))

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
        if self._wrong is None:
            self._recover()
        elif self._wrong[0] is not Outcome.lost:  # that is the bus's failure and says nothing of the device
            self._failed += 1
            self._failing_since = now if self._failed == 1 else self._failing_since
            self.silent = 0 if read or not self.costly(*self._wrong) else self.silent + 1
            if self._failed >= ENOUGH or not known:
                self._fail(Failure(*self._wrong, self._failing_since, partly=read))
        self._wrong = None

    def costly(self, outcome: Outcome, code: int) -> bool:
        """True where the line had to wait: for a time-out, or to be drained after one."""
        return outcome is Outcome.timeout or code in BEHIND_GATEWAY or (self._rtu and outcome is not Outcome.exception)

    def _recover(self) -> None:
        if self.failure:
            log.warning("device back device=%s bus=%s unit=%s", self.device.id, self._bus.id, self.device.unit)
        self._failed, self.failure, self.silent, self.tardy = 0, None, 0, False

    def _fail(self, failure: Failure) -> None:
        if not self.failure:
            event = "device answers in part" if failure.partly else "device unreachable"
            where = self.device.id, self._bus.id, self.device.unit
            log.warning(event + " device=%s bus=%s unit=%s error=%s", *where, self.state.last_error)
        self.failure = failure

    def _spare(self) -> None:
        """Never again read over the holes of a block that the device called illegal: plan around them."""
        holes = {(step.block.fc, *hole) for step in self._illegal for hole in step.block.holes()}
        self._illegal.clear()
        if holes <= self._limits.forbidden:
            return
        log.info("blocks split device=%s bus=%s holes=%s", self.device.id, self._bus.id, sorted(holes))
        self._limits = msgspec.structs.replace(self._limits, forbidden=self._limits.forbidden | holes)
        self._plan()

    # --- when ---

    def start(self, now: float, phase: float) -> None:
        """Due at once, then at `phase` (above 0, up to 1) of each period, so that the bus's devices take turns."""
        self.due = now + (phase - 1) * self.device.every

    def advance(self, now: float, why: Reason = Reason.waiting, rests_until: float = 0.0) -> None:
        """The poll that was due is over: set the next, and count those left out, because of `why` or of silence.

        `rests_until`: before then the unit is not asked, as its late answer could be taken for another of its own.
        """
        every = self.device.every
        turns = max(int((max(now, rests_until) - self.due) / every) + 1, 1)
        if self.silent >= ENOUGH:
            pause = min(1 << min(self.silent - ENOUGH + 1, 20), int(LONGEST_PAUSE / every))
            turns, why = max(turns, pause), Reason.timeout
        if turns > 1:
            self._missed += turns - 1
            self._missed_why = why
        self.due += turns * every


def clock() -> tuple[int, int]:
    """Milliseconds since 1970 UTC, and of CLOCK_BOOTTIME."""
    return time.time_ns() // 1_000_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
