"""Whoever asked for a change on the control socket goes before it is made: Ctrl-C, a time-out, a lost connection."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from edge_agent.app import App
from edge_agent.changes import Ask
from edge_agent.config import load
from edge_agent.maintain import Held
from tests.edge_agent.stalling_card import Card
from tests.waiting import PATIENCE, until

OLD = "site: cl-02\nname: old\nstate: ./state\nbox: {every: 5s}\n"
NEW = "site: cl-02\nname: new\nstate: ./state\nbox: {every: 6s}\n"


class Asker:
    """A program at the control socket; each question has a connection of its own."""

    def __init__(self, app: App) -> None:
        """It has not asked for the lock."""
        self._control, self.token = app.config.control, ""

    async def asks(self, way: str, body: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The question is on its way."""
        reader, writer = await asyncio.open_unix_connection(self._control)
        head = f"POST {way} HTTP/1.1\r\nHost: edge\r\nX-Maintain: {self.token}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        return reader, writer

    async def told(self, way: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and answer."""
        reader, writer = await self.asks(way, body)
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), answer

    async def locks(self) -> None:
        """Gets the lock."""
        _, answer = await self.told("/maintain", msgspec.json.encode(Ask("An")))
        self.token = msgspec.json.decode(answer, type=Held).token

    async def goes_when(self, way: str, here: Callable[[], bool], body: bytes = b"") -> None:
        """Asks, goes as soon as the agent has come `here`, and returns when the agent has seen that."""
        reader, writer = await self.asks(way, body)
        await until(here)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


@asynccontextmanager
async def box(folder: Path) -> AsyncIterator[App]:
    """A running agent."""
    (folder / "agent.yaml").write_text(OLD, encoding="utf-8")
    app = App(load(folder / "agent.yaml"))
    running = asyncio.create_task(app.run())
    try:
        await until(lambda: app.config.control.exists() and "box" in parts(app))
        yield app
    finally:
        running.cancel()
        await asyncio.wait([running])


def parts(app: App) -> Mapping[str, object]:
    """What runs, by name."""
    return {driver.name: driver for driver in app.drivers()}


def audited(app: App) -> list[str]:
    """Newest first."""
    return [f"{done.action}: {done.result}" for done in app.audit.newest()]


def scenario(folder: Path, work: Callable[[App, Asker], Awaitable[None]]) -> None:
    """Do it on a running agent."""

    async def visit() -> None:
        async with asyncio.timeout(3 * PATIENCE), box(folder) as app:
            await work(app, Asker(app))

    asyncio.run(visit())


def test_change_whose_asker_goes_while_the_card_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of a trial ends as it would have: never a trial half begun, nor half confirmed; the audit has it."""
    card, file = Card(monkeypatch), tmp_path / "agent.yaml"

    async def cut(app: App, asker: Asker) -> None:
        await asker.locks()
        for step, body in (
            ("candidate", NEW.encode()),
            ("apply", b""),
            ("back", b""),
            ("apply", b""),
            ("confirm", b""),
        ):
            before = len(app.audit.newest())
            card.stall()
            await asker.goes_when(f"/config/{step}", lambda: card.waiting > 0, body)
            card.go_on()
            await until(lambda: len(app.audit.newest()) > before)  # noqa: B023
            assert audited(app)[0] == f"config {step}: {'usable' if body else 'done'}"
            assert (app.trial.left_s > 0, app.config.name) == (
                step == "apply",
                "old" if body or step == "back" else "new",
            )
            assert file.read_text(encoding="utf-8") == (NEW if step == "confirm" else OLD)
        assert app.trial.note is None
        status, answer = await asker.told("/config/confirm")
        assert (status, b"no_trial" in answer, file.read_text(encoding="utf-8")) == (409, True, NEW)

    scenario(tmp_path, cut)


def test_asker_goes_while_the_journal_takes_the_candidate_over(tmp_path: Path) -> None:
    """What was stopped for it starts again, and the trial counts down."""

    async def cut(app: App, asker: Asker) -> None:
        await asker.locks()
        await asker.told("/config/candidate", NEW.encode())
        async with app.journal.alone():
            await asker.goes_when("/config/apply", lambda: "box" not in parts(app))
        await until(lambda: "box" in parts(app))
        assert (app.config.name, app.trial.left_s > 0) == ("new", True)

    scenario(tmp_path, cut)


def test_reading_again_that_is_cut_while_the_journal_takes_it_over(tmp_path: Path) -> None:
    """What runs is what ran before, and all of it."""

    async def cut(app: App, _: Asker) -> None:
        app.config.file.write_text(NEW, encoding="utf-8")
        async with app.journal.alone():
            app.reload()
            await until(lambda: "box" not in parts(app))
            [reading] = [task for task in asyncio.all_tasks() if task.get_name() == "reload"]
            reading.cancel()
            await asyncio.wait([reading])
        assert (app.config.name, "box" in parts(app)) == ("old", True)

    scenario(tmp_path, cut)


def test_box_that_is_ended_while_it_reads_again(tmp_path: Path) -> None:
    """It ends: nothing is started any more that nobody would stop."""

    async def ended(app: App, _: Asker) -> None:
        app.config.file.write_text(NEW, encoding="utf-8")
        async with app.journal.alone():
            app.reload()
            await until(lambda: "box" not in parts(app))
            signal.raise_signal(signal.SIGTERM)
        await until(lambda: not app.config.control.exists())

    scenario(tmp_path, ended)


def test_file_read_again_in_a_trial_that_cannot_be_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: the candidate runs on, so the trial does; it still goes back."""

    async def full(_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def visit(app: App, asker: Asker) -> None:
        await asker.locks()
        await asker.told("/config/candidate", NEW.encode())
        assert (await asker.told("/config/apply"))[0] == 200
        with monkeypatch.context() as disk:
            disk.setattr(app.journal, "adopt", full)
            app.reload()
            await until(lambda: app.refused is not None)
            async with app.trial.steps:
                assert (app.config.name, app.trial.left_s > 0) == ("new", True)
        assert (await asker.told("/config/back"))[0] == 200
        assert (app.config.name, app.trial.left_s) == ("old", 0.0)

    scenario(tmp_path, visit)


def test_asker_of_the_lock_goes_before_it_has_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could use that lock: it is free for the next one at once."""
    card = Card(monkeypatch)

    async def cut(app: App, asker: Asker) -> None:
        card.stall()
        await asker.goes_when("/maintain", lambda: card.waiting > 0, msgspec.json.encode(Ask("An")))
        assert app.lock.now().name == "An"
        card.go_on()
        await until(lambda: app.lock.now().name is None)

    scenario(tmp_path, cut)
