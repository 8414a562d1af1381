"""What sinks refused: listed, let go to them once more, or forgotten.

Works on a journal that runs and on one that does not, as `redo.py` does, and portion by portion: each is whole, and
readings can be committed after it. The ledger stays exact: what is released leaves the quarantine's count.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from edge_agent import refused
from edge_agent.account import fold_all
from edge_agent.journal import Journal
from edge_agent.ledger import Key, SinkState, Tally, counted
from edge_agent.lines import Line
from edge_agent.redo import append, readable, state_of
from edge_agent.store import Store

PORTION = 500
"""Refused readings in one go: some ten milliseconds."""

Step = Literal["release", "drop"]
"""Let them go to their sink once more; or forget them, and the ledger goes on counting them as quarantined."""


class Refusal(msgspec.Struct, frozen=True):
    """One reading that a sink refused."""

    id: int
    sink: str
    at_ms: int
    device: str
    line: str
    words: str


class Handled(msgspec.Struct, frozen=True):
    """What became of refused readings."""

    done: int
    later: int
    """Not yet counted by the ledger: to be tried again when the sink has what came before."""
    unknown: int = 0
    """Numbers that were asked for and are not in this sink's quarantine."""
    damaged: int = 0
    """Whose line cannot be read any more: all that can be done is to drop them."""


class Handling(msgspec.Struct, frozen=True):
    """What became of them so far."""

    so_far: Handled
    began: int
    """Number after which the sink's quarantine began …"""
    reached: int
    """… up to which it was looked through …"""
    upto: int
    """… and up to which it is to be."""

    @property
    def is_all(self) -> bool:
        """True where nothing is left to look at."""
        return self.reached >= self.upto

    @property
    def share(self) -> float:
        """0 to 1."""
        return 1.0 if self.is_all else (self.reached - self.began) / (self.upto - self.began)


def refusals(db: sqlite3.Connection, sink: str | None) -> list[Refusal]:
    """Those that are kept, oldest first."""
    query = "SELECT id, sink, at_ms, device, line, words FROM quarantine WHERE ?1 IS NULL OR sink = ?1 ORDER BY id"
    return [Refusal(*row) for row in db.execute(query, (sink,))]


async def handle(
    journal: Journal, step: Step, sink: str, ids: Sequence[int], seen: Callable[[float], None] = lambda _: None
) -> Handling:
    """Release or drop those with one of `ids`, or all of the sink; `seen` hears the share that is done.

    Raises NoSuchSink, sqlite3.Error.
    """
    done = await handle_some(journal, step, sink, ids)
    seen(done.share)
    while not done.is_all:
        done = await handle_some(journal, step, sink, ids, done)
        seen(done.share)
    return done


async def handle_some(
    journal: Journal, step: Step, sink: str, ids: Sequence[int], before: Handling | None = None
) -> Handling:
    """One portion of it. Raises NoSuchSink, sqlite3.Error."""
    wanted = set(ids)
    if before is None:
        state_of(journal, sink)
        await fold_all(journal)
        first, last = await journal.call(_span, journal.store, sink)
        if wanted:
            first, last = max(first, min(wanted)), min(last, max(wanted))
        before = Handling(Handled(0, 0, len(wanted)), first - 1, first - 1, last)
    async with journal.alone():
        state_of(journal, sink)  # still there
        portion = await journal.call(_some, journal.store, sink, (before.reached, before.upto))
        found = [each for each in portion if not wanted or each.id in wanted]
        lines = {each.id: each.line for each in found if each.is_counted}
        done = await _STEPS[step](journal, sink, lines)
        journal.count_refused(sink, await journal.call(journal.store.count_refused, sink))
    so_far = Handled(
        before.so_far.done + done,
        before.so_far.later + len(found) - len(lines),
        before.so_far.unknown - len(found) if wanted else 0,
        before.so_far.damaged + len(lines) - done,
    )
    if len(portion) == PORTION:
        return Handling(so_far, before.began, portion[-1].id, before.upto)
    await journal.flush()
    return Handling(so_far, before.began, max(before.reached, before.upto), max(before.reached, before.upto))


class _Kept(msgspec.Struct, frozen=True):
    id: int
    line: str
    is_counted: bool
    """The ledger has counted it for good."""


def _span(store: Store, sink: str) -> tuple[int, int]:
    """First and last number of a sink's quarantine; (1, 0) where there is none."""
    ((first, last),) = store.select("SELECT min(id), max(id) FROM quarantine WHERE sink = ?", sink)
    return first or 1, last or 0


def _some(store: Store, sink: str, numbers: tuple[int, int]) -> list[_Kept]:
    """Some of those numbered in (after, upto]."""
    query = (
        "SELECT q.id, q.line, q.blob <= s.folded FROM quarantine q JOIN sinks s ON s.id = q.sink"
        " WHERE q.sink = ? AND q.id > ? AND q.id <= ? ORDER BY q.id LIMIT ?"
    )
    return [_Kept(id_, line, bool(known)) for id_, line, known in store.select(query, sink, *numbers, PORTION)]


async def _release(journal: Journal, sink: str, texts: Mapping[int, str]) -> int:
    """A new row with what can be read of them, for this sink alone. How many."""
    held = {id_: lines for id_, text in texts.items() if (lines := readable(text)[0])}
    if held:
        lines = [line for some in held.values() for line in some]
        others = {name: other for name, other in journal.states.items() if name != sink}
        before = journal.store.last_id
        top = await journal.call(append, journal.store, lines, _moved(lines, others), list(held))
        for name, other in others.items():
            other.cursor.settle(before, top)
            journal.touch(name)
        await journal.grown()
    return len(held)


async def _drop(journal: Journal, sink: str, texts: Mapping[int, str]) -> int:
    await journal.call(_delete, journal.store, list(texts))
    return len(texts)


_STEPS: Mapping[Step, Callable[[Journal, str, Mapping[int, str]], Awaitable[int]]] = {
    "release": _release,
    "drop": _drop,
}


def _delete(store: Store, ids: Sequence[int]) -> None:
    with store.transaction() as db:
        refused.delete(db, ids)


def _moved(lines: Iterable[Line], others: Mapping[str, SinkState]) -> Counter[Key]:
    """The new row counts these readings once more, and for every sink: so they are taken out here."""
    counts: Counter[Key] = Counter()
    for tally in counted(lines):
        at = (tally.hour, tally.device)
        for name in ("expected", "read", "stored", "quarantined"):
            counts[*at, name] -= tally.stored
        for name, state in others.items():
            counts[*at, _word(state, tally, name)] -= tally.stored
    return counts


def _word(state: SinkState, tally: Tally, name: str) -> str:
    taken = not state.only or tally.measurement in state.only
    return f"{'delivered' if taken else 'excluded'}:{name}"
