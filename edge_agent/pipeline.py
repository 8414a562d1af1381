"""The data path: `collect` brings a driver's readings through the checks into the journal, `forward` brings the
journal's rows to a sink. Between the two lies only the disk, so that neither ever waits for the other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from contextlib import aclosing

import msgspec

from drivers.driver import Batch, Driver
from drivers.reading import Readings
from edge_agent.board import Board
from edge_agent.checks import Checks, Stamps
from edge_agent.journal import Journal
from edge_agent.lines import Encoder
from edge_agent.sinks import Sink, SinkDown, TooLarge

log = logging.getLogger("edge.pipeline")

BATCH_READINGS = 50_000
"""Most readings in one request."""
LEAST_BYTES = 16 << 10
"""A batch is not made smaller than this, however often a server calls it too large."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds between attempts to reach a sink that is down, doubled each time."""
LONGEST_WISH = 600.0
"""Seconds that a server may ask us to wait."""


class Intake:
    """Everything between a driver and the journal."""

    def __init__(self, site: str, checks: Checks, stamps: Stamps, board: Board, journal: Journal) -> None:
        """Join the parts."""
        self.checks = checks
        self._stamps = stamps
        self._board = board
        self._journal = journal
        self._series = Encoder(site).series

    async def take(self, batch: Batch) -> None:
        """Check, stamp and show the readings, then put them into the journal; wait while it has no room."""
        await self._journal.room()
        self._journal.put(self._checked(batch.readings), batch.done)

    def _checked(self, batch: tuple[Readings, ...]) -> Iterator[Readings]:
        for readings in batch:
            stamped = self._stamps.rise(self._series(readings.source), readings)
            if stamped is None:
                continue
            checked = self.checks(stamped)
            self._board.show(checked)
            yield checked


async def collect(driver: Driver, intake: Intake) -> None:
    """Bring everything that `driver` reads into the journal, for ever."""
    async with aclosing(driver.readings()) as batches:  # a port is free again before the part is started anew
        async for batch in batches:
            await intake.take(batch)


class SinkNow(msgspec.Struct):
    """How a sink does, for people."""

    id: str
    where: str
    state: str = "up"
    """up, down (cannot be reached), refusing (answers, but takes nothing), unavailable (not built yet)."""
    error: str | None = None
    """The last error in the server's words."""
    what: str = ""
    """Which sentence `trouble.sink_<what>` says it."""
    facts: dict[str, str] = {}
    """Further placeholders of that sentence."""
    since: float = 0.0
    """Unix seconds of the first failure in a row."""
    next_try: float = 0.0
    """Unix seconds."""
    last_success: float = 0.0


async def forward(sink: Sink, journal: Journal, now: SinkNow) -> None:
    """Bring the journal's rows to `sink`, for ever. Nothing is settled before the sink has confirmed it."""
    try:
        await _forward(sink, journal, now)
    finally:
        await sink.close()


async def _forward(sink: Sink, journal: Journal, now: SinkNow) -> None:
    most_bytes = sink.most_bytes
    pause = FIRST_PAUSE
    while True:
        rows = await journal.take(sink.id, BATCH_READINGS, most_bytes)
        try:
            settled = await sink.send(rows)
        except TooLarge as error:
            most_bytes = max(LEAST_BYTES, most_bytes // 2)
            log.warning("batch too large sink=%s bytes=%d error=%s", sink.id, most_bytes, error)
            continue
        except SinkDown as down:
            pause = await _wait(sink, now, down, pause)
            continue
        journal.settle(sink.id, rows, settled)
        _works(sink, now)
        pause = FIRST_PAUSE


async def _wait(sink: Sink, now: SinkNow, down: SinkDown, pause: float) -> float:
    """Wait before the next attempt, as long as the server asked or with jitter; the pause after that one."""
    if now.state == "up":
        now.since = time.time()
        log.warning("sink down sink=%s where=%s error=%s", sink.id, sink.where, down.words)
    now.state = "down" if down.what == "unreachable" else "refusing"
    now.what, now.error, now.facts = down.what, down.words, down.facts
    asked = down.retry_after if down.retry_after is not None else pause
    seconds = min(max(asked, FIRST_PAUSE), LONGEST_WISH) * random.uniform(1.0, 1.2)
    now.next_try = time.time() + seconds
    await asyncio.sleep(seconds)
    return min(2 * pause, LONGEST_PAUSE)


def _works(sink: Sink, now: SinkNow) -> None:
    if now.state != "up":
        log.warning("sink up sink=%s after=%.0fs", sink.id, time.time() - now.since)
        now.state, now.error, now.what = "up", None, ""
    now.last_success = time.time()
