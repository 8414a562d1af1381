"""The journal: readings on disk until every sink has confirmed them. The asynchronous face of `store.py`.

`put` takes readings in, `run` commits them in groups and then calls their `done` (MQTT acknowledges there); `take`
hands a sink the rows it should send next and `settle` records what became of them. Whatever `put` took is either on
disk after the next commit or still here: a commit that fails is tried again with the same group.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from drivers.reading import Readings
from edge_agent.account import Table, count_up
from edge_agent.housekeeping import keep_house
from edge_agent.ledger import Side, pack_state
from edge_agent.outgoing import Outgoing, states_of
from edge_agent.quarantined import Quarantined
from edge_agent.recovery import RETRY, Recovery
from edge_agent.rows import Group, Held, Row, Stat
from edge_agent.schema import Unreachable
from edge_agent.store import Store
from edge_agent.unwritten import Unwritten
from edge_agent.waits import set_within, soon
from edge_agent.wear import BUDGET, DAY_S, Wear

log = logging.getLogger("edge.journal")

T = TypeVar("T")

GROUP_READINGS = 500
"""A commit begins at the latest when this many readings wait."""
MOST_PENDING = 200_000
"""Readings in memory before collectors have to wait (`room`); a broker then holds its messages, a bus skips polls.

Half an hour of a large ward, while the card takes nothing."""
MOST_PENDING_BYTES = 48 << 20
"""The same in bytes, for readings that are long texts."""
IDLE = 5.0
"""Seconds between signs of life while nothing comes in."""


class Settled(msgspec.Struct, frozen=True):
    """What became of some rows at one sink, in readings."""

    delivered: int
    excluded: int = 0
    held: tuple[Held, ...] = ()
    bytes: int = 0
    """What the requests took of the line, where the sink knows it."""
    slowest: float = 0.0
    """Seconds of the slowest of several requests; 0: it was one."""


class Journal:
    """Group commit in one thread, one cursor per sink."""

    def __init__(
        self,
        store: Store,
        sinks: Mapping[str, tuple[str, ...]],
        window: float,
        keep_days: float,
        write_budget: int = BUDGET,
    ) -> None:
        """`sinks`: the measurements (empty: all) that each sink takes; `window`: seconds between commits, at most."""
        self._store = store
        self.wear = Wear(write_budget)
        self.recovery = Recovery(self)
        self._window = window
        self.keep_ms = int(keep_days * DAY_S * 1000)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._pending = Group()
        self.unwritten = Unwritten(store.site)
        self._dones: list[Callable[[], None]] = []
        self._dirty: set[str] = set()
        self._out = Outgoing(self)
        self._lock = asyncio.Lock()
        """One commit at a time: a second one must not overtake the first and acknowledge what is not on disk."""
        self._under_way: set[asyncio.Task[Any]] = set()
        self._wake, self._urgent = asyncio.Event(), asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._grown = asyncio.Condition()
        self.states = states_of(store, sinks)
        self._dirty.update(self.states)
        self.error = None if store.missing is None else str(store.missing)
        """What the last commit failed with; None: it worked."""
        self.failing_since = 0.0 if store.missing is None else time.time()
        self.progress, self.commit_ms = time.monotonic(), 0.0
        self.top = store.last_id
        """Sequence number of the last reading on disk."""
        self.undated = store.undated.after
        """Rows above this one wait for the right time and are not sent; None: all have theirs."""
        self.answered = 0.0
        """`time.monotonic()` when a sink first answered while rows waited for their time; 0: none did."""
        self.clock_doubtful = False
        """True: the clock leapt and nobody vouches for it, so that nothing is old enough to be deleted."""
        self._stat = store.stat()
        if store.missing is not None:
            log.error("journal cannot be opened, readings stay in memory error=%s", store.missing)
            self._wake.set()

    # --- in -----------------------------------------------------------------------------------------------------------

    def put(self, readings: Iterable[Readings], done: Callable[[], None] | None = None) -> None:
        """Take readings in; `done` is called once they are on disk. Raises Miscounted; then none of them is taken."""
        some = list(readings)
        self._pending.take(some)
        self.unwritten.extend(some, kept=done is not None)
        if done is not None:
            self._dones.append(done)
            self._urgent.set()
        if self._pending.points >= GROUP_READINGS:
            self._urgent.set()
        if self._pending.points >= MOST_PENDING or self._pending.bytes >= MOST_PENDING_BYTES:
            self._room.clear()
        self._wake.set()

    @property
    def is_full(self) -> bool:
        """True while collectors have to wait."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Wait while too much is in memory: the disk is not taking what comes."""
        await self._room.wait()

    async def run(self) -> None:
        """Commit for ever. Cancelling ends it between two commits; `close` commits what is left."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_house(self), name="journal-housekeeping")
            group.create_task(self.recovery.bring_back(), name="journal-salvage")
            while True:
                await self._due()
                while not await self._commit():
                    await asyncio.sleep(RETRY if self.error is not None else 0)

    async def flush(self) -> None:
        """Commit what is there now, so that it can be acknowledged before the connections go."""
        await self._commit()

    async def close(self) -> None:
        """Commit what is left and close the file."""
        try:
            if not await self._commit() and not await self._commit():
                log.error("journal closed with readings not on disk readings=%d", self._pending.points)
            await self.call(self._store.close)
        except sqlite3.Error as error:
            log.error("journal closed badly error=%s", error)
        finally:
            self._thread.shutdown()

    async def _due(self) -> None:
        """Wait until something is to be committed and its window is over."""
        while not await set_within(self._wake, IDLE):
            self.progress = time.monotonic()
        if await set_within(self._urgent, self.window) and self._pending.points < GROUP_READINGS:
            await asyncio.sleep(self.wear.window)

    async def _commit(self) -> bool:
        """Commit what is pending; False: it stays pending. Once begun it is not cancelled half-way."""
        task = asyncio.create_task(self._commit_now(), name="commit")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _commit_now(self) -> bool:
        async with self._lock:
            self._wake.clear()
            self._urgent.clear()
            group, self._pending, upto = self._pending, Group(), self.unwritten.end
            dones, self._dones = self._dones, []
            dirty, self._dirty = self._dirty, set()
            group.states = {name: pack_state(self.states[name]) for name in dirty & self.states.keys()}
            began = time.monotonic()
            try:
                await self.call(self._store.commit, group)
            except sqlite3.Error as error:
                self._take_back(group, dones, dirty)
                await self.recovery.commit_failed(error)
                return False
            except BaseException:
                self._take_back(group, dones, dirty)
                raise
            self.unwritten.written(upto)
            self._succeeded(began)
        for done in dones:
            _call_back(done)
        async with self._grown:
            self._grown.notify_all()
        return True

    def _succeeded(self, began: float) -> None:
        self.progress = time.monotonic()
        self.commit_ms = (self.progress - began) * 1000
        self.top = self._store.last_id
        self.undated = self._store.undated.after
        if self._pending.points < MOST_PENDING and self._pending.bytes < MOST_PENDING_BYTES:
            self._room.set()
        if self.error is not None:
            log.warning("journal works again after=%.0fs", time.time() - self.failing_since)
            self.error = None

    def _take_back(self, group: Group, dones: list[Callable[[], None]], dirty: set[str]) -> None:
        group.states.clear()
        group.extend(self._pending)
        self._pending = group
        self._dones = dones + self._dones
        self._dirty |= dirty
        self._wake.set()
        self._urgent.set()

    def moved(self) -> None:
        """The file is another one, or other rows are in it: every sink's state is to be saved again."""
        self.top = self._store.last_id
        self._dirty.update(self.states)
        self._wake.set()

    # --- out ----------------------------------------------------------------------------------------------------------

    async def take(self, sink: str, most_readings: int, most_bytes: int, *, only_live: bool = False) -> list[Row]:
        """The rows that `sink` should send next; waits until there are some. `only_live`: those of the last minute."""
        return await self._out.take(sink, most_readings, most_bytes, only_live=only_live)

    def sent(self, sink: str, rows: Sequence[Row]) -> None:
        """Rows that `sink` has taken but may still lose: not settled, and not to be sent again for now."""
        self._out.sent(sink, rows)

    def unsend(self, sink: str) -> None:
        """What was sent and is not settled is to be sent again."""
        self._out.unsend(sink)

    def settle(self, sink: str, rows: Sequence[Row], settled: Settled) -> None:
        """Record that `sink` is done with `rows`; saved with the next commit."""
        self._out.settle(sink, rows, settled)

    def keep_refused(self, held: Iterable[Held]) -> None:
        """Refused readings, to be saved with the next commit."""
        self._pending.held.extend(held)

    async def more_than(self, upto: int) -> None:
        """Wait until rows above `upto` may be sent, or something else has changed."""
        async with self._grown:
            if self.sendable <= upto:
                await self._grown.wait()

    def touch(self, sink: str) -> None:
        """The state of `sink` has changed."""
        self._dirty.add(sink)
        self._wake.set()

    async def adopt(self, sinks: Mapping[str, tuple[str, ...]]) -> None:
        """Take over a changed list of sinks: a new one begins with the oldest row, one that is gone stays as it is.

        Those that go on keep what they have settled meanwhile. Raises sqlite3.Error; then nothing has changed.
        """
        if not await self._commit():
            raise sqlite3.OperationalError(self.error or "")
        async with self._lock:
            read = await self.call(states_of, self._store, sinks)
            old = self.states
            self.states = {n: old[n] if n in old and old[n].only == s.only else s for n, s in read.items()}
            self._dirty = set(self.states)

    # --- dating -------------------------------------------------------------------------------------------------------

    @property
    def sendable(self) -> int:
        """Sequence number of the last reading that may be sent."""
        return self.top if self.undated is None else min(self.top, self.undated)

    @property
    def held(self) -> int:
        """Readings on disk that wait for their time."""
        above = max(self.sendable, self._store.floor)
        return max(0, self.top - above - self._store.holes.between(above, self.top))

    @property
    def unheard(self) -> bool:
        """True while rows wait for their time and no sink has answered yet: only then does the wait cost anybody."""
        return self.undated is not None and not self.answered

    def heard(self) -> None:
        """A sink answers."""
        if self.unheard:
            self.answered = time.monotonic()

    async def date(self, base: int | None) -> Mapping[str, int]:
        """Give the undated rows their right time, see `Undated.date`; None: they keep the one that they have.

        The newest stamp of each series. Raises sqlite3.Error; what is not dated then is dated by the next call.
        """
        if not await self._commit():
            raise sqlite3.OperationalError(self.error or "")
        last: dict[str, int] = {}
        async with self._lock:
            if base is None:
                await self.call(self._store.undated.give_up)
            else:
                while await self.call(self._store.undated.date, base, last):
                    self.progress = time.monotonic()
            self.undated, self.answered = self._store.undated.after, 0.0
        async with self._grown:
            self._grown.notify_all()
        return last

    # --- questions ----------------------------------------------------------------------------------------------------

    def waiting(self, sink: str) -> int:
        """Readings on disk that are still to be sent to `sink`."""
        return self._out.waiting(sink)

    def unconfirmed(self, sink: str) -> int:
        """Readings that `sink` has taken and may still lose."""
        return self._out.unconfirmed(sink)

    async def oldest_waiting_ms(self, sink: str) -> int | None:
        """When the oldest row that `sink` has not settled was committed; None: nothing waits."""
        return await self._out.oldest_waiting_ms(sink)

    @property
    def window(self) -> float:
        """Seconds between commits at most, as the write budget allows."""
        return max(self._window, self.wear.window)

    @property
    def salvaging(self) -> Path | None:
        """The damaged journal whose readings are being brought back."""
        return self._store.salvaging

    @property
    def pending(self) -> int:
        """Readings in memory, not yet on disk."""
        return self._pending.points

    @property
    def store(self) -> Store:
        """The file; only for work in `call`."""
        return self._store

    def alone(self) -> asyncio.Lock:
        """Held while nothing may be committed."""
        return self._lock

    def unsaved_held(self) -> list[Held]:
        """Refused readings that wait for the next commit."""
        return list(self._pending.held)

    def count_refused(self, sink: str, on_disk: int) -> None:
        """A technician has released or dropped some: `on_disk` are left there. With the lock held."""
        state = self.states[sink]
        state.quarantined = on_disk + sum(each.sink == sink for each in self._pending.held)
        state.words = state.words if state.quarantined else ""
        self.touch(sink)

    async def grown(self) -> None:
        """Rows were added beside the commits, with the lock held."""
        self.top = self._store.last_id
        async with self._grown:
            self._grown.notify_all()

    async def side(self, blob: int) -> Side:
        """What is kept beside the lines of one row."""
        return await self.call(self._store.side, blob)

    async def refused(self, sink: str, most: int) -> list[Quarantined]:
        """The newest readings in a sink's quarantine, newest first; none while the disk is busy or fails."""
        return await soon(self.call(self._store.refused, sink, most), [])

    async def stat(self) -> Stat:
        """The journal in numbers; the last known ones while the disk is busy or fails."""
        self._stat = await soon(self.call(self._store.stat), self._stat)
        return self._stat

    async def ledger(self, since_hour: int) -> Table:
        """See `account.count_up`."""
        return await count_up(self, since_hour)

    def begin(self, work: Callable[[], object]) -> None:
        """Let the journal's thread do `work` when it comes to it; nothing is done where the journal is closed."""
        with contextlib.suppress(RuntimeError):
            self._thread.submit(work)

    async def call(self, work: Callable[..., T], *arguments: object) -> T:
        """Run `work` in the journal's thread."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, *arguments)
        except TypeError as error:
            if await loop.run_in_executor(self._thread, self._store.has_strange_values):
                raise Unreachable(str(error)) from error
            raise


def _call_back(done: Callable[[], None]) -> None:
    try:
        done()
    except Exception:  # whoever waits for this one, the others must hear of theirs
        log.exception("acknowledgement failed")
