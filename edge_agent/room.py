"""Making room in the journal: old delivered rows go first; then the oldest rows that wait are thinned, then given up.

Rows that are thinned become one row that stands for all their sequence numbers (`span`), so that no cursor moves. Every
reading that goes is counted in the same transaction, for the ledger and for each sink that still waited for it.
"""

from __future__ import annotations

import logging
import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise, takewhile

import msgspec

from edge_agent.body import DAMAGED, pack, unpack
from edge_agent.cursor import Cursor
from edge_agent.ledger import Key, Ledger, Side, SinkState, pack_side, unpack_side
from edge_agent.lines import join, parse
from edge_agent.schema import checksum
from edge_agent.thin import GAP, Entry, Policy, Thinned, side_of, thin

log = logging.getLogger("edge.journal")

ROWS = 500
"""Rows taken at once: some hundred milliseconds of work."""
GIVEN_UP = 256 << 10
"""Bytes that are given up at once when everything is thinned already."""


class Freed(msgspec.Struct, frozen=True):
    """What making room changed: the rows in (after, upto] are now one row."""

    after: int
    upto: int
    readings: int
    """That went."""


class _Old(msgspec.Struct, frozen=True):
    id: int
    readings: int
    span: int
    first_ms: int
    last_ms: int
    committed_ms: int
    boot: int
    side: bytes
    body: bytes


_COLUMNS = "id, readings, coalesce(span, readings), first_ms, last_ms, committed_ms, boot, side, body"


class Holes:
    """Sequence numbers that no kept reading has: thinned, damaged, or passed over."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Read what is noted."""
        self._db = db
        self._known: tuple[tuple[int, int], ...] = ()
        self._uptos: tuple[int, ...] = ()
        self.read()

    def read(self) -> None:
        """Read the table again."""
        self._known = tuple(self._db.execute("SELECT upto, n FROM holes ORDER BY upto"))
        self._uptos = tuple(upto for upto, _ in self._known)

    def between(self, after: int, upto: int) -> int:
        """How many there are in (after, upto]."""
        known, uptos = self._known, self._uptos
        return sum(n for _, n in known[bisect_right(uptos, after) : bisect_right(uptos, upto)])

    def note(self, after: int, upto: int, n: int) -> None:
        """In the open transaction: (after, upto] has `n` such numbers; `read` afterwards."""
        self._db.execute("DELETE FROM holes WHERE upto > ? AND upto <= ?", (after, upto))
        if n:
            self._db.execute("INSERT INTO holes VALUES (?, ?)", (upto, n))


