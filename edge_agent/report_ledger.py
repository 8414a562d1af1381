"""The ledger for the centre: each hour's account of each device, as readings of the box in the measurement `ledger`.

They go the way of all readings, so the centre can compare what it has with what there should be. An hour is told when
it is over, and again when a count has changed since: its point then stands a millisecond later for each hour that has
passed, also when the agent was restarted meanwhile, so the last one counts.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import lru_cache

from drivers.driver import Batch, Trouble
from drivers.reading import Readings, Source, Value, quantities
from edge_agent.journal import Journal
from edge_agent.ledger import HOUR_MS

log = logging.getLogger("edge.ledger")

AFTER = 300.0
"""Seconds after the full hour: what was under way then has arrived."""
AGAIN = 60.0
"""Seconds until the next attempt where the disk could not be asked."""
BACK = 48
"""Hours that are looked at again: a sink may have been away for so long."""
COUNTS = ("expected", "read", "stored", "rejected", "quarantined", "thinned")
AT_SINK = ("delivered", "excluded")

Row = Mapping[str, int]


class LedgerReport:
    """Implements Driver."""

    name = "ledger"

    def __init__(self, journal: Journal, pause: float | None = None) -> None:
        """`pause`: seconds between two reports instead of once an hour."""
        self._journal = journal
        self._pause = pause
        self._told: dict[tuple[int, str], Row] = {}

    def progress(self) -> float:
        """See Driver: waiting for the hour is all it does."""
        return time.monotonic()

    def troubles(self) -> list[Trouble]:
        """See Driver."""
        return []

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """See Driver."""
        failed = False
        while True:
            due = _until_due(time.time()) if self._pause is None else self._pause
            await asyncio.sleep(AGAIN if failed else due)
            this_hour = time.time_ns() // 1_000_000 // HOUR_MS
            try:
                table = await self._journal.ledger(this_hour - BACK)
            except sqlite3.Error as error:
                log.warning("ledger not told, tried again error=%s", error)
                failed = True
                continue
            failed = False
            if found := tuple(self._news(table, this_hour)):
                yield Batch(found)

    def _news(self, table: Mapping[tuple[int, str], Row], this_hour: int) -> Iterator[Readings]:
        """What has changed of the hours that are over."""
        over = {key: row for key, row in table.items() if key[0] < this_hour}
        for (hour, device), row in over.items():
            if self._told.get((hour, device)) != row:
                yield from told(device, hour, row, this_hour - 1 - hour)
        self._told = over


def _until_due(now: float) -> float:
    hour = HOUR_MS / 1000
    return hour - (now - AFTER) % hour


def told(device: str, hour: int, row: Row, later: int) -> Iterator[Readings]:
    """One device's hour as readings, stamped with its beginning and `later` ms: the counts, and what each sink got."""
    stamp = hour * HOUR_MS + later
    yield _readings(_source(COUNTS, device), stamp, tuple(_count(row, name) for name in COUNTS))
    sinks = sorted({name.partition(":")[2] for name in row if name.startswith(("delivered:", "excluded:"))})
    for sink in sinks:
        values = tuple(row.get(f"{name}:{sink}", 0) for name in AT_SINK)
        yield _readings(_source(AT_SINK, device, sink), stamp, values)


def _count(row: Row, name: str) -> int:
    """`rejected` is the sum over its reasons."""
    return row.get(name, 0) + sum(n for key, n in row.items() if name == "rejected" and key.startswith("rejected:"))


def _readings(source: Source, stamp: int, values: tuple[Value, ...]) -> Readings:
    mono = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return Readings(source, stamp, mono, values, stamped=True)


@lru_cache(maxsize=10_000)
def _source(names: tuple[str, ...], device: str, sink: str = "") -> Source:
    """Of the device `box`, so that the account of a device is not counted in that account."""
    tags = (("of", device), ("sink", sink)) if sink else (("of", device),)
    return Source("box", tuple(quantities()[f"ledger.{name}"] for name in names), tags, origin="box", event=True)
