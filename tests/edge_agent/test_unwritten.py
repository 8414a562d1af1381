"""What is sent ahead while the disk takes nothing, and what waits for it."""

from __future__ import annotations

import msgspec
import pytest

from edge_agent import unwritten
from edge_agent.body import unpack
from edge_agent.lines import parse
from edge_agent.unwritten import Unwritten
from tests.edge_agent.journal_kept import at


def test_what_would_not_have_the_same_stamp_again_is_not_sent_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that waits for its time, and one that a broker still keeps unless its device stamped it."""
    monkeypatch.setattr(unwritten, "PATIENCE", -1.0)
    waiting = Unwritten("cl-02")
    waiting.extend([at(0), msgspec.structs.replace(at(1), undated=True)], kept=False)
    waiting.extend([at(2), msgspec.structs.replace(at(3), stamped=True)], kept=True)
    row, upto = waiting.after(0)
    assert row is not None
    assert [line.fields[0][1] for line in parse(unpack(row.body))] == ["20.0", "23.0"]
    assert waiting.after(upto) == (None, upto)
    waiting.written(upto)
    assert not waiting.overdue
