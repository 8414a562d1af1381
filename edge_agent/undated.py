"""Rows of the journal whose time is still to be found out, because the box's clock was not right when they came.

Each line has its monotonic time beside it; once the clock is right, that tells when it was read. On the journal's
connection and in its thread. What is dated is final: such rows are never sent before.
"""

from __future__ import annotations

import sqlite3

import msgspec

from edge_agent.body import pack, unpack
from edge_agent.ledger import HOUR_MS, Side, pack_side, unpack_side
from edge_agent.lines import stamp_of
from edge_agent.schema import checksum

_MARK = "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2"


class Undated:
    """Which rows they are, and how they get their time."""

    def __init__(self, db: sqlite3.Connection, boot: int) -> None:
        """Those of an earlier boot keep the time that they have: nothing tells it any more."""
        self._db = db
        self._boot = boot
        self.after: int | None = None
        """Rows above this sequence number wait; None: there are none."""
        self.read()
        if self.after is not None and self._meta("undated_boot") != boot:
            self.give_up()

    def read(self) -> None:
        """What is on disk, after a commit."""
        self.after = self._meta("undated")

    def _meta(self, key: str) -> int | None:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return int(found[0]) if found else None

    def begin(self, last_id: int) -> None:
        """Within the transaction of a commit: its rows, above `last_id`, wait, and all that follow."""
        if self.after is None:
            self._db.executemany(_MARK, [("undated", last_id), ("undated_boot", self._boot)])

    def date(self, base: int, last: dict[str, int], most: int = 200) -> int:
        """Give up to `most` rows their right time: `base`, ms, and the monotonic time of each line.

        `last` is the newest stamp so far of each series, and is kept up. The number of rows; 0: all are dated.
        """
        if self.after is None:
            return 0
        query = "SELECT id, readings, span, side, body FROM blobs WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._db.execute(query, (self.after, most)).fetchall()
        if not rows:
            self.give_up()
            return 0
        with self._db:
            for id_, readings, span, side, body in rows:
                new, text, first, final = dated(unpack_side(side), unpack(body), base, last)
                packed = pack(text)
                self._db.execute(
                    "UPDATE blobs SET side = ?, body = ?, first_ms = ?, last_ms = ?, committed_ms = ?, crc = ?"
                    " WHERE id = ?",
                    (pack_side(new), packed, first, final, final, checksum(id_, readings, span, packed), id_),
                )
            self._db.execute(_MARK, ("undated", rows[-1][0]))
        self.after = int(rows[-1][0])
        return len(rows)

    def give_up(self) -> None:
        """Every row keeps the time that it has now."""
        with self._db:
            self._db.execute("DELETE FROM meta WHERE key IN ('undated', 'undated_boot')")
        self.after = None


def dated(side: Side, text: str, base: int, last: dict[str, int]) -> tuple[Side, str, int, int]:
    """A row with the right time: its side, its lines, first and last time in ms. See `Undated.date`."""
    lines, times = text.rstrip("\n").split("\n"), list[int]()
    hours: dict[int, int] = {}
    undated = set(side.undated)
    for i, line in enumerate(lines):
        series, stamp = stamp_of(line)
        if i in undated:
            right = max(base + side.monos[i], last.get(series, 0) + 1)
            hours[stamp // HOUR_MS] = right // HOUR_MS
            last[series] = right
            lines[i] = f"{line[: line.rindex(' ')]} {right}"
            stamp = right
        times.append(stamp)
    # Counts of the hours that were wrong; those of history that a device stamped itself stay where they are.
    tallies = [msgspec.structs.replace(count, hour=hours.get(count.hour, count.hour)) for count in side.tallies]
    changed = msgspec.structs.replace(side, tallies=tallies, undated=[])
    return changed, "\n".join(lines) + "\n", min(times), max(times)
