"""Honest time for every reading: held while the box's clock is not right yet, dated anew once it is, then sent.

A box without a battery clock wakes up in the wrong year, and the time server is a network away. Its readings go into
the journal marked `clock_unsynced`; no sink gets them before the clock is right, or has waited long enough.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator

import msgspec

from drivers.driver import Batch, Trouble
from drivers.reading import Readings, Source, quantities
from edge_agent.checks import Stamps, doubtful
from edge_agent.clock import Clock, base_ms
from edge_agent.journal import Journal

log = logging.getLogger("edge.clock")

EVERY = 2.0
"""Seconds between two looks at the clock."""
APART = 1000
"""Milliseconds by which a reading's two times may disagree: more, and the clock was set in between."""
LEAP_S = 86_400.0
"""A step by more, on nobody's word, makes nothing old enough to be deleted."""


class Dating:
    """Between the clock, what comes in and the journal."""

    def __init__(self, clock: Clock, journal: Journal, stamps: Stamps, patience: float) -> None:
        """`patience`: seconds that readings wait for the clock once a sink has answered."""
        self.clock = clock
        self.patience = patience
        self._journal = journal
        self._stamps = stamps
        self.steps: asyncio.Queue[float] = asyncio.Queue(maxsize=8)
        """What `StepEvents` has not told yet; a ninth is left out."""
        self._open = asyncio.Event()
        self._open.set()
        self._gave_up = False
        """True: this boot's readings are marked and no longer wait."""

    # --- what comes in ------------------------------------------------------------------------------------------------

    async def admitted(self) -> None:
        """Wait while older readings are being dated: what comes now must not be stamped before they are."""
        await self._open.wait()

    def stamp(self, series: str, readings: Readings) -> Readings | None:
        """The readings with a stamp of their own in their series; None for a copy of readings that came before."""
        return self._stamps.rise(series, self._admit(readings))

    def _admit(self, readings: Readings) -> Readings:
        """The readings with the time that is right by what is known now; marked where that is not much."""
        if readings.stamped:
            return readings
        if abs(readings.time - readings.mono - self.clock.base) > APART:
            right = readings.mono + base_ms()
            if abs(readings.time - right) > APART:  # the clock was set between the reading and now
                readings = msgspec.structs.replace(readings, time=right)
        if self.clock.told.state != "waiting":
            return readings
        held = not self._gave_up and self.patience > 0
        return msgspec.structs.replace(doubtful(readings), undated=held)

    # --- the clock ----------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Before anything is read: what is the clock, and what does the journal hold of an earlier run?"""
        await self.clock.look()
        self._journal.clock_doubtful = self.clock.told.state == "waiting"
        if not self._journal.clock_doubtful:
            await self._date()

    async def run(self) -> None:
        """Watch the clock, for ever."""
        while True:
            await asyncio.sleep(EVERY)
            await self._turn()

    async def _turn(self) -> None:
        if step := await self.clock.look():
            self._journal.clock_doubtful = abs(step) > LEAP_S and not self.clock.synced()
            if not self.steps.full():
                self.steps.put_nowait(step)
        if self.clock.told.state == "waiting":
            self._journal.clock_doubtful = True
        if self.clock.synced():
            self._journal.clock_doubtful = self._gave_up = False
        if self._journal.undated is None:
            return
        if self.clock.told.state != "waiting" or self._waited() > self.patience:
            await self._date()

    def _waited(self) -> float:
        """Seconds since a sink could have had what is held."""
        return time.monotonic() - self._journal.answered if self._journal.answered else 0.0

    async def _date(self) -> None:
        """Give the held readings the right time if it is known, and let them go."""
        if self._journal.undated is None:
            return
        right = self.clock.told.state == "synced"
        if right and self._journal.salvaging is not None:  # some of them are perhaps still in a damaged file
            if self._waited() <= self.patience:
                return
            right = False
        self._open.clear()
        try:
            held = self._journal.held
            self._stamps.dated(await self._journal.date(base_ms() if right else None))
            self._gave_up = not right
            log.warning("readings dated readings=%d anew=%s", held, right)
        except sqlite3.Error as error:
            log.error("readings not dated, tried again error=%s", error)
        finally:
            self._open.set()

    def troubles(self) -> list[Trouble]:
        """What is wrong with the clock."""
        if self.clock.told.state != "waiting":
            return []
        facts: dict[str, str | int | float] = {"by": self.clock.told.by, "held": self._journal.held}
        return [Trouble("clock_unsynced", "clock", self.clock.since, facts)]


class StepEvents:
    """Each step of the clock as a reading of the box, so that the centre sees it too. Implements Driver."""

    name = "clock"

    def __init__(self, dating: Dating) -> None:
        """`dating` notices the steps."""
        self._dating = dating
        self._source = Source("box", (quantities()["box.clock_step_s"],), (("src", "clock"),), origin="box", event=True)

    def progress(self) -> float:
        """See Driver: there is nothing that could get stuck."""
        return time.monotonic()

    def troubles(self) -> list[Trouble]:
        """See Driver."""
        return self._dating.troubles()

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """See Driver."""
        while True:
            step = await self._dating.steps.get()
            mono = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
            yield Batch((Readings(self._source, time.time_ns() // 1_000_000, mono, (round(step, 3),)),))
