"""What a technician may do to the journal: send a stretch again, put lines in. What sinks refused: `quarantine.py`.

Works on a journal that runs (`journal_routes.py`) and on one that does not (`journal_tools.py`). The ledger stays
exact: what is sent a second time was counted the first time.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from edge_agent import refused
from edge_agent.body import DAMAGED, pack, unpack
from edge_agent.cursor import Cursor
from edge_agent.journal import Journal
from edge_agent.ledger import Key, Side, SinkState, counted, unpack_side
from edge_agent.lines import Line, parse
from edge_agent.store import Store

PORTION = 2000
"""Rows that are sent again in one go: a tenth of a second, in which nothing is committed."""
SOUGHT = 500
"""Rows in which lines are sought in one go: some ten milliseconds."""


class NoSuchSink(Exception):
    """The configuration has no sink of this name."""


class Resent(msgspec.Struct, frozen=True):
    """What goes out again."""

    sink: str
    readings: int
    rows: int


class Resending(msgspec.Struct, frozen=True):
    """What goes out again so far."""

    readings: int
    rows: int
    reached: int
    """Sequence number up to which the journal was looked through …"""
    upto: int
    """… and up to which it is to be."""

    @property
    def is_all(self) -> bool:
        """True where nothing is left to look at."""
        return self.reached >= self.upto

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.reached / max(1, self.upto)


class Imported(msgspec.Struct, frozen=True):
    """What was put in."""

    lines: int
    readings: int
    refused: int
    """Lines that are not of this journal's form."""
    known: int = 0
    """Lines that the journal has already, left as they are: an import that was broken off can be begun again."""


# --- sending again ----------------------------------------------------------------------------------------------------


async def resend(
    journal: Journal, sink: str, span_ms: tuple[int, int], seen: Callable[[float], None] = lambda _: None
) -> Resending:
    """Let the rows with readings of [from, to] go to `sink` again; `seen` hears the share that is done.

    Raises NoSuchSink, sqlite3.Error.
    """
    done = await resend_some(journal, sink, span_ms)
    seen(done.share)
    while not done.is_all:
        done = await resend_some(journal, sink, span_ms, done)
        seen(done.share)
    return done


async def resend_some(
    journal: Journal, sink: str, span_ms: tuple[int, int], so_far: Resending | None = None
) -> Resending:
    """One portion of it, after which readings can be committed. Raises NoSuchSink, sqlite3.Error."""
    state_of(journal, sink)
    if so_far is None:
        await journal.flush()
        so_far = Resending(0, 0, 0, journal.top)
    async with journal.alone():
        state = state_of(journal, sink)
        found = await journal.call(_rows_of, journal.store, span_ms, (so_far.reached, so_far.upto))
        settled = [row for row in found if _has(state.cursor, row[1])]
        for side in await journal.call(_sides, journal.store, [row[1] for row in settled]):
            _uncount(state, side)
        for after, upto, _ in settled:
            state.cursor.unsettle(after, upto)
        journal.touch(sink)
    if len(found) < PORTION:
        await journal.flush()
    reached = found[-1][1] if len(found) == PORTION else so_far.upto
    readings = so_far.readings + sum(n for _, _, n in settled)
    return Resending(readings, so_far.rows + len(settled), reached, so_far.upto)


def state_of(journal: Journal, sink: str) -> SinkState:
    if sink not in journal.states:
        raise NoSuchSink(sink)
    return journal.states[sink]


