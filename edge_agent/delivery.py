"""Bringing the journal's rows to one sink: what is sent next, what counts as delivered, and what happens when it fails.

After an outage the readings of the last minute go first and the backlog beside them, in turns, in requests so small
that each is over in a second or two whatever the line. A server whose 2xx is not yet durable is asked later whether it
is still the same process; until then nothing that it took counts, and if it has started anew all of it is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from edge_agent.journal import Journal, Settled
from edge_agent.outgoing import is_backlog
from edge_agent.rows import Row
from edge_agent.sinks import Life, Sink, SinkDown, TooLarge
from edge_agent.waits import soon

log = logging.getLogger("edge.delivery")

STATES = ("up", "down", "refusing", "throttled", "unavailable")
"""Of a sink: it takes readings; cannot be reached, tried again in ever longer steps; answers, but takes nothing; asked
us to wait; not built yet."""

BATCH_READINGS = 50_000
"""Most readings in one request."""
FIRST_BYTES, LEAST_BYTES = 64 << 10, 8 << 10
"""Compressed size of the first request after a failure, and below which none is cut."""
QUICK, SLOW = 0.5, 2.0
"""Seconds of a request: below, the next may be larger; above, it is smaller, or live readings would have to wait."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between attempts to reach a sink that is down, doubled each time."""
LONGEST_WISH = 600.0
"""Seconds that a server may ask us to wait."""
LONG_OUTAGE, SPREAD = 60.0, 30.0
"""After an outage of so many seconds the backlog waits up to so many more: all boxes of a city come back at once. The
same at the start with a reading that has waited for so long: the boxes too may have been without power."""
LOOK = 20.0
"""Seconds between two looks at whether the server is still the same process, and at whether the disk takes nothing."""
IDLE_LOOK = 60.0
"""Seconds without an answer, nothing being sent, after which we ask whether the server is there at all."""
AHEAD_EVERY = 2.0
"""Seconds between two looks at what came while the disk takes nothing."""


class SinkNow(msgspec.Struct):
    """How a sink does, for people."""

    id: str
    where: str
    state: str = "up"
    """One of STATES."""
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
    hurry: Callable[[], object] | None = None
    """While the next attempt is waited for: make it now. None also where the server asked to be left alone."""
    dropped: int = 0
    """Values that the server says it took and threw away, `q` among them and from whomever, since the agent looks."""
    dropped_why: str = ""
    dropped_since: float = 0.0
    """Unix seconds of the first of them."""


class Sent(msgspec.Struct, frozen=True):
    """Rows that a server has taken and may still lose."""

    at: float
    """`time.monotonic()` after the answer."""
    rows: tuple[Row, ...]
    """Without their bytes."""
    settled: Settled


