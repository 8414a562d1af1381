"""The time of the newest reading, though a device with a wrong clock may have stamped some in another century."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

AHEAD_MS = 600_000
"""A stamp so far beyond the time of its commit is no time of a reading."""
LAST_ROWS = 1000
"""Rows that a start looks at."""


class Newest:
    """Kept up to date with every commit: asking the whole file would take minutes."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """From the last rows."""
        self.last_ms = 0
        """Of the stamps that can be; 0: there is none."""
        self.ahead_ms = 0
        """Of those that cannot; 0: there is none."""
        query = "SELECT last_ms, committed_ms FROM blobs ORDER BY id DESC LIMIT ?"
        rows = db.execute(query, (LAST_ROWS,)).fetchall()
        for last, committed in rows:
            self.row(last, committed)
        if rows and not self.last_ms:  # an earlier version let one such stamp stand on all rows after it
            self.last_ms = rows[0][1]

    def row(self, last_ms: int, committed_ms: int) -> None:
        """A row of which only its last stamp is known."""
        if last_ms <= committed_ms + AHEAD_MS:
            self.last_ms = max(self.last_ms, last_ms)
        else:
            self.ahead_ms = max(self.ahead_ms, last_ms)

    def stamps(self, stamps: Sequence[int], committed_ms: int) -> None:
        """The stamps of a commit."""
        if max(stamps) <= committed_ms + AHEAD_MS:
            self.last_ms = max(self.last_ms, *stamps)
            return
        for stamp in stamps:
            if stamp <= committed_ms + AHEAD_MS:
                self.last_ms = max(self.last_ms, stamp)
            else:
                self.ahead_ms = max(self.ahead_ms, stamp)
