"""What is known of a device for people: counts of what became of its requests, and its failure while it lasts."""

from __future__ import annotations

import statistics
from collections import deque

import msgspec

from drivers.quarantine import Cause


class DeviceState(msgspec.Struct):
    """What became of the requests to one device since the start."""

    ok: int = 0
    timeout: int = 0
    garbled: int = 0
    exception: int = 0
    short: int = 0
    late: int = 0
    """Answers that came after their time-out, which was counted as such too."""
    last_error: str = ""
    """`timeout`, `exception 2`; empty: none yet."""
    last_ok: float | None = None
    """Unix seconds of the last poll that read something."""
    cause: str = ""
    """Name of the Cause why nothing is read now; empty: the last poll read something, or nothing is known."""
    next_try: float | None = None
    """Unix seconds of the next request, while the device is asked more rarely than it should; else None."""
    answers: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=64))
    """Seconds that the last good answers took."""

    @property
    def median(self) -> float | None:
        """Usual seconds between request and answer, None before the first."""
        return statistics.median(self.answers) if self.answers else None


class Failure(msgspec.Struct, frozen=True):
    """A device does not give what it should."""

    cause: Cause
    code: int
    """Exception code."""
    since: float
    """Unix seconds of the first failed poll."""
    partly: bool
    """Some of its blocks still answer."""
