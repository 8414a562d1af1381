"""What a technician may do to refused readings, where not all of them are whole."""

from __future__ import annotations

from pathlib import Path

from edge_agent import redo
from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import parse
from edge_agent.redo import Handled
from edge_agent.rows import Held
from tests.edge_agent.journal_kept import NOW, at, journal, put, run


def test_refused_reading_whose_line_is_damaged_keeps_no_other_from_going_again(tmp_path: Path) -> None:
    """The others go; it stays, is told, and can be dropped."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0), at(1))
        (row,) = await kept.take("centre", 10, 1 << 20)
        texts = [single.text() for line in parse(unpack(row.body)) for single in line.single()][:2]
        texts[0] = texts[0].replace(" ", "", 1)
        held = [
            Held("centre", row.id, row.after + 1 + n, "met-1", "weather", NOW // HOUR_MS, text, "no")
            for n, text in enumerate(texts)
        ]
        kept.settle("centre", [row], Settled(2, 0, tuple(held)))
        await kept.flush()
        assert kept.states["centre"].quarantined == 2
        assert await redo.release(kept, "centre", []) == Handled(1, 0, 0, 1)
        assert kept.states["centre"].quarantined == 1
        assert await redo.drop(kept, "centre", []) == Handled(1, 0)
        assert kept.states["centre"].quarantined == 0

    run(work, lambda: journal(tmp_path))
