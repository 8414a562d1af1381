"""What the long runs look at: the newest reading in a database, memory, files and threads of a process."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import msgspec

from edge_agent.body import unpack
from edge_agent.demo_servers import InfluxDB, ServerFailed
from edge_agent.lines import parse

Key = tuple[str, str, int]
"""Device, `measurement.field` and time in ms."""


class Use(msgspec.Struct, frozen=True):
    """What a process uses now."""

    memory: int
    """Bytes of its own and its share of what it shares (PSS)."""
    own: int
    """Bytes that nobody shares (anonymous): what grows of it is the process's own doing, whoever else runs beside."""
    files: int
    threads: int


def used_by(pid: int) -> Use:
    """Of a process that runs."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    memory, own = 1024 * kilobytes["Pss"], 1024 * kilobytes["Anonymous"]
    return Use(memory, own, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))


def newest_ms(server: InfluxDB, point: str) -> int:
    """Time of the newest value of `measurement.field` in the database; 0 where there is none or nobody answers."""
    measurement, field = point.split(".")
    try:
        rows = server.query(f'SELECT last("{field}") FROM "{measurement}"', "city")
    except ServerFailed:
        return 0
    return int(rows[0]["time"] or 0) if rows else 0


def in_journal(folder: Path) -> list[Key]:
    """Every reading in the journal of a box that has ended: what was acknowledged."""
    rows = sqlite3.connect(folder / "state" / "journal.db").execute("SELECT body FROM blobs").fetchall()
    lines = [line for (body,) in rows for line in parse(unpack(body))]
    return [(line.device, f"{line.measurement}.{name}", line.time) for line in lines for name, _ in line.fields]


def top(folder: Path) -> int:
    """Sequence number of the newest reading on disk, asked beside the running agent."""
    with sqlite3.connect(f"file:{folder}/state/journal.db?mode=ro", uri=True, timeout=5) as journal:
        return int(journal.execute("SELECT max(id) FROM blobs").fetchone()[0] or 0)
