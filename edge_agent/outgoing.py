"""How far each sink is in the journal, and what it should be sent next. Part of `journal.py`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edge_agent.cursor import Cursor, lane, live_lane
from edge_agent.ledger import SinkState
from edge_agent.rows import Row
from edge_agent.schema import Unreachable
from edge_agent.store import Store

if TYPE_CHECKING:
    from edge_agent.journal import Journal, Settled

LIVE_READINGS = 500
"""A gap up to the newest row that is no larger needs no live lane of its own."""


class Outgoing:
    """What every sink has, and what it lacks."""

    def __init__(self, journal: Journal) -> None:
        """Nothing is under way."""
        self._journal = journal
        self._sent: dict[str, Cursor] = {}
        """Of sinks whose word is not yet final: settled, and what they have taken beyond."""
        self._backlog_next: set[str] = set()
        """Sinks whose live lane was served last."""

    async def take(self, sink: str, most_readings: int, most_bytes: int, *, only_live: bool = False) -> list[Row]:
        """The rows that `sink` should send next; waits until there are some. `only_live`: those of the last minute.

        While much waits, the newest rows go first and the oldest beside them in turn: see `lane`.
        """
        while True:
            opened = self._journal.store.openings
            try:
                after, upto = self._lane(sink, most_readings, only_live=only_live)
                rows = await self._journal.call(self._journal.store.rows, after, upto, most_readings, most_bytes)
                if (
                    not rows
                    and after < upto
                    and not await self._journal.call(self._journal.store.mending.is_really_gone, after, upto)
                ):
                    raise Unreachable("rows out of reach")
            except (sqlite3.Error, OSError) as error:
                await self._journal.recovery.mend(error, opened)
                continue
            if opened != self._journal.store.openings:
                continue  # the rows were asked of another file
            if rows:
                return rows
            if after < upto:
                self._settle_hole(sink, after, upto)
                continue
            await self._journal.more_than(upto)

    def _lane(self, sink: str, most_readings: int, *, only_live: bool) -> tuple[int, int]:
        cursor, top = self._reached(sink), self._journal.sendable
        fresh, gaps = top, cursor.gaps(top)
        if gaps and gaps[-1][1] == top and (only_live or top - gaps[-1][0] > min(most_readings, LIVE_READINGS)):
            fresh = self._journal.store.newest()
        if only_live:
            return live_lane(cursor, top, min(fresh, top))
        chosen = lane(cursor, top, min(fresh, top), backlog=sink in self._backlog_next)
        if chosen[1] == top and chosen[0] > cursor.low:
            self._backlog_next.add(sink)
        else:
            self._backlog_next.discard(sink)
        return chosen

    def _reached(self, sink: str) -> Cursor:
        """What needs no sending: settled, or sent and not yet confirmed, or still being brought back."""
        return self._above_floor(self._sent.get(sink) or self._journal.states[sink].cursor)

    def _above_floor(self, cursor: Cursor) -> Cursor:
        """Without the rows of a damaged file that are still being brought back."""
        if not (floor := self._journal.store.floor):
            return cursor
        visible = Cursor(cursor.low, list(cursor.ranges))
        visible.settle(0, floor)
        return visible

    def sent(self, sink: str, rows: Sequence[Row]) -> None:
        """Rows that `sink` has taken but may still lose: not settled, and not to be sent again for now."""
        if self._journal.recovery.is_stale(rows):
            return
        cursor = self._sent.get(sink)
        if cursor is None:
            known = self._journal.states[sink].cursor
            cursor = self._sent[sink] = Cursor(known.low, list(known.ranges))
        for row in rows:
            cursor.settle(row.after, row.id)

    def unsend(self, sink: str) -> None:
        """What was sent and is not settled is to be sent again."""
        self._sent.pop(sink, None)

    def _settle_hole(self, sink: str, after: int, upto: int) -> None:
        """Rows that are no longer there (given up, or deleted before this sink existed) need no sending."""
        self._journal.states[sink].cursor.settle(after, upto)
        if sink in self._sent:
            self._sent[sink].settle(after, upto)
        self._journal.touch(sink)

    def settle(self, sink: str, rows: Sequence[Row], settled: Settled) -> None:
        """Record that `sink` is done with `rows`; saved with the next commit."""
        if self._journal.recovery.is_stale(rows):
            self.unsend(sink)
            return  # they were thinned meanwhile, and counted as such: what is left of them goes out again
        state, sent = self._journal.states[sink], self._sent.get(sink)
        for row in rows:
            state.cursor.settle(row.after, row.id)
            if sent is not None:  # begun anew since the rows went out
                sent.settle(row.after, row.id)
        state.delivered += settled.delivered
        state.excluded += settled.excluded
        state.quarantined += len(settled.held)
        if settled.held:
            state.words = settled.held[-1].words
        self._journal.keep_refused(settled.held)
        self._journal.touch(sink)

    def waiting(self, sink: str) -> int:
        """Readings on disk that are still to be sent to `sink`."""
        return self._readings_beyond(self._reached(sink))

    def unconfirmed(self, sink: str) -> int:
        """Readings that `sink` has taken and may still lose."""
        settled = self._above_floor(self._journal.states[sink].cursor)
        return max(0, self._readings_beyond(settled) - self.waiting(sink))

    def _readings_beyond(self, cursor: Cursor) -> int:
        gaps = cursor.gaps(self._journal.top)
        return sum(upto - after - self._journal.store.holes.between(after, upto) for after, upto in gaps)

    async def oldest_waiting_ms(self, sink: str) -> int | None:
        """When the oldest row that `sink` has not settled was committed; None: nothing waits."""
        if not self.waiting(sink):
            return None
        found = await self._journal.call(self._journal.store.first_after, self._reached(sink).low)
        return found[1] if found else None


def is_backlog(journal: Journal, rows: Sequence[Row]) -> bool:
    """True where the oldest of the rows was committed more than a minute ago."""
    return rows[0].after < journal.store.newest()


def states_of(store: Store, sinks: Mapping[str, tuple[str, ...]]) -> dict[str, SinkState]:
    """The kept state of each configured sink; a new sink begins with the oldest row that there is."""
    kept = store.states()
    if any(name in kept and kept[name].only != only for name, only in sinks.items()):
        while store.fold():  # what was settled so far counts by the old choice
            pass
    first = store.first_after(0)
    start = 0 if store.floor else first[0] if first else store.last_id
    states: dict[str, SinkState] = {}
    for name, only in sinks.items():
        state = kept.get(name) or SinkState(cursor=Cursor(low=start))
        if state.only != only:
            state.cursor.ranges.clear()  # sent again, so that each reading is counted by one choice
        state.only = only
        state.quarantined = store.count_refused(name)  # after a crash the state may be older than the table
        state.words = state.words if state.quarantined else ""
        states[name] = state
    return states


def open_late(store: Store, sinks: Mapping[str, tuple[str, ...]]) -> dict[str, SinkState]:
    """Open the missing file; where the sinks' states cannot be read, none must be written over them either."""
    store.reopen()
    try:
        return states_of(store, sinks)
    except sqlite3.Error as error:
        store.wait(error)
        raise
