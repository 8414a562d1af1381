"""The demonstration from beginning to end: what is switched off and on again when, and then the count.

The clock begins when the agent answers. A first Ctrl-C ends the play and goes on to the count; a second one, or one at
any other time, ends everything at once.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

import msgspec

from edge_agent.demo.picture import Picture, bar
from edge_agent.demo.stage import Stage
from edge_agent.demo.terminal import Display
from edge_agent.demo.watch import Watch
from edge_agent.demo_servers import Server
from edge_agent.text import Text

USUAL = 60.0
"""Seconds of a demonstration whose length nobody chose."""
OUTAGE, PULLED = 10.0, 5.0
"""Longest time in seconds that the database is away, and a sensor."""
STEP = 0.1
"""Seconds between two looks at the clock and at the processes."""
PATIENCE = 90.0
"""Seconds without any progress after which the rest of the backlog is not waited for."""
SETTLED = 2.0
"""Seconds for which nothing may wait before all counts as delivered: twice the longest that a reading is in memory."""


class Span(msgspec.Struct, frozen=True):
    """Seconds from the beginning."""

    begin: float
    end: float

    def holds(self, moment: float) -> bool:
        """True within it."""
        return self.begin <= moment < self.end


class Plan(msgspec.Struct, frozen=True):
    """When what happens."""

    seconds: float | None
    """None: until Ctrl-C."""

    @property
    def outage(self) -> Span:
        """The database is away: from a third of the time, so that the rest is enough to catch up."""
        third = (self.seconds or USUAL) / 3
        return Span(third, third + min(OUTAGE, third))

    @property
    def pulled(self) -> Span:
        """The cable of a sensor is out."""
        length = self.seconds or USUAL
        return Span(0.7 * length, 0.7 * length + min(PULLED, length / 8))


class Interrupts:
    """Ctrl-C and the other ways to end a program. While `patient`, the first Ctrl-C is only noted."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        """Nothing is taken over before `with`."""
        self.patient = False
        self.asked = False
        """Ctrl-C was pressed while patient."""

    def __enter__(self) -> Self:
        """Take the signals over."""
        for number in self.NUMBERS:
            signal.signal(number, self._heard)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, tb: TracebackType | None) -> None:
        """Give them back."""
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _heard(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.patient and not self.asked:
            self.asked = True
        else:
            raise SystemExit(128 + number)

    def shut_out(self) -> None:
        """From here on nothing interrupts: processes are being ended."""
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_IGN)


class Play:
    """What happens on the stage, and how it is shown."""

    def __init__(self, stage: Stage, plan: Plan, display: Display, interrupts: Interrupts, text: Text) -> None:
        """Everything has been started."""
        self._stage, self._plan, self._display = stage, plan, display
        self._interrupts, self._text = interrupts, text
        self._watch = Watch(stage.agent.control, text)
        self._looked = 0.0

    # --- the straight path ---

    def run(self) -> None:
        """Play, then stop the simulation and wait until all is delivered. Raises Died."""
        self._watch.say("demo.event.begin" if self._stage.influxdb else "demo.event.begin_alone")
        self._interrupts.patient = True
        while not self._ended():
            self._follow_the_plan()
            self._tick(self._sentence())
        self._interrupts.patient = False
        if self._stage.influxdb:
            self._settle()

    def _ended(self) -> bool:
        in_time = self._plan.seconds is not None and self._watch.elapsed >= self._plan.seconds
        return in_time or self._interrupts.asked

    def _follow_the_plan(self) -> None:
        """Switch off and on what should be off and on by now."""
        now = self._watch.elapsed
        self._switch("database", self._stage.influxdb, off=self._plan.outage.holds(now))
        self._switch("sensor", self._stage.cabinet, off=self._plan.pulled.holds(now))

    def _switch(self, name: str, server: Server | None, off: bool) -> None:
        if server is None or self._stage.is_on(server) is not off:
            return
        self._watch.say(f"demo.event.{name}_{'off' if off else 'on'}")
        if off:
            self._stage.switch_off(server)
        else:
            self._stage.switch_on(server)

    def _settle(self) -> None:
        """Nothing more is generated; wait until everything has arrived."""
        self._watch.say("demo.event.stop")
        self._switch("database", self._stage.influxdb, off=False)
        self._stage.switch_off(self._stage.ward)
        self._stage.switch_off(self._stage.cabinet)
        most = 1
        for waiting in self._undelivered():
            most = max(most, waiting)
            done = bar(most - waiting, most, 20)
            self._tick(self._text("demo.stage.drain", bar=done, waiting=waiting))

    def _undelivered(self) -> Iterator[int]:
        """How much waits, until nothing has for a while, or nothing moves any more."""
        began = moved = time.monotonic()
        least: int | None = None
        while time.monotonic() < moved + PATIENCE:
            waiting = self._watch.now.waiting if self._watch.now else 0
            if least is None or waiting < least:
                least, moved = waiting, time.monotonic()
            if waiting:
                began = time.monotonic()
            elif time.monotonic() - began > SETTLED:
                return
            yield waiting

    # --- what is seen ---

    @property
    def kept(self) -> int:
        """Readings in the agent's journal, as it last said."""
        return self._watch.now.status.journal.readings if self._watch.now else 0

    def _tick(self, sentence: str) -> None:
        """Wait a little; once a second look at the agent and draw."""
        self._stage.check()
        if time.monotonic() - self._looked >= 1:
            self._looked = time.monotonic()
            away = self._stage.influxdb is not None and not self._stage.is_on(self._stage.influxdb)
            self._watch.look(away=away, over=self._is_over)
            self._display.show(self._picture(sentence))
        time.sleep(STEP)

    @property
    def _is_over(self) -> bool:
        return not self._stage.is_on(self._stage.ward)

    def _picture(self, sentence: str) -> Picture:
        watch = self._watch
        return Picture(
            stage=sentence,
            alarm=not (self._is_over or all(self._stage.is_on(server) for server in self._stage.servers())),
            elapsed=watch.elapsed,
            end=self._plan.seconds,
            over=self._is_over,
            now=watch.now,
            depths=watch.depths,
            events=watch.events,
        )

    def _sentence(self) -> str:
        """What is going on."""
        now, plan, text = self._watch.elapsed, self._plan, self._text
        sink = self._watch.now.sink if self._watch.now else None
        if plan.outage.holds(now) and self._stage.influxdb:
            return text("demo.stage.away", seconds=_left(plan.outage.end - now))
        if plan.pulled.holds(now):
            return text("demo.stage.pulled", seconds=_left(plan.pulled.end - now))
        if now < plan.outage.begin and self._stage.influxdb:
            return text("demo.stage.well", seconds=_left(plan.outage.begin - now))
        if sink and (sink.state != "up" or sink.waiting > 1000):
            return text("demo.stage.catching_up")
        if plan.seconds is None:
            return text("demo.stage.endless")
        return text("demo.stage.ending", seconds=_left(plan.seconds - now))


def _left(seconds: float) -> int:
    """Whole seconds to go, at least one."""
    return max(1, round(seconds))
