"""Sending again goes portion by portion, so that it can be watched and readings are committed in between."""

from __future__ import annotations

import math
import re
from pathlib import Path

import msgspec
import pytest

from edge_agent import redo
from edge_agent.__main__ import main
from edge_agent.bench_ask import LINES, MARK
from edge_agent.client import ask
from edge_agent.journal import Journal, Settled
from edge_agent.journal_routes import Resend
from edge_agent.maintain import Held
from edge_agent.redo import Resending, Resent
from tests.e2e.box import Agent
from tests.edge_agent.tools_box import NOW, box, filled, on, said

SINCE = ("--from", "2020-01-01T00:00:00Z")


async def delivered(journal: Journal) -> None:
    """Twenty rows of two readings, which the centre has."""
    await filled(journal)
    while journal.waiting("centre"):
        rows = await journal.take("centre", 1000, 1 << 20)
        journal.settle("centre", rows, Settled(sum(row.readings for row in rows)))
    await journal.flush()


@pytest.mark.parametrize("portion", [3, 5, 2000])
def test_sending_again_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], portion: int
) -> None:
    """A bar that rises to its end, however large a portion is, and the same readings."""
    monkeypatch.setenv(LINES, "lines")
    monkeypatch.setattr(redo, "PORTION", portion)
    file = box(tmp_path)
    on(file, delivered)
    capsys.readouterr()
    main(["journal", "resend", "-c", str(file), "--sink", "centre", *SINCE, "--json"])
    out, err = capsys.readouterr()
    assert msgspec.json.decode(out, type=Resent) == Resent("centre", 40, 20)
    percents = [int(n) for n in re.findall(rf"{MARK}(\d+) 100 sending again", err)]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert len(percents) == math.ceil(20 / portion)


def test_running_agent_sends_again_portion_by_portion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each request goes on where the last one ended, and adds to its sums; the audit has one line."""
    file = box(tmp_path)
    on(file, delivered)
    agent = Agent(tmp_path)
    agent.start()
    try:
        held: Held = ask(agent.control, "/maintain", Held, method="POST", body=b'{"name": "me", "steal": false}')
        body = msgspec.json.encode(Resend("centre", 0, 2 * NOW, Resending(100, 50, 20, 40)))
        done: Resending = ask(agent.control, "/journal/resend", Resending, method="POST", body=body, token=held.token)
        assert done == Resending(120, 60, 40, 40)
        ask(agent.control, "/maintain", bytes, method="DELETE", token=held.token)
        found = said(capsys, Resent, "resend", "-c", str(file), "--sink", "centre", *SINCE)
        assert found == Resent("centre", 20, 10)
        assert agent.status().sinks[0].waiting >= 40
        audit = (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8")
        assert audit.count("journal resend") == 1
    finally:
        agent.kill()
