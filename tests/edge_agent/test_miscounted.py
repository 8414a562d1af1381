"""Readings with more values than quantities, or fewer: a driver is at fault, and nobody else pays for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.reading import NO_FAULTS, Readings, Reason, Source, quantities
from edge_agent.body import unpack
from edge_agent.journal import Journal
from edge_agent.lines import parse
from edge_agent.rows import Miscounted
from edge_agent.store import Store

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))


def at(n: int, *values: float, faulty: bool = False) -> Readings:
    """A reading; its number is its time."""
    return Readings(STATION, n, n, values, {0: Reason.gross_range} if faulty else NO_FAULTS)


@pytest.mark.parametrize("values", [(1.0,), (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("faulty", [False, True])
def test_readings_with_another_number_of_values_than_quantities(
    tmp_path: Path, values: tuple[float, ...], faulty: bool
) -> None:
    """Whoever puts them is told which they are; nothing of that batch is taken or acknowledged, all else is on disk."""
    done: list[str] = []

    async def main() -> None:
        journal = Journal(Store(tmp_path / "journal.db", "cl-02", "boot-1", 64 << 20), {"centre": ()}, 0.01, 30)
        journal.put([at(1, 1.0, 2.0)], lambda: done.append("before"))
        with pytest.raises(Miscounted, match=f"^met-1 weather: {len(values)} values for 2 quantities$"):
            journal.put([at(2, 1.0, 2.0), at(3, *values, faulty=faulty)], lambda: done.append("at fault"))
        journal.put([at(4, 1.0, 2.0)], lambda: done.append("after"))
        await journal.flush()
        (row,) = await journal.take("centre", 100, 1 << 20)
        assert [line.time for line in parse(unpack(row.body))] == [1, 4]
        await journal.close()

    asyncio.run(main())
    assert done == ["before", "after"]
