"""A centre that takes what a test lets it take, and a journal that is brought to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from drivers.reading import Readings, Source, quantities
from edge_agent.delivery import SinkNow, forward
from edge_agent.journal import Journal, Settled
from edge_agent.rows import Group, Row
from edge_agent.sinks import Life, Sink, SinkDown
from edge_agent.store import Store

Q = quantities()
LEVEL = Source("water-1", (Q["water.level_m"],))
ROOM = 64 << 20


class Centre:
    """A sink of this test: takes everything, unless it is told to be down, or gone; remembers what it got."""

    id = "centre"
    only: tuple[str, ...] = ()
    where = "here"
    most_bytes = 2 << 20

    def __init__(self) -> None:
        """Up, and durable at once."""
        self.got: list[tuple[float, Row]] = []
        self.down: SinkDown | None = None
        self.alive: Life | None = None
        self.gone: SinkDown | None = None
        self.asked: list[str] = []

    async def send(self, rows: Sequence[Row]) -> Settled:
        """See Sink."""
        self.asked.append("send")
        if self.down:
            raise self.down
        self.got += [(time.monotonic(), row) for row in rows]
        return Settled(sum(row.readings for row in rows))

    async def life(self) -> Life | None:
        """See Sink."""
        self.asked.append("life")
        if self.gone:
            raise self.gone
        return self.alive

    async def close(self) -> None:
        """See Sink."""

    @property
    def ids(self) -> list[int]:
        """Sequence numbers of the rows, in order of arrival."""
        return [row.id for _, row in self.got]


def fill(folder: Path, rows: int, *, old: bool = True) -> Store:
    """A journal with `rows` readings, each committed alone; `old`: by an agent that ended an hour ago."""
    store = Store(folder / "journal.db", "cl-02", "boot", ROOM)
    more(store, rows, old=old)
    return store


def more(store: Store, rows: int, *, old: bool = True) -> None:
    """So many further readings, each committed alone; `old`: an hour ago."""
    now = time.time_ns() // 1_000_000
    for n in range(rows):
        group = Group()
        group.add(Readings(LEVEL, now - rows + n, n, (float(n),)))
        store.commit(group)
    if old:
        with store._db as db:
            db.execute("UPDATE blobs SET committed_ms = committed_ms - 3600000")
        store.reopen()


def deliver(
    store: Store,
    sink: Sink,
    script: Callable[[Journal, SinkNow], Awaitable[None]],
    rate: int | None = None,
    spread: float = 0.0,
) -> None:
    """Run `script` while the journal is brought to `sink`, whose backlog starts at once unless `spread` says else."""

    async def main() -> None:
        journal = Journal(store, {"centre": ()}, 0.01, 30)
        now = SinkNow("centre", "here")
        tasks = [asyncio.create_task(journal.run())]
        tasks.append(asyncio.create_task(forward(sink, journal, now, rate, spread), name="forward"))
        try:
            await script(journal, now)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await journal.close()

    asyncio.run(main())


def reading(n: int) -> Readings:
    """One that comes now."""
    return Readings(LEVEL, time.time_ns() // 1_000_000, n, (float(n),))
