"""A process that only writes to a journal: `python -m tests.faults.writer FILE [PRAGMA …]`.

Prints the number of each commit once the journal has said that it is on disk, and `failed` for one that was not taken,
which it then tries again in a new handle as the agent does.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from pathlib import Path

from drivers.reading import Readings, Source, quantities
from edge_agent.cursor import Cursor
from edge_agent.ledger import SinkState, pack_state
from edge_agent.rows import Group
from edge_agent.store import Store

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
NOW = 1_786_674_000_000


def group(n: int) -> Group:
    """The n-th commit: its number is its time; every tenth one is large."""
    found = Group()
    for k in range(200 if n % 10 == 0 else 3):
        found.add(Readings(STATION, NOW + 1000 * n + k, n, (n + k / 1000, k * 0.37)))
    found.states = {"centre": pack_state(SinkState(cursor=Cursor(low=n)))}
    return found


def opened(file: Path, pragmas: list[str]) -> Store:
    """The journal, its settings overruled for a control."""
    while True:
        try:
            store = Store(file, "cl-02", "boot-1", 64 << 20)
            break
        except (sqlite3.Error, OSError) as error:  # the service manager would start the agent again
            os.write(1, f"closed {error}\n".encode())
            time.sleep(0.01)
    for pragma in pragmas:
        store._db.execute(f"PRAGMA {pragma}")
    return store


def main(file: Path, most: int, pragmas: list[str], first: int = 1) -> None:
    """Write and say so, the commits `first` to `most`."""
    store = opened(file, pragmas)
    for n in range(first, most + 1):
        while True:
            try:
                store.commit(group(n))
                break
            except sqlite3.Error as error:
                os.write(1, f"failed {n} {error}\n".encode())
                _again(store)
        os.write(1, f"{n}\n".encode())
        time.sleep(0.001)
    store.close()


def _again(store: Store) -> None:
    """A new handle, as soon as there is one."""
    while True:
        try:
            store.reopen()
            return
        except sqlite3.Error:
            time.sleep(0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
