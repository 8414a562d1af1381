"""A journal whose file can be taken away and put back in any state, for the state machine: its power can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from edge_agent import lately
from edge_agent import store as stores
from edge_agent.body import unpack
from edge_agent.cursor import Cursor
from edge_agent.journal import Journal
from edge_agent.lines import Line, parse
from edge_agent.rows import Row
from edge_agent.store import Store
from edge_agent.thin import GAP, Policy
from tests.edge_agent.journal_model import SINKS

T = TypeVar("T")

SECTOR = 512
MEMORY = Path("/dev/shm")
"""Where a sync costs nothing; what it is worth, the power cuts of tests/faults show."""
Files = dict[str, bytes]
Known = dict[str, tuple[int, list[tuple[int, int]]]]


class AtOnce(asyncio.SelectorEventLoop):
    """A loop without threads: what the journal gives to its own is done when it is given."""

    def run_in_executor(self, _: object, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Do it."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(work(*arguments))
        except BaseException as error:  # noqa: BLE001  # as the thread's executor does
            done.set_exception(error)
        return done


class Box:
    """The journal, its files, its clock and its event loop."""

    def __init__(self, clock: int) -> None:
        """Open an empty journal; `clock`: the wall's, in ms, `since_boot` the one that nobody sets."""
        self.clock = clock
        self.since_boot = 0
        self.loop = AtOnce()
        self.root = Path(tempfile.mkdtemp(prefix="journal-", dir=MEMORY if MEMORY.is_dir() else None))
        self.round = 0
        stores._now_ms, lately._now = lambda: self.clock, lambda: self.since_boot / 1000
        self.folder = self.root / "0"
        self.folder.mkdir()
        self._open()

    def _open(self) -> None:
        store = Store(self.folder / "journal.db", "cl-02", f"boot-{self.round}", 64 << 20, Policy(10_000))
        self.journal = Journal(store, SINKS, window=0.01, keep_days=30)

    def passes(self, ms: int) -> None:
        """Time goes by."""
        self.clock += ms
        self.since_boot += ms

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The answer, now."""
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(Exception):
            self.run(self.journal.close())
        self.loop.close()
        shutil.rmtree(self.root)

    def files(self) -> Files:
        """What is on the disk."""
        return {name: (self.folder / name).read_bytes() for name in ("journal.db", "journal.db-wal")}

    def start_anew(self, files: Files) -> None:
        """The process begins again with these files."""
        self.journal.store._db.close()
        self.round += 1
        self.folder = self.root / str(self.round)
        self.folder.mkdir()
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        self._open()
        if self.round % 2:  # so that the log stays short: each start sums all of it up
            self.journal.store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def steps(self) -> Iterator[list[Files]]:
        """The files as they were before each transaction."""
        steps: list[Files] = []
        db = self.journal.store._db
        db.set_trace_callback(lambda did: steps.append(self.files()) if did.startswith("BEGIN") else None)
        yield steps
        db.set_trace_callback(None)

    # --- what is in it ------------------------------------------------------------------------------------------------

    def bodies(self) -> list[tuple[int, int, bytes]]:
        """The rows, to be compared."""
        return [(row.after, row.id, row.body) for row in self.rows()]

    def known(self) -> Known:
        """How far each sink is, as the disk knows."""
        return {name: (state.cursor.low, state.cursor.ranges) for name, state in self.journal.store.states().items()}

    def cursor(self, sink: str) -> tuple[int, list[tuple[int, int]]]:
        """How far a sink is, as the journal knows."""
        cursor = self.journal.states[sink].cursor
        return cursor.low, list(cursor.ranges)

    def rows(self) -> list[Row]:
        """All of them."""
        store = self.journal.store
        return store.rows(0, store.last_id, 1 << 30, 1 << 30)

    def lines(self) -> list[Line]:
        """All of them."""
        return [line for row in self.rows() for line in parse(unpack(row.body))]


def markers(lines: list[Line]) -> list[Line]:
    """What says that readings are missing."""
    return [line for line in lines if line.measurement == GAP]


def torn(before: Files, after: Files, chance: random.Random) -> Files:
    """Some of the sectors that the last commit wrote to the log, in any order; the file itself as it was before."""
    old, new = before["journal.db-wal"], bytearray(after["journal.db-wal"])
    if before["journal.db"] != after["journal.db"]:  # a checkpoint came after the commit: that one was synced before
        return after
    old = old.ljust(len(new), b"\0")
    kept = chance.choice([0.0, 0.5, 0.95, 1.0])
    for at in range(0, len(new), SECTOR):
        if chance.random() >= kept:
            new[at : at + SECTOR] = old[at : at + SECTOR]
    return {"journal.db": before["journal.db"], "journal.db-wal": bytes(new)}


def covers(cursor: Cursor, rows: list[Row]) -> bool:
    """True where all rows are settled."""
    probe = Cursor(cursor.low, list(cursor.ranges))
    for row in rows:
        probe.settle(row.after, row.id)
    return (probe.low, probe.ranges) == (cursor.low, cursor.ranges)


def missing(markers: list[Line]) -> int:
    """How many readings are missing, say the markers."""
    return sum(int(line.fields[0][1].removesuffix("i")) for line in markers)


def by_device(markers: list[Line]) -> Counter[str]:
    """Readings of the markers themselves."""
    return Counter(line.device for line in markers for _ in line.fields)
