"""A journal with its dating, for tests that move the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from drivers.reading import Readings, Source, quantities
from edge_agent import clock as clocks
from edge_agent import dating
from edge_agent.body import unpack
from edge_agent.checks import Stamps
from edge_agent.clock import Clock, Told, base_ms
from edge_agent.dating import Dating
from edge_agent.journal import Journal, Settled
from edge_agent.lines import parse
from edge_agent.store import Store

Q = quantities()
LEVEL = Source("water-1", (Q["water.level_m"],))
SERIES = "water,site=cl-02,sensor=water-1"
HOUR = 3_600_000
WAITING, SYNCED, UNKNOWN = Told("waiting", "chrony"), Told("synced", "chrony"), Told("unknown", "none")
YEAR_1970, YEAR_2096 = -56 * 365 * 24 * HOUR, 70 * 365 * 24 * HOUR


class Box:
    """A journal with its dating, whose clock a test moves."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, boot: str = "boot", patience: float = 300
    ) -> None:
        """`off`, ms: how wrong the clock is."""
        self.off = 0
        monkeypatch.setattr(clocks, "base_ms", lambda: base_ms() + self.off)
        monkeypatch.setattr(dating, "base_ms", lambda: base_ms() + self.off)
        self.told = UNKNOWN
        self.store = Store(folder / "journal.db", "cl-02", boot, 64 << 20)
        self.journal = Journal(self.store, {"centre": ()}, 0.01, 30)
        self.stamps = Stamps(self.store.last_stamps())
        self.clock = Clock()
        self.dating = Dating(self.clock, self.journal, self.stamps, patience)

        async def told(*_: object) -> Told:
            return self.told

        monkeypatch.setattr(clocks, "ask", told)

    def read(self, value: float) -> None:
        """A reading now, as the clock goes."""
        mono = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        some = self.dating.stamp(SERIES, Readings(LEVEL, mono + base_ms() + self.off, mono, (value,)))
        assert some is not None
        self.journal.put([some])

    async def sent(self) -> list[tuple[int, str, str]]:
        """Time, value and reason of all that a sink would get now."""
        found = []
        while self.journal.waiting("centre") - self.journal.held > 0:
            rows = await self.journal.take("centre", 1000, 1 << 20)
            lines = [line for row in rows for line in parse(unpack(row.body))]
            found += [(line.time, line.fields[0][1], dict(line.quality).get("qr", "")) for line in lines]
            self.journal.settle("centre", rows, Settled(sum(row.readings for row in rows)))
        return found


def run(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Box], Awaitable[None]],
    *,
    off: int = 0,
    told: Told = UNKNOWN,
    patience: float = 300,
) -> None:
    """Work on a box that has just begun, whose clock is wrong by `off`, ms."""

    async def main() -> None:
        box = Box(folder, monkeypatch, patience=patience)
        box.off, box.told = off, told
        await box.dating.begin()
        await work(box)
        await box.journal.close()

    asyncio.run(main())
