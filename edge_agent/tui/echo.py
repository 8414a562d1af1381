"""How far the terminal is behind us: after a picture it is asked where its cursor stands, and its answer is awaited.

A flush alone tells little: a pseudo terminal takes 64 kB before it makes anyone wait, SSH and the network take more,
and at 960 bytes/s that is a minute. Every terminal since the VT100 answers in its turn (DSR 6, ECMA-48 8.3.35).
"""

from __future__ import annotations

QUESTION = "\x1b[6n"
PATIENCE = 60.0
"""Seconds after which an answer counts as lost."""
FADES = 0.9
"""The memory of a late answer fades by this at each look, once a second: from ten seconds to one in 22."""


class Echo:
    """Questions and answers, in monotonic seconds."""

    def __init__(self) -> None:
        """Nothing has been asked."""
        self._asked: float | None = None
        self._best: float | None = None
        """Seconds of the fastest answer: the line's own round trip. None: this terminal has never answered."""
        self._late = 0.0

    @property
    def under_way(self) -> bool:
        """An answer will come, of a terminal that gives answers."""
        return self._asked is not None and self._best is not None

    def asks(self, now: float) -> bool:
        """True where the question is to be put now: one is under way at most."""
        if self._asked is not None and now - self._asked < PATIENCE:
            return False
        self._asked = now
        return True

    def came(self, now: float) -> None:
        """An answer."""
        if self._asked is None:
            return
        took = now - self._asked
        self._asked = None
        self._best = took if self._best is None else min(took, self._best)
        self._late = max(self._late, took - self._best)

    def behind(self, now: float) -> float:
        """Seconds by which an answer is overdue; 0 while all is well and for a terminal that never answers."""
        if self._asked is None or self._best is None:
            return 0.0
        return max(0.0, now - self._asked - self._best)

    def late(self, now: float) -> float:
        """Seconds by which the answers of late came late."""
        late = max(self._late, self.behind(now))
        self._late = late * FADES
        return late