class Room:
    """The part of the journal that deletes."""

    def __init__(self, db: sqlite3.Connection, ledger: Ledger, holes: Holes, site: str) -> None:
        """Use an open journal."""
        self._db = db
        self._ledger = ledger
        self._holes = holes
        self._site = site

    def trim(self, older_than_ms: int, sinks: Iterable[str], last_id: int, most: int = ROWS) -> int:
        """Delete up to `most` rows that all `sinks` have settled and that are older than the limit; how many it was."""
        if self._ledger.paused:
            return 0
        self._ledger.fold(last_id)
        marks = {name: min(mark, state.cursor.low) for name, state, mark in self._ledger.sinks()}
        upto = min([self._ledger.folded(), *(marks.get(name, 0) for name in sinks)])
        query = "SELECT id, committed_ms FROM blobs WHERE id <= ? ORDER BY id LIMIT ?"
        rows = self._db.execute(query, (upto, most)).fetchall()
        old = [id_ for id_, _ in takewhile(lambda row: row[1] < older_than_ms, rows)]
        if old:
            with self._db:
                self._db.execute("DELETE FROM blobs WHERE id <= ?", (old[-1],))
                self._db.execute("DELETE FROM holes WHERE upto <= ?", (old[-1],))
            self._holes.read()
        return len(old)

    def thin(self, states: Mapping[str, SinkState], last_id: int, policy: Policy) -> Freed | None:
        """Thin the oldest rows that wait, none above `last_id`. None: there is nothing to thin."""
        if self._ledger.paused:
            return None
        while self._ledger.fold(last_id):
            pass
        for after, upto in stretches([state.cursor for state in states.values()], last_id):
            if rows := self._rows(after, upto, "AND span IS NULL"):
                return self._rewrite(rows, states, policy)
        return None

    def give_up(self, states: Mapping[str, SinkState], last_id: int) -> Freed | None:
        """Where all are thinned, give up the oldest. None: there is nothing to free."""
        if self._ledger.paused:
            return None
        for after, upto in stretches([state.cursor for state in states.values()], last_id):
            if rows := self._oldest(after, upto):
                return self._rewrite(rows, states, None)
        return None

    def _rows(self, after: int, upto: int, which: str = "") -> list[_Old]:
        query = f"SELECT {_COLUMNS} FROM blobs WHERE id > ? AND id <= ? {which} ORDER BY id LIMIT ?"
        return [_Old(*row) for row in self._db.execute(query, (after, upto, ROWS))]

    def _oldest(self, after: int, upto: int) -> list[_Old]:
        """The oldest rows of the stretch that are worth giving up; none where only markers are left."""
        taken: list[_Old] = []
        size = 0
        for row in self._rows(after, upto):
            taken.append(row)
            size += len(row.body) + len(row.side)
            if size >= GIVEN_UP:
                break
        return taken if len(taken) > 1 or size > GIVEN_UP // 64 else []

    def _rewrite(self, rows: list[_Old], states: Mapping[str, SinkState], policy: Policy | None) -> Freed:
        """Put one row in the place of `rows`."""
        after, last = rows[0].id - rows[0].span, rows[-1]
        found = thin((entry for row in rows for entry in _entries(row)), self._site, policy)
        body, side = pack(join(entry.line for entry in found.kept)), side_of(found.kept)
        readings, span = sum(side.readings), last.id - after
        times = [entry.line.time for entry in found.kept] or [last.last_ms]
        values = (last.id, readings, min(times), last.last_ms, last.committed_ms, last.boot, pack_side(side), body)
        marks = {name: mark for name, _, mark in self._ledger.sinks()}
        with self._db:
            self._ledger.add(_counts(found, after, last.id, states, marks))
            self._db.execute("DELETE FROM blobs WHERE id > ? AND id <= ?", (after, last.id))
            crc = checksum(last.id, readings, span, body)
            self._db.execute("INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, span, crc))
            self._db.execute("UPDATE quarantine SET blob = ?2 WHERE blob > ?1 AND blob <= ?2", (after, last.id))
            self._holes.note(after, last.id, span - readings)
            gone = sum(found.gone.values())
            note = "INSERT INTO meta VALUES ('thinned', ?1) ON CONFLICT(key) DO UPDATE SET value = value + ?1"
            self._db.execute(note, (gone,))
        self._holes.read()
        how = "thinned" if policy else "given up"
        log.error("journal full, readings %s rows=%d readings=%d", how, len(rows), gone)
        return Freed(after, last.id, gone)


def stretches(cursors: list[Cursor], top: int) -> list[tuple[int, int]]:
    """Ranges that some sink waits for, oldest first, cut where any cursor has an edge: in each, all rows are alike."""
    waiting = [gap for cursor in cursors for gap in cursor.gaps(top)]
    cuts = sorted({edge for gap in waiting for edge in gap})
    return [(a, b) for a, b in pairwise(cuts) if any(gap[0] <= a and b <= gap[1] for gap in waiting)]


def _entries(row: _Old) -> list[Entry]:
    """The row's lines with their monotonic times; a damaged row has none, and counts as it was counted."""
    try:
        lines = parse(unpack(row.body))
    except DAMAGED as error:
        log.error("journal row damaged row=%d error=%s", row.id, error)
        return []
    try:
        side = unpack_side(row.side)
    except DAMAGED:
        side = Side([], [], [])
    monos = side.monos + [0] * (len(lines) - len(side.monos))
    return [Entry(line, monos[i], undated=i in side.undated) for i, line in enumerate(lines)]


def _counts(
    found: Thinned, after: int, upto: int, states: Mapping[str, SinkState], marks: Mapping[str, int]
) -> Counter[Key]:
    """What the ledger must learn: what went, what that was for each sink, and the markers that came."""
    counts: Counter[Key] = Counter()
    for (hour, device, measurement), n in found.gone.items():
        counts[hour, device, "thinned"] += n
        for name, state in states.items():
            if (fate := _fate(state, measurement, after, upto, marks.get(name, 0))) is not None:
                counts[hour, device, f"{fate}:{name}"] += n
    for (hour, device), n in found.markers.items():
        for word in ("expected", "read", "stored"):
            counts[hour, device, word] += n
        for name, state in states.items():
            _leave_out(counts, (hour, device, name), n, _fate(state, GAP, after, upto, marks.get(name, 0)))
    return counts


def _fate(state: SinkState, measurement: str, after: int, upto: int, mark: int) -> str | None:
    """What a reading that went is counted as at a sink; None: it was counted when it was delivered."""
    if upto <= mark:
        return None
    if state.only and measurement not in state.only:
        return "excluded"
    return "delivered" if _above(state.cursor, after) else "thinned"


def _leave_out(counts: Counter[Key], at: Key, n: int, fate: str | None) -> None:
    """A sink that has the readings (no fate, or delivered) gets no marker of them: it is counted as left out."""
    hour, device, name = at
    if fate in (None, "delivered"):
        counts[hour, device, f"excluded:{name}"] += n
    if fate == "delivered":  # the low-water mark will pass the row that now stands there, and count it as sent
        counts[hour, device, f"delivered:{name}"] -= n


def _above(cursor: Cursor, after: int) -> bool:
    """True where what follows `after` is settled above the low-water mark."""
    return any(start <= after < end for start, end in cursor.ranges)
