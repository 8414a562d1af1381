"""Readings that are only in memory. While the disk takes nothing, sinks are sent them ahead, as they come.

Nothing sent ahead counts as delivered, and no cursor moves: once it is on disk it goes out again with the same stamps,
which overwrites, and is counted then. Left out is what would not have the same stamp again: a message without one
that the broker still keeps for us, and a reading that waits for its time. Decision 020.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from drivers.reading import Readings
from edge_agent.body import pack
from edge_agent.lines import Encoder
from edge_agent.rows import Row

PATIENCE = 10.0
"""Seconds that the disk may take before anything is sent ahead."""
MOST = 500
"""Instants in one request."""


class Unwritten:
    """What came and is not on disk yet, numbered in its order since the start. As long as what the journal keeps."""

    def __init__(self, site: str) -> None:
        """Nothing yet."""
        self._encoder = Encoder(site)
        self._readings: list[Readings] = []
        self._first = 0
        self._since = time.monotonic()

    def extend(self, readings: Iterable[Readings], *, kept: bool) -> None:
        """More came; `kept`: a broker keeps it until it is on disk."""
        if not self._readings:
            self._since = time.monotonic()
        self._readings += [some for some in readings if not some.undated and (some.stamped or not kept)]

    @property
    def end(self) -> int:
        """The number that the next one gets."""
        return self._first + len(self._readings)

    def written(self, upto: int) -> None:
        """Those before this number are on disk."""
        del self._readings[: upto - self._first]
        self._first, self._since = upto, time.monotonic()

    @property
    def overdue(self) -> bool:
        """True while the disk takes nothing."""
        return bool(self._readings) and time.monotonic() - self._since > PATIENCE

    def after(self, number: int) -> tuple[Row | None, int]:
        """Some from `number` on as a row to be sent ahead, and the number after them; None: nothing is to be sent."""
        begin = max(number, self._first)
        at = begin - self._first
        some = self._readings[at : at + MOST] if self.overdue else []
        values = sum(len(readings.values) - readings.values.count(None) for readings in some)
        if not values:
            return None, begin + len(some)
        body = pack("".join(map(self._encoder.encode, some)))
        return Row(values, values, time.time_ns() // 1_000_000, body), begin + len(some)
