"""What sinks refused goes once more or is forgotten: portion by portion, whole each, watched."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from edge_agent import quarantine, refused
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
from edge_agent.redo import NoSuchSink
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
    assert kept.states["centre"].quarantined >= len(held)
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
        assert await refuse(kept) == 4
        second = await handle_some(kept, "release", "centre", [], first)
        third = await handle_some(kept, "release", "centre", [], second)
        assert (third.so_far, third.is_all, third.share) == (Handled(4, 0), True, 1.0)
        assert kept.states["centre"].quarantined == 4

    run(work, lambda: journal(tmp_path))


def test_sink_that_is_taken_out_of_the_configuration_meanwhile_costs_nobody_a_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next portion says that there is no such sink, and the journal goes on."""
    monkeypatch.setattr(quarantine, "PORTION", 2)

    async def work(kept: Journal) -> None:
        await put(kept, at(0), at(1))
        await refuse(kept)
        first = await handle_some(kept, "drop", "centre", [])
        committing = put(kept, at(2))
        await kept.adopt({"ward": ()})
        with pytest.raises(NoSuchSink):
            await handle_some(kept, "drop", "centre", [], first)
        kept.touch("centre")  # as whoever worked for it when it went
        await committing
        await put(kept, at(3))
        assert kept.waiting("ward") == 8

    run(work, lambda: journal(tmp_path))


def test_crash_before_a_release_was_noted_leaves_no_alarm(tmp_path: Path) -> None:
    """The state of the sink is older than its quarantine: what is there counts."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        await refuse(kept)

    run(work, lambda: journal(tmp_path))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db, db:
        db.execute("DELETE FROM quarantine WHERE id = 1")
    counts: list[tuple[int, str]] = []

    async def look(kept: Journal) -> None:
        counts.append((kept.states["centre"].quarantined, kept.states["centre"].words))

    run(look, lambda: journal(tmp_path))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db, db:
        db.execute("DELETE FROM quarantine")
    run(look, lambda: journal(tmp_path))
    assert counts == [(1, "no"), (0, "")]


def test_drop_ends_the_alarm_also_where_the_oldest_made_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More were refused than are kept."""
    monkeypatch.setattr(refused, "MOST_HELD", 3)

    async def work(kept: Journal) -> None:
        for n in range(4):
            await put(kept, at(n))
            await refuse(kept)
            await fold_all(kept)
        done = (await handle(kept, "drop", "centre", [])).so_far.done
        assert done < 8
        assert kept.states["centre"].quarantined == 0

    run(work, lambda: journal(tmp_path))


def test_one_number_is_looked_for_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not from the beginning, portion by portion."""
    monkeypatch.setattr(quarantine, "PORTION", 2)

    async def work(kept: Journal) -> None:
        await put(kept, *(at(n) for n in range(10)))
        await refuse(kept)
        found = await handle_some(kept, "drop", "centre", [15])
        assert (found.so_far, found.is_all) == (Handled(1, 0), True)
        found = await handle(kept, "drop", "centre", [99, 15])
        assert (found.so_far, found.is_all) == (Handled(0, 0, 2), True)

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
