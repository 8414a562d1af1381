"""What sinks refused goes once more or is forgotten: portion by portion, whole each, watched."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from edge_agent import quarantine
from edge_agent.__main__ import main
from edge_agent.account import fold_all
from edge_agent.bench_ask import LINES, MARK
from edge_agent.body import unpack
from edge_agent.client import ask
from edge_agent.journal import Journal, Settled
from edge_agent.journal_routes import Pick
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import parse
from edge_agent.maintain import Held as Lock
from edge_agent.quarantine import Handled, Handling, handle, handle_some
from edge_agent.rows import Held
from tests.e2e.box import Agent
from tests.edge_agent.journal_kept import NOW, at, journal, put, run
from tests.edge_agent.tools_box import box, filled, on, said


async def refuse(kept: Journal, damaged: int = 0) -> int:
    """The centre refuses all that waits for it; of the first so many the line is no line any more. How many."""
    held: list[Held] = []
    rows = await kept.take("centre", 1000, 1 << 20)
    for row in rows:
        singles = [each for line in parse(unpack(row.body)) for each in line.single()]
        for n, each in enumerate(singles):
            text = each.text().replace(" ", "", 1) if len(held) < damaged else each.text()
            number = row.after + 1 + n
            held.append(Held("centre", row.id, number, each.device, "weather", NOW // HOUR_MS, text, "no"))
    kept.settle("centre", rows, Settled(sum(row.readings for row in rows) - len(held), 0, tuple(held)))
    await kept.flush()
    assert kept.states["centre"].quarantined == len(held)
    return len(held)


def test_refused_reading_whose_line_is_damaged_keeps_no_other_from_going_again(tmp_path: Path) -> None:
    """The others go; it stays, is told, and can be dropped."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        await refuse(kept, damaged=1)
        assert (await handle(kept, "release", "centre", [])).so_far == Handled(1, 0, 0, 1)
        assert kept.states["centre"].quarantined == 1
        assert (await handle(kept, "drop", "centre", [])).so_far == Handled(1, 0)
        assert (kept.states["centre"].quarantined, kept.states["centre"].words) == (0, "")

    run(work, lambda: journal(tmp_path))


@pytest.mark.parametrize("step", ["release", "drop"])
@pytest.mark.parametrize("portion", [1, 3, 6, 500])
def test_portions_come_to_the_same_as_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portion: int, step: quarantine.Step
) -> None:
    """Chosen ones, one of them damaged, and two numbers that nobody knows; what was not chosen stays."""
    monkeypatch.setattr(quarantine, "PORTION", portion)

    async def work(kept: Journal) -> None:
        await put(kept, at(0), at(1), at(2))
        assert await refuse(kept, damaged=1) == 6
        found = await handle(kept, step, "centre", [1, 2, 4, 6, 70, 80])
        assert found.so_far == (Handled(3, 0, 2, 1) if step == "release" else Handled(4, 0, 2))
        left = kept.store.select("SELECT id FROM quarantine ORDER BY id")
        assert [id_ for (id_,) in left] == ([1, 3, 5] if step == "release" else [3, 5])
        assert kept.waiting("centre") == (3 if step == "release" else 0)
        sums = (await kept.ledger(0)).values()
        assert sum(row["stored"] for row in sums) == 6
        assert sum(row["quarantined"] for row in sums) == (3 if step == "release" else 6)

    run(work, lambda: journal(tmp_path))


def test_what_is_refused_anew_while_others_are_released_waits_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two portions readings are committed and refused again: one call ends all the same."""
    monkeypatch.setattr(quarantine, "PORTION", 2)

    async def work(kept: Journal) -> None:
        await put(kept, at(0), at(1))
        await refuse(kept)
        first = await handle_some(kept, "release", "centre", [])
        assert (first.so_far, first.share) == (Handled(2, 0), 0.5)
        await put(kept, at(2))
        refused = await kept.take("centre", 1000, 1 << 20)
        assert sum(row.readings for row in refused) == 4
        assert await refuse_again(kept) == 4
        second = await handle_some(kept, "release", "centre", [], first)
        third = await handle_some(kept, "release", "centre", [], second)
        assert (third.so_far, third.is_all, third.share) == (Handled(4, 0), True, 1.0)
        assert kept.states["centre"].quarantined == 4

    async def refuse_again(kept: Journal) -> int:
        before = kept.states["centre"].quarantined
        kept.states["centre"].quarantined = 0
        found = await refuse(kept)
        kept.states["centre"].quarantined += before
        return found

    run(work, lambda: journal(tmp_path))


@pytest.mark.parametrize("step", ["release", "drop"])
def test_bar_rises_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    """Also where the sink's quarantine does not begin at number 1; an empty one is at its end at once."""
    monkeypatch.setenv(LINES, "lines")
    monkeypatch.setattr(quarantine, "PORTION", 10)
    file = box(tmp_path)

    async def work(kept: Journal) -> None:
        await filled(kept)
        await refuse(kept)
        await handle(kept, "drop", "centre", list(range(1, 16)))

    on(file, work)
    capsys.readouterr()
    words = ["journal", "quarantine", step, "-c", str(file), "--sink", "centre"]
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert msgspec.json.decode(out, type=Handled) == Handled(25, 0)
    word = {"release": "releasing", "drop": "forgetting"}[step]
    assert re.findall(rf"{MARK}(\d+) 100 {word}", err) == ["40", "80", "100"]
    assert main(words) == 0
    assert re.findall(rf"{MARK}(\d+) 100 {word}", capsys.readouterr().err) == ["100"]


def test_running_agent_goes_on_where_the_portion_before_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each request adds to the sums of the last; the audit has one line for all of them."""
    file = box(tmp_path)

    async def work(kept: Journal) -> None:
        await filled(kept, 3)
        await refuse(kept)
        await fold_all(kept)  # as the portion before would have

    on(file, work)
    agent = Agent(tmp_path)
    agent.start()
    try:
        held: Lock = ask(agent.control, "/maintain", Lock, method="POST", body=b'{"name": "me", "steal": false}')
        body = msgspec.json.encode(Pick("centre", [], Handling(Handled(2, 1, 0, 1), 0, 4, 6)))
        done: Handling = ask(agent.control, "/journal/drop", Handling, method="POST", body=body, token=held.token)
        assert done == Handling(Handled(4, 1, 0, 1), 0, 6, 6)
        ask(agent.control, "/maintain", bytes, method="DELETE", token=held.token)
        assert said(capsys, Handled, "quarantine", "release", "-c", str(file), "--sink", "centre") == Handled(4, 0)
        audit = (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8")
        assert (audit.count("journal release"), audit.count("journal drop")) == (1, 0)
    finally:
        agent.kill()
