"""How much the agent writes to the card in a day, and how that stays within a budget: by committing less often.

Measured is what the kernel charged this process for (`write_bytes` of /proc/self/io), so SQLite's log and its
checkpoints are in it. The journal is nearly all of it.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

DAY_S = 86_400
BUDGET = 4 << 30
"""Bytes a day that a small card bears for some years."""
SPAN = 3600.0
"""Seconds that the projection looks back."""
LEAST_SPAN = 20.0
"""Seconds before anything is projected."""
SHORTEST, LONGEST = 0.02, 1.0
"""Seconds until a commit when somebody waits for the acknowledgement."""


def written_by_us(io: Path = Path("/proc/self/io")) -> int | None:
    """Bytes that this process has written to block devices; None where the kernel does not tell."""
    try:
        lines = io.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)


class Wear:
    """What was written, and the commit window that follows from it."""

    def __init__(self, budget: int) -> None:
        """`budget`: bytes a day."""
        self.budget = budget
        self.window = SHORTEST
        """Seconds until a commit when somebody waits, between SHORTEST and LONGEST."""
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float | None = None, written: int | None = None) -> None:
        """Look once more and adapt; without arguments at this process."""
        written = written_by_us() if written is None else written
        if written is None:
            return
        now = time.monotonic() if now is None else now
        self._samples.append((now, written))
        while self._samples[0][0] < now - SPAN:
            self._samples.popleft()
        self._adapt()

    @property
    def per_day(self) -> int | None:
        """Bytes a day at the pace of the last hour; None: not known yet."""
        if not self._samples:
            return None
        (began, first), (now, last) = self._samples[0], self._samples[-1]
        return int((last - first) / (now - began) * DAY_S) if now - began >= LEAST_SPAN else None

    def _adapt(self) -> None:
        """Twice as long while the pace of the last half minute is too high, half as long when it is half the budget."""
        if len(self._samples) < 2:
            return
        (before, first), (now, last) = self._samples[-2], self._samples[-1]
        pace = (last - first) / max(now - before, 0.001) * DAY_S
        if pace > self.budget:
            self.window = min(LONGEST, 2 * self.window)
        elif pace < self.budget / 2:
            self.window = max(SHORTEST, self.window / 2)
