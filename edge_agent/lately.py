"""Which readings were committed in the last minute, by the monotonic clock: setting the wall clock makes none young."""

from __future__ import annotations

import time

EVERY = 1.0
"""Seconds between two marks."""
SPAN = 60.0
"""Seconds that marks are kept."""


class Lately:
    """Of one opened file: what was in it before is old. Noted by the journal's thread, asked by any."""

    def __init__(self) -> None:
        """Nothing was committed yet."""
        self._marks: list[tuple[float, int]] = []
        """When, and the sequence number before what was committed then; replaced as a whole."""

    def note(self, before: int) -> None:
        """Something was committed, whose sequence numbers begin above `before`."""
        now = _now()
        if not self._marks or now >= self._marks[-1][0] + EVERY:
            self._marks = [*(mark for mark in self._marks if mark[0] > now - SPAN), (now, before)]

    def before(self, top: int) -> int:
        """The sequence number before the oldest reading of the last minute; `top` where there is none."""
        oldest = _now() - SPAN
        return next((before for at, before in self._marks if at > oldest), top)


def _now() -> float:
    return time.monotonic()
