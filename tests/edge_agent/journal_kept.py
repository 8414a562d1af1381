"""A journal that commits while a test works on it, and readings for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

from drivers.reading import Readings, Reason, Source, Value, quantities
from edge_agent.body import unpack
from edge_agent.journal import Journal
from edge_agent.lines import Line, parse
from edge_agent.rows import Row
from edge_agent.store import Store
from edge_agent.thin import GAP

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
LEVEL = Source("water-1", (Q["water.level_m"],))
NOW = 1_786_674_000_000
ALL: tuple[str, ...] = ()


def at(n: int, *values: Value | None, source: Source = STATION, faults: dict[int, Reason] | None = None) -> Readings:
    """Readings `n` ms after NOW."""
    return Readings(source, NOW + n, n, values or (20.0 + n, 80.0), faults or {})


def store(folder: Path, max_bytes: int = 64 << 20) -> Store:
    return Store(folder / "journal.db", "cl-02", "boot-1", max_bytes)


def journal(folder: Path, **sinks: tuple[str, ...]) -> Journal:
    return Journal(store(folder), sinks or {"centre": ALL}, window=0.01, keep_days=30)


def run(work: Callable[[Journal], Coroutine[None, None, None]], subject: Callable[[], Journal]) -> None:
    """Run `work` beside the committing task, then close."""

    async def main() -> None:
        kept = subject()
        committing = asyncio.create_task(kept.run())
        try:
            await asyncio.wait_for(work(kept), 20)
        finally:
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)
            await kept.close()

    asyncio.run(main())


def put(kept: Journal, *readings: Readings) -> asyncio.Future[None]:
    """Put readings; the future is done when they are on disk."""
    committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    kept.put(readings, lambda: committed.set_result(None))
    return committed


def gaps(row: Row) -> list[Line]:
    """The gap markers of a row."""
    return [line for line in parse(unpack(row.body)) if line.measurement == GAP]