def _rows_of(store: Store, span_ms: tuple[int, int], numbers: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Some rows of a time, numbered in (after, upto]."""
    query = (
        "SELECT id - coalesce(span, readings), id, readings FROM blobs"
        " WHERE last_ms >= ? AND first_ms <= ? AND id > ? AND id <= ? ORDER BY id LIMIT ?"
    )
    return list(store.select(query, *span_ms, *numbers, PORTION))


def _sides(store: Store, ids: Iterable[int]) -> list[Side]:
    return [unpack_side(side) for id_ in ids for (side,) in store.select("SELECT side FROM blobs WHERE id = ?", id_)]


def _has(cursor: Cursor, id_: int) -> bool:
    return id_ <= cursor.low or any(after < id_ <= upto for after, upto in cursor.ranges)


def _uncount(state: SinkState, side: Side) -> None:
    """The counter of the sink will be raised again; the ledger's was, for good."""
    for tally in side.tallies:
        if state.only and tally.measurement not in state.only:
            state.excluded -= tally.stored
        else:
            state.delivered -= tally.stored


# --- putting lines in -------------------------------------------------------------------------------------------------


async def put_lines(journal: Journal, text: str) -> Imported:
    """Put lines as `edge journal export` writes them into the journal; every sink gets them. What the journal has
    already is not put in again. Raises sqlite3.Error."""
    given, refused = readable(text)
    lines: list[Line] = []
    if given:
        await journal.flush()
        times = [line.time for line in given]
        sought = _Sought({line.text() for line in given}, min(times), max(times))
        while await journal.call(_seek, journal.store, sought, journal.top):  # in portions, as in `resend`
            pass
        async with journal.alone():
            while await journal.call(_seek, journal.store, sought, journal.store.last_id):  # what came since
                pass
            lines = [line for line in given if line.text() not in sought.there]
            if lines:
                await journal.call(append, journal.store, lines, Counter[Key]())
                await journal.grown()
    return Imported(len(lines), sum(len(line.fields) for line in lines), refused, len(given) - len(lines))


class _Sought(msgspec.Struct):
    """Lines that the journal may have already."""

    lines: set[str]
    first_ms: int
    last_ms: int
    reached: int = 0
    """Rows up to this one were looked through."""
    there: set[str] = set()
    """Those of the lines that it has."""


def _seek(store: Store, sought: _Sought, top: int) -> bool:
    """Look through some more rows up to `top`; False: there are no more."""
    some = "(SELECT id, first_ms, last_ms, body FROM blobs WHERE id > ? AND id <= ? ORDER BY id LIMIT ?)"
    span = (sought.reached, top, SOUGHT)
    bodies = store.select(
        f"SELECT body FROM {some} WHERE last_ms >= ? AND first_ms <= ?", *span, sought.first_ms, sought.last_ms
    )
    for (body,) in bodies:
        with contextlib.suppress(*DAMAGED):  # a damaged row has nothing that could be there twice
            sought.there |= sought.lines.intersection(unpack(body).splitlines(keepends=True))
    ((reached,),) = store.select(f"SELECT max(id) FROM {some}", *span)
    sought.reached = reached or sought.reached
    return reached is not None


def readable(text: str) -> tuple[list[Line], int]:
    """The lines that the journal can take, times in milliseconds; how many it cannot."""
    lines: list[Line] = []
    refused = 0
    for raw in text.splitlines():
        if not raw.strip() or raw.startswith("#"):
            continue
        try:
            (line,) = parse(raw)
            _ = line.device
            lines.append(msgspec.structs.replace(line, time=_ms(line.time)))
        except (ValueError, StopIteration):
            refused += 1
    return [line for line in lines if line.fields], refused


def _ms(time: int) -> int:
    """Nanoseconds, as exported, or milliseconds."""
    return time // 1_000_000 if abs(time) >= 10**16 else time


def append(store: Store, lines: Sequence[Line], counts: Mapping[Key, int], released: Sequence[int] = ()) -> int:
    """One new row; with it, what the ledger must learn, and what leaves the quarantine. Its sequence number."""
    side = Side(counted(lines), [0] * len(lines), [len(line.fields) for line in lines])
    times = [line.time for line in lines]
    body = pack("".join(line.text() for line in lines))
    before = store.last_id
    try:
        with store.transaction() as db:
            store.put_row(sum(side.readings), (min(times), max(times)), side, body)
            store.ledger.add(counts)
            refused.delete(db, released)
    except sqlite3.Error:
        store.last_id = before
        raise
    return store.last_id
