"""How far one sink has settled the journal: a low-water mark, and ranges above it, since the newest goes first.

Positions are sequence numbers of readings. A range is (after, upto]: `after` itself is not in it. Pure: no I/O.
"""

from __future__ import annotations

import msgspec

MOST_RANGES = 64
"""Ranges kept above the low-water mark; with this many, only the oldest gap is filled until some have merged."""


class Cursor(msgspec.Struct):
    """What one sink has settled: delivered, excluded, quarantined or thinned."""

    low: int = 0
    """Everything up to and with this sequence number is settled."""
    ranges: list[tuple[int, int]] = []
    """Settled ranges above `low`, in order, none touching another."""

    def settle(self, after: int, upto: int) -> None:
        """Take (after, upto] as settled too."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted([*self.ranges, (after, upto)]):
            if end <= self.low:
                continue
            if start <= self.low:
                self.low = end
            elif merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((start, end))
        self.ranges = merged

    def waiting(self, top: int) -> int:
        """Readings up to `top` that are not settled."""
        return max(0, top - self.low - sum(end - start for start, end in self.ranges))

    def gaps(self, top: int) -> list[tuple[int, int]]:
        """What is not settled up to `top`, oldest first."""
        found, reached = [], self.low
        for start, end in self.ranges:
            found.append((reached, start))
            reached = end
        if reached < top:
            found.append((reached, top))
        return found
