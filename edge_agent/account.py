"""The ledger's table as it stands at one moment, counted in portions so that no commit has to wait for all of it.

A connection of its own goes on seeing the file as it was at that moment (sqlite.org/isolation.html): what is committed,
settled, thinned or deleted between two portions is neither counted twice nor missed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING

from edge_agent.ledger import FOLDED, Key, Ledger
from edge_agent.schema import migrate
from edge_agent.store import Store

if TYPE_CHECKING:
    from edge_agent.journal import Journal

PORTION = 0.02
"""Seconds of work in one go."""

Table = Mapping[tuple[int, str], Mapping[str, int]]
"""Counts by (hour since 1970 UTC, device) and name."""


class Account:
    """One counting of it. All but `table` belongs to the journal's thread."""

    def __init__(self, db: sqlite3.Connection, since_hour: int, last_id: int) -> None:
        """The file as it is now, rows up to `last_id`; `db` is this account's own."""
        self._db: sqlite3.Connection | None = db
        self._since = since_hour
        self._counts: Counter[Key] = Counter()
        db.execute("BEGIN")
        known = db.execute("SELECT * FROM ledger WHERE hour >= ?", (since_hour,))  # the first question fixes the moment
        self._steps = self._count(known, Ledger(db).uncounted(self._counts, last_id))

    def _count(self, known: sqlite3.Cursor, uncounted: Iterator[None]) -> Generator[None]:
        for *key, n in known:
            self._counts[tuple(key)] += n
            yield
        yield from uncounted

    def portion(self) -> bool:
        """Count on for a while; False: all is counted. Raises sqlite3.Error, also where the file was replaced."""
        if self._db is None:
            raise sqlite3.OperationalError("the journal was opened anew while it was counted")
        until = time.monotonic() + PORTION
        return any(time.monotonic() >= until for _ in self._steps)

    def table(self) -> Table:
        """What was counted."""
        table: dict[tuple[int, str], dict[str, int]] = {}
        for (hour, device, name), n in sorted(self._counts.items()):
            if hour >= self._since:
                table.setdefault((hour, device), {})[name] = n
        return table

    def close(self) -> None:
        """Let the file go."""
        if self._db is not None:
            self._steps.close()
            self._db.close()
            self._db = None


async def count_up(journal: Journal, since_hour: int) -> Table:
    """The ledger's table; what was settled is in it up to this moment. Raises sqlite3.Error."""
    await _fold_most(journal)
    account = await journal.call(begun, journal.store, since_hour)
    try:
        while await journal.call(account.portion):  # what comes in meanwhile is committed in between
            pass
        return await asyncio.to_thread(account.table)
    finally:
        journal.begin(account.close)


async def fold_all(journal: Journal) -> None:
    """Put everything into the ledger that was settled up to this moment. Raises sqlite3.Error."""
    await _fold_most(journal)
    await journal.call(_fold_rest, journal.store)


async def _fold_most(journal: Journal) -> None:
    await journal.flush()
    while await journal.call(journal.store.fold) >= FOLDED:
        pass


def _fold_rest(store: Store) -> None:
    """In one go, so that nothing is settled in between."""
    store.count_unsaved()
    while store.fold():
        pass


def begun(store: Store, since_hour: int) -> Account:
    """Begin to count the table as it stands now. Raises sqlite3.Error."""
    store.count_unsaved()
    missing = store.missing is not None
    name = ":memory:" if missing else f"{store.path.absolute().as_uri()}?mode=ro"
    db = sqlite3.connect(name, uri=True, timeout=10, check_same_thread=False)
    try:
        if missing:
            migrate(db)
        account = Account(db, since_hour, store.foldable)
    except BaseException:
        db.close()
        raise
    store.accounts.add(account)
    return account
