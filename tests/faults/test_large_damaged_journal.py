"""A journal of a million rows, damaged: the agent is up as fast as with an empty one, and brings the rows back."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.body import pack
from edge_agent.ledger import Side, Tally, pack_side
from edge_agent.schema import PAGE, checksum
from edge_agent.store import Store
from tests.e2e.box import Agent
from tests.waiting import wait_until

CONFIG = """
site: cl-02
language: en
state: ./state
box: {every: 1s}
"""
ROWS = 1_000_000
"""Eleven days of a commit a second, about 400 bytes each."""
READINGS = 20
DAMAGED = 40
"""Pages, the first of the file among them."""
START_WITHIN = 3.0
NOW_MS = 1_786_674_000_000


def rows() -> Iterator[tuple[object, ...]]:
    """A commit a second of one station with twenty values."""
    fields = ",".join(f"v{k}={20 + k / 10}" for k in range(READINGS))
    body = pack(f"weather,site=cl-02,sensor=met-1 {fields},q=0i {NOW_MS}\n")
    side = pack_side(
        Side([Tally(NOW_MS // 3_600_000, "met-1", "weather", READINGS, READINGS, READINGS)], [0], [READINGS])
    )
    for n in range(1, ROWS + 1):
        id_, at = n * READINGS, NOW_MS + 1000 * n
        yield id_, READINGS, at, at, at, 1, side, body, None, checksum(id_, READINGS, None, body)


def large_journal(path: Path) -> None:
    """All rows, then some pages gone."""
    Store(path, "cl-02", "boot-1", 4 << 30).close()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA synchronous=OFF")
        file.executemany("INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows())
    file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.close()
    chance, pages = random.Random(1), path.stat().st_size // PAGE
    with path.open("r+b") as raw:
        for page in (0, *chance.sample(range(1, pages), DAMAGED - 1)):
            raw.seek(page * PAGE)
            raw.write(chance.randbytes(PAGE))


def seconds_to_start(folder: Path, agent: Agent) -> float:
    """Until the agent answers."""
    (folder / "agent.yaml").write_text(CONFIG, encoding="utf-8")
    began = time.monotonic()
    agent.start()
    return time.monotonic() - began


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_agent_with_a_million_rows_on_a_damaged_file(tmp_path: Path) -> None:
    """Up within 3 s of what an empty journal takes, reading at once; then all rows of the sound pages are back."""
    (tmp_path / "empty").mkdir()
    empty = Agent(tmp_path / "empty")
    usual = seconds_to_start(tmp_path / "empty", empty)
    empty.kill()

    (tmp_path / "state").mkdir()
    large_journal(tmp_path / "state" / "journal.db")
    agent = Agent(tmp_path)
    try:
        took, began = seconds_to_start(tmp_path, agent), time.monotonic()
        print(f"started after {took:.1f} s, with an empty journal after {usual:.1f} s")
        assert took - usual < START_WITHIN
        assert wait_until(lambda: agent.status().points.total > 0, 10), agent.log()
        assert any("damaged" in reason for reason in agent.status().reasons)
        assert wait_until(lambda: agent.status().journal.readings >= 0.99 * ROWS * READINGS, 400), agent.log()
        print(f"all back after {time.monotonic() - began:.0f} s")
    finally:
        agent.kill()
