"""How a running journal comes back: from a full disk, a failing handle, a damaged file. Part of `journal.py`."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.ledger import SinkState
from edge_agent.outgoing import open_late
from edge_agent.room import Freed
from edge_agent.rows import Row
from edge_agent.salvage import Salvage
from edge_agent.schema import is_damage

if TYPE_CHECKING:
    from edge_agent.journal import Journal

log = logging.getLogger("edge.journal")

RETRY = 1.0
"""Seconds after something that failed."""
MOST_REWRITTEN = 1000
"""Thinned ranges that are remembered: a sink may still be sending what stood there."""


class Recovery:
    """What a journal does when its file or its disk fails."""

    def __init__(self, journal: Journal) -> None:
        """Nothing has failed yet."""
        self._journal = journal
        self._rewritten: deque[Freed] = deque(maxlen=MOST_REWRITTEN)
        self._under_way: set[asyncio.Task[None]] = set()

    async def commit_failed(self, error: sqlite3.Error) -> None:
        """A full file gets room, a damaged one is replaced; any other error gets a new handle."""
        journal = self._journal
        journal.progress = time.monotonic()
        # An error of the handle itself (closed, because opening it failed) has no code.
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        if full and journal.error is None and await self.made_room():
            return
        if journal.error is None:
            journal.failing_since = time.time()
            log.error("journal failing error=%s", error)
        journal.error = str(error)
        try:
            await self._after(error, full=full)
        except (sqlite3.Error, OSError) as again:
            journal.error = str(again)

    async def _after(self, error: sqlite3.Error, *, full: bool) -> None:
        """Nobody else commits now. Raises sqlite3.Error, OSError."""
        if full:
            await self.make_room()
        elif is_damage(error):
            await self._begin_anew(error)
        elif self._journal.store.missing is not None:
            await self._begin()
        else:
            await self._journal.call(self._journal.store.reopen)

    async def _begin(self) -> None:
        """Open the file that was `missing`: what it knows of the sinks counts. Raises sqlite3.Error, OSError."""
        journal = self._journal
        takes = {name: state.only for name, state in journal.states.items()}
        journal.states = await journal.call(open_late, journal.store, takes)
        journal.undated = journal.store.undated.after
        journal.moved()

    # --- a full file --------------------------------------------------------------------------------------------------

    async def made_room(self) -> bool:
        """False: nothing can be deleted, or not even that is possible, for the disk itself is full."""
        try:
            return await self.make_room()
        except (sqlite3.Error, OSError) as error:
            log.error("no room can be made error=%s", error)
            return False

    async def make_room(self) -> bool:
        """Delete or thin something; False: there is nothing. Raises sqlite3.Error."""
        journal = self._journal
        states, held = copy.deepcopy(journal.states), journal.unsaved_held()
        freed = await journal.call(journal.store.make_room, states, held)
        if freed is not None:
            apart = [old for old in self._rewritten if old.upto <= freed.after or freed.upto < old.upto]
            self._rewritten = deque([*apart, freed], maxlen=MOST_REWRITTEN)
            if freed.upto:
                self._only_as_before(states, freed)
            journal.moved()
        return freed is not None

    def _only_as_before(self, states: Mapping[str, SinkState], freed: Freed) -> None:
        """What stood there and was sent or settled while it was being rewritten goes out again, as it is now: a range
        that ends within the new row would hide the rest of it."""
        for name, state in self._journal.states.items():
            self._journal.unsend(name)
            if name in states and not states[name].cursor.covers(freed.after, freed.upto):
                state.cursor.unsettle(freed.after, freed.upto)

    def is_stale(self, rows: Sequence[Row]) -> bool:
        """True where one of the rows was thinned after it had been taken."""
        return any(
            freed.after < row.id <= freed.upto and (row.after, row.id) != (freed.after, freed.upto)
            for freed in self._rewritten
            for row in rows
        )

    # --- a damaged file -----------------------------------------------------------------------------------------------

    async def _begin_anew(self, error: object) -> None:
        """Go on in a new file; how far each sink is, is known here better than in the old one."""
        await self._journal.call(self._journal.store.begin_anew, error)
        self._journal.moved()

    async def mend(self, error: sqlite3.Error | OSError, opened: int) -> None:
        """Something other than a commit failed: if the file is damaged, and still the same, replace it."""
        log.error("journal cannot be read error=%s", error)
        task = asyncio.create_task(self._replace(error, opened), name="replace")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.shield(task)
        await asyncio.sleep(RETRY)

    async def _replace(self, error: sqlite3.Error | OSError, opened: int) -> None:
        async with self._journal.alone():
            damaged = isinstance(error, sqlite3.Error) and is_damage(error)
            if damaged and opened == self._journal.store.openings:
                with contextlib.suppress(sqlite3.Error, OSError):  # the next commit says it too
                    await self._begin_anew(error)

    async def bring_back(self) -> None:
        """Bring the rows of a damaged file back, a few pages at a time, beside everything else; for ever."""
        while True:
            aside = self._journal.store.salvaging
            if aside is not None:
                try:
                    readings = await self._salvage(aside)
                    log.warning("damaged journal read file=%s readings=%d", aside, readings)
                    await self._end_salvage()
                except (sqlite3.Error, OSError) as error:
                    log.error("salvage failed, tried again later file=%s error=%s", aside, error)
            await asyncio.sleep(RETRY)

    async def repair(self, seen: Callable[[float], None]) -> None:
        """Bring everything that can be read into a new file, now. Raises sqlite3.Error, OSError."""
        if self._journal.store.salvaging is None:
            await self._begin_anew("repair")
        aside = self._journal.store.salvaging
        if aside is not None:
            await self._salvage(aside, seen)
            await self._end_salvage()
        await self._journal.flush()

    async def _salvage(self, aside: Path, seen: Callable[[float], None] = lambda _: None) -> int:
        """Put back what can be read; readings. Where no more fits, the newest of what is left stay in the old file."""
        journal, readings = self._journal, 0
        try:
            salvage = await asyncio.to_thread(Salvage, aside)
            while (rows := await asyncio.to_thread(salvage.portion)) is not None:
                readings += await journal.call(journal.store.mending.take_over, rows) if rows else 0
                seen(salvage.share)
        except OSError as error:  # the file itself cannot be read: what came so far is what there is
            log.error("damaged journal cannot be read file=%s error=%s", aside, error)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                raise
            log.error("damaged journal does not fit file=%s readings=%d", aside, readings)
        return readings

    async def _end_salvage(self) -> None:
        journal, floor = self._journal, self._journal.store.floor
        first, last = await journal.call(journal.store.end_salvage)
        for state in journal.states.values():
            state.cursor.settle(0, first)
            state.cursor.settle(last, floor)
        journal.moved()
        await journal.grown()
