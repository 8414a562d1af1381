"""When a unit that fails is asked again: ever more rarely, all of them within a share of the line. No I/O.

Each unit of each bus has a `Quarantine` of its own. It begins with the third failed poll in a row, or with the first of
a unit that never answered, and ends with the first good one. `Losses` is the bus's: what failures may cost the others.
"""

from __future__ import annotations

from enum import Enum

ENOUGH = 3
"""Failed polls in a row that make a state of it."""
LONGEST = 60.0
"""Seconds between two probes at most, by their number; longer only where the unit's own period is."""
SHAKY = 4
"""Good polls after a failure until a unit is trusted again, at most: as many as it failed."""
SHARE, SAVED = 0.02, 5.0
"""Share of the line's time that failing units may cost the others, and seconds of it that may be saved up."""
LONGEST_FOR_COST = 180.0
"""Seconds between two probes at most where that share is used up."""


class Cause(Enum):
    """Why a unit gives nothing. The names are those of the sentences `trouble.device_<name>`."""

    silent = "silent"
    """No byte comes."""
    garbled = "garbled"
    """Bytes come, but no sound frame of this unit with what was asked for."""
    exception = "exception"
    """It refuses with a code."""
    late = "late"
    """It answers, but after its time-out."""
    no_path = "no_path"
    """A gateway has no way to it (exception 10)."""
    identity = "identity"
    """Another device answers in its place."""


class Quarantine:
    """One unit's failures in a row, and what follows from them."""

    def __init__(self) -> None:
        """Nothing is known."""
        self.failed = 0
        """Polls in a row that read nothing."""
        self.cause: Cause | None = None
        """Of the last failed poll; None: the last one was good."""
        self.shaky = 0
        """Above 0: it failed not long ago."""
        self._known = False

    @property
    def begun(self) -> bool:
        """It is asked more rarely than it should."""
        return self.failed >= (ENOUGH if self._known else 1)

    @property
    def trusted(self) -> bool:
        """It has answered of late, so it may still do: the line is held for it."""
        return self._known and self.failed < ENOUGH

    def read(self) -> None:
        """A poll brought something."""
        self._known, self.failed, self.cause = True, 0, None
        self.shaky = max(0, self.shaky - 1)

    def suspect(self) -> None:
        """It may have been the cause of a failure that is not counted as its own."""
        self.shaky = SHAKY

    def fail(self, cause: Cause) -> None:
        """A poll brought nothing."""
        self.failed += 1
        self.cause = cause
        self.shaky = max(self.shaky, min(self.failed, SHAKY))

    def pause(self, every: float) -> float:
        """Seconds from this poll to the next, of a unit that should be asked `every` so many."""
        if not self.begun:
            return every
        doubled = self.failed - (ENOUGH if self._known else 1) + 1
        return max(every, min(every * float(1 << min(doubled, 30)), LONGEST))


class Losses:
    """What failing units may still cost the healthy ones of their bus."""

    def __init__(self, now: float) -> None:
        """`now`: `time.monotonic()`, here and everywhere."""
        self._left, self._counted = SAVED, now

    def charge(self, seconds: float) -> None:
        """A failure has held the line for so long. What is owed past the longest pause twice over is forgiven."""
        self._left = max(self._left - seconds, -2 * SHARE * LONGEST_FOR_COST)

    def free_at(self, now: float) -> float:
        """When a unit that may fail can next be asked; not above `now`: at once."""
        self._left = min(SAVED, self._left + SHARE * (now - self._counted))
        self._counted = now
        return now - min(self._left, 0.0) / SHARE
