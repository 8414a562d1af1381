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

    def unsettle(self, after: int, upto: int) -> None:
        """Take (after, upto] out of what is settled."""
        settled = [(0, self.low), *self.ranges] if self.low else list(self.ranges)
        left = [part for a, b in settled for part in ((a, min(b, after)), (max(a, upto), b)) if part[0] < part[1]]
        self.low, self.ranges = 0, []
        for a, b in left:
            self.settle(a, b)

    def covers(self, after: int, upto: int) -> bool:
        """True where all of (after, upto] is settled."""
        return upto <= self.low or any(start <= after and upto <= end for start, end in [(0, self.low), *self.ranges])

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


def lane(cursor: Cursor, top: int, fresh: int, *, backlog: bool) -> tuple[int, int]:
    """Where to send from next: (after, upto]; after == upto: nothing waits.

    The last gap, up to the top, is the live lane; `fresh`, the sequence number before the newest rows, opens one where
    there is none. It takes turns with the oldest gap: `backlog` says that it is that one's turn.
    """
    gaps = cursor.gaps(top)
    if not gaps:
        return top, top
    first, live = gaps[0], gaps[-1]
    if backlog or live[1] < top:
        return first
    return (fresh, top) if live[0] < fresh < top and len(cursor.ranges) < MOST_RANGES else live


def live_lane(cursor: Cursor, top: int, fresh: int) -> tuple[int, int]:
    """The newest rows, those after `fresh`, as far as they still wait; after == upto: none do."""
    gaps = cursor.gaps(top)
    if not gaps or gaps[-1][1] < top or fresh >= top:
        return top, top
    if fresh > gaps[-1][0] and len(cursor.ranges) >= MOST_RANGES:
        return top, top
    return max(gaps[-1][0], fresh), top
