"""A disk that is full or fails at one call, each call in turn: what was acknowledged is stored, once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from edge_agent.body import unpack
from edge_agent.lines import parse
from edge_agent.store import Store
from tests.faults.scale import scaled
from tests.faults.writer import NOW, group

CALLS = "pwrite64,fdatasync,fsync,ftruncate"
"""SQLite's, and nobody else's in that process."""
COMMITS = 40
FIRST_CALLS = 200

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def write_with_an_error(folder: Path, error: str, call: int) -> None:
    """Forty commits, of which the given call of each kind fails once; then compare."""
    folder.mkdir()
    inject = f"inject={CALLS}:error={error}:when={call}"
    words = ["strace", "-qq", "-o", str(folder / "strace"), "-e", f"trace={CALLS}", "-e", inject]
    writer = [sys.executable, "-m", "tests.faults.writer", str(folder / "journal.db"), str(COMMITS)]
    done = subprocess.run([*words, *writer], capture_output=True, text=True, timeout=60, check=False)
    what = f"{error} at call {call}: {done.stdout[-300:]} {done.stderr[-600:]}"
    assert done.returncode == 0, what
    acknowledged = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    assert acknowledged == list(range(1, COMMITS + 1)), what
    store = Store(folder / "journal.db", "cl-02", "boot-2", 64 << 20)
    assert store.stat().damaged_files == 0, what
    assert store.select("PRAGMA integrity_check") == [("ok",)], what
    rows = store.rows(0, store.last_id, 1 << 40, 1 << 40)
    stored = Counter(line.time for row in rows for line in parse(unpack(row.body)))
    store.close()
    assert stored == Counter(some.time for n in acknowledged for some in group(n).readings), what
    assert min(stored) >= NOW


def calls_in_turn(folder: Path, calls: range) -> None:
    """Each call with each error."""
    for error in ("ENOSPC", "EIO"):
        for call in calls:
            write_with_an_error(folder / f"{error}-{call}", error, call)


@needs_strace
def test_disk_that_fails_at_one_call(tmp_path: Path) -> None:
    """ENOSPC and EIO at some of the first calls: nothing acknowledged is lost, nothing is there twice."""
    calls_in_turn(tmp_path, range(2, 60, 29))


@needs_strace
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_disk_that_fails_at_each_of_the_first_calls(tmp_path: Path) -> None:
    """The same at each of the first 200."""
    calls_in_turn(tmp_path, range(1, FIRST_CALLS + 1, FIRST_CALLS // scaled(FIRST_CALLS, 10)))
