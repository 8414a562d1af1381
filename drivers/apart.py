"""The alarm points of a device that has others too: polled by themselves, at the alarms' priority. No I/O.

A poll then has two turns: first the alarm points, which are reported at once, and the others when nothing on the line
is more urgent. Where the line is so busy that the others fall behind, the alarm points keep their own pace.
"""

from __future__ import annotations

from collections.abc import Iterator

NEVER = float("inf")


class Apart:
    """When each part is due, and how many polls of it were left out."""

    def __init__(self, every: float) -> None:
        """`every`: seconds between two polls, of both parts."""
        self._every = every
        self.due = NEVER
        """`time.monotonic()` of the alarm points' next turn; never: all points are polled together."""
        self._missed = {True: 0, False: 0}

    def asked(self, now: float) -> None:
        """The alarm points have had their turn."""
        turns = max(int((now - self.due) / self._every) + 1, 1)
        self._missed[True] += turns - 1
        self.due += turns * self._every

    def rest_due(self, due: float) -> float:
        """The others have had their turn, that was due at `due`: their next is that of the alarm points."""
        self._missed[False] += max(self._periods(due) - 1, 0)
        return max(self.due, due)

    def failed(self, due: float) -> float:
        """The whole poll is over with the alarm points' turn; since when it counts as due."""
        self._missed[False] += max(self._periods(due), 0)
        return max(self.due, due)

    def both(self, polls: int) -> None:
        """So many polls of both parts were left out."""
        for part in self._missed:
            self._missed[part] += polls

    def take(self, alarm: bool) -> int:
        """Polls of a part that were left out and are reported now."""
        polls, self._missed[alarm] = self._missed[alarm], 0
        return polls

    def left(self) -> Iterator[tuple[bool, int]]:
        """The same of both, at the end."""
        for alarm in (True, False):
            if polls := self.take(alarm):
                yield alarm, polls

    def _periods(self, due: float) -> int:
        return round((self.due - due) / self._every)
