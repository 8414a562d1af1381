"""A box's journal at rest, and the tools that are tried on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from drivers.reading import Readings, Source, quantities
from edge_agent.__main__ import main
from edge_agent.config import load
from edge_agent.journal import Journal
from edge_agent.state_folder import journal_alone

Q = quantities()
STATION = Source("met 1", (Q["weather.temp_c"], Q["weather.rh_pct"]), tags=(("src", "a,b=c"),))
NOW = 1_786_674_000_000
CONFIG = """
site: cl-02
language: en
state: ./state
box: {{disabled: true}}
sinks:
  - id: centre
    influxdb: {{url: "{url}", version: 1, database: {database}}}
  - id: ward
    influxdb: {{url: "{url}", version: 1, database: {database}}}
    only: [water]
"""


def box(folder: Path, url: str = "http://127.0.0.1:9", database: str = "city") -> Path:
    """A configuration in the folder."""
    file = folder / "agent.yaml"
    file.write_text(CONFIG.format(url=url, database=database), encoding="utf-8")
    return file


def on(file: Path, work: Callable[[Journal], Awaitable[None]]) -> None:
    """Work on the journal at rest."""

    async def run() -> None:
        async with journal_alone(load(file)) as journal:
            await work(journal)

    asyncio.run(run())


async def filled(journal: Journal, commits: int = 20) -> None:
    """Some commits of two readings each."""
    for n in range(commits):
        journal.put([Readings(STATION, NOW + 1000 * n, n, (20.0 + n, 80.0))])
        await journal.flush()


def fill(file: Path) -> None:
    """A journal of twenty commits, nothing delivered."""
    on(file, filled)


def said(capsys: pytest.CaptureFixture[str], kind: type[msgspec.Struct], *words: str) -> msgspec.Struct:
    """What a command answers with `--json`."""
    capsys.readouterr()
    main(["journal", *words, "--json"])
    return msgspec.json.decode(capsys.readouterr().out, type=kind)