class Pace:
    """How much goes into a request, and when the backlog's next may go."""

    def __init__(self, most: int, rate: int | None) -> None:
        """`most` bytes at all in one request; `rate`: bytes a second of the backlog, at most."""
        self.bytes = min(FIRST_BYTES, most)
        self._most = most
        self._rate = rate
        if rate:
            self._most = max(LEAST_BYTES, min(most, int(rate * SLOW)))
            self.bytes = min(self.bytes, self._most)
        self.backlog_from = 0.0
        """`time.monotonic()` before which only live readings go."""

    def took(self, seconds: float, size: int) -> None:
        """A request of `size` bytes was answered."""
        if seconds > SLOW:
            self.smaller()
        elif seconds < QUICK and 2 * size > self.bytes:
            self.bytes = min(4 * self.bytes, self._most)

    def smaller(self) -> None:
        """Half as much next time."""
        self.bytes = min(self._most, max(LEAST_BYTES, self.bytes // 2))

    def too_large(self) -> None:
        """The server takes no such request: never again one so large, down to a single row."""
        self._most = max(1, self.bytes // 2)
        self.bytes = self._most

    def failed(self) -> None:
        """Nobody knows the line any more: begin small again."""
        self.bytes = min(self.bytes, FIRST_BYTES)
        self.smaller()

    def spent(self, size: int) -> None:
        """A request of the backlog went out."""
        if self._rate:
            self.backlog_from = max(self.backlog_from, time.monotonic()) + size / self._rate

    def rest(self, seconds: float) -> None:
        """Let the backlog wait."""
        self.backlog_from = max(self.backlog_from, time.monotonic() + seconds)


async def forward(sink: Sink, journal: Journal, now: SinkNow, rate: int | None = None, spread: float = SPREAD) -> None:
    """Bring the journal's rows to `sink`, for ever. Nothing is settled before the sink has confirmed it."""
    try:
        await Delivery(sink, journal, now, rate, spread).run()
    finally:
        journal.unsend(sink.id)
        await sink.close()


class Delivery:
    """The way to one sink."""

    def __init__(self, sink: Sink, journal: Journal, now: SinkNow, rate: int | None, spread: float) -> None:
        """Ask nothing yet. `spread`: see SPREAD."""
        self._sink = sink
        self._journal = journal
        self._now = now
        self._pace = Pace(sink.most_bytes, rate)
        self._spread = spread
        self._began_late = False
        """True: something had waited for long when we began, and the server has not answered yet."""
        self._pause = FIRST_PAUSE
        self._met = False
        """True: the server told what it is, and has answered ever since."""
        self._life: Life | None = None
        self._looked = 0.0
        self._answered = time.monotonic()
        self._sent: deque[Sent] = deque()
        self._ahead = 0
        """Readings before this number of `Unwritten` were sent ahead, or are on disk."""

    async def run(self) -> None:
        """For ever."""
        oldest = await soon(self._journal.oldest_waiting_ms(self._sink.id), None)
        if oldest is not None and time.time() - oldest / 1000 > LONG_OUTAGE:
            self._began_late = True
            self._begin_at_random()
        while True:
            try:
                await self._turn()
            except TooLarge as error:
                self._pace.too_large()
                log.warning("batch too large sink=%s next=%d error=%s", self._sink.id, self._pace.bytes, error)
            except SinkDown as down:
                self._met = False
                self._pace.failed()
                await self._wait(down)

    async def _turn(self) -> None:
        """Look at the server where it is time, then send one batch, or find nothing to send for a while."""
        if self._due() <= 0 or self._journal.unheard:
            await self._look()
            self._journal.heard()
            self._idles()
        if await self._send_ahead():
            return
        rows = await self._next()
        if not rows:
            return
        if not self._met:
            await self._look()
        size, began = sum(len(row.body) for row in rows), time.monotonic()
        settled = await self._sink.send(rows)
        if settled.delivered or settled.held:  # else the sink wanted none of them, and nobody was asked
            self._pace.took(settled.slowest or time.monotonic() - began, size)
            if is_backlog(self._journal, rows):
                self._pace.spent(settled.bytes or size)
            self._works()
        self._taken(rows, settled)

    async def _next(self) -> list[Row]:
        """The next rows; none when nothing came until the server has to be looked at or the backlog may go on."""
        resting = self._pace.backlog_from - time.monotonic()
        patience = min(self._due(), resting if resting > 0 else LOOK, LOOK)
        if self._journal.unwritten.overdue:
            patience = min(patience, AHEAD_EVERY)
        try:
            async with asyncio.timeout(max(0.0, patience)):
                return await self._journal.take(self._sink.id, BATCH_READINGS, self._pace.bytes, only_live=resting > 0)
        except TimeoutError:
            return []

    async def _send_ahead(self) -> bool:
        """Send what the disk does not take; it counts only once it comes from there. Not to a server that may store
        it twice then. Raises SinkDown or TooLarge."""
        row, upto = self._journal.unwritten.after(self._ahead)
        if row is None:
            self._ahead = upto
            return False
        if not self._met:
            await self._look()
        if self._life is not None:
            return False
        await self._sink.send([row])
        self._ahead = upto
        self._works()
        return True

    # --- what counts as delivered -------------------------------------------------------------------------------------

    def _taken(self, rows: Sequence[Row], settled: Settled) -> None:
        if self._life is None:
            self._journal.settle(self._sink.id, rows, settled)
            return
        light = tuple(msgspec.structs.replace(row, body=b"") for row in rows)
        self._sent.append(Sent(time.monotonic(), light, settled))
        self._journal.sent(self._sink.id, light)

    def _due(self) -> float:
        """Seconds until the server has to be looked at again."""
        now = time.monotonic()
        if self._life is None or not self._sent:
            return self._answered + IDLE_LOOK - now
        hold = self._life.hold
        return max(self._sent[0].at + hold - now, self._looked + min(hold, LOOK) - now)

    async def _look(self) -> None:
        """Ask whether the server is who it was; settle what it has had for long enough. Raises SinkDown."""
        asked = time.monotonic()
        life = await self._sink.life()
        self._looked = self._answered = time.monotonic()
        before, self._life, self._met = self._life, life, True
        if life is None or (before and before.started != life.started):
            self._send_again()
        if life:
            self._count_dropped(before, life)
            while self._sent and self._sent[0].at <= asked - life.hold:
                done = self._sent.popleft()
                self._journal.settle(self._sink.id, done.rows, done.settled)

    def _send_again(self) -> None:
        if self._sent:
            count = sum(row.readings for each in self._sent for row in each.rows)
            log.warning("sink restarted, sending again sink=%s readings=%d", self._sink.id, count)
        self._sent.clear()
        self._journal.unsend(self._sink.id)

    def _count_dropped(self, before: Life | None, life: Life) -> None:
        known = before.dropped if before and before.started == life.started else {}
        if before is None:
            return  # what it threw away before we came is not our affair
        for why, n in life.dropped.items():
            if (more := n - known.get(why, 0)) > 0:
                log.error("sink drops readings sink=%s why=%s values=%d", self._sink.id, why, more)
                self._now.dropped_since = self._now.dropped_since or time.time()
                self._now.dropped += more
                self._now.dropped_why = why

    # --- failing and coming back --------------------------------------------------------------------------------------

    async def _wait(self, down: SinkDown) -> None:
        """Wait before the next attempt: as long as the server asked, never less; else in ever longer steps."""
        now = self._now
        if now.state == "up":
            now.since = time.time()
            log.warning("sink down sink=%s where=%s error=%s", self._sink.id, self._sink.where, down.words)
        now.state = {"unreachable": "down", "throttled": "throttled"}.get(down.what, "refusing")
        now.what, now.error, now.facts = down.what, down.words, down.facts
        if down.retry_after is not None:
            seconds = min(max(down.retry_after, FIRST_PAUSE), LONGEST_WISH) * random.uniform(1.0, 1.2)
        else:
            seconds = self._pause * random.uniform(0.8, 1.2)
        now.next_try = time.time() + seconds
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        await self._rest(seconds, may_hurry=down.retry_after is None)

    async def _rest(self, seconds: float, *, may_hurry: bool) -> None:
        """Sleep, unless a technician asks for an attempt now."""
        resting = asyncio.create_task(asyncio.sleep(seconds), name=f"rest {self._sink.id}")
        self._now.hurry = resting.cancel if may_hurry else None
        try:
            await asyncio.wait([resting])
        finally:
            resting.cancel()
            self._now.hurry = None
        if not resting.cancelled():
            resting.result()

    def _idles(self) -> None:
        """The server is there and nothing waits for it: what was wrong is over."""
        if self._now.state != "up" and not self._journal.waiting(self._sink.id) and not self._journal.unwritten.overdue:
            self._is_up()

    def _works(self) -> None:
        """It took something."""
        self._is_up()
        self._now.last_success = time.time()
        self._answered = time.monotonic()

    def _is_up(self) -> None:
        now, late, self._began_late = self._now, self._began_late, False
        if now.state != "up":
            away = time.time() - now.since
            log.warning("sink up sink=%s after=%.0fs", self._sink.id, away)
            now.state, now.error, now.what = "up", None, ""
            if late or away > LONG_OUTAGE:
                self._begin_at_random()
        self._pause = FIRST_PAUSE

    def _begin_at_random(self) -> None:
        self._pace.rest(random.uniform(0, self._spread))
