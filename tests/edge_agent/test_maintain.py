"""The maintenance lock and the audit."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_agent import maintain
from edge_agent.config_commands import ended_in_order
from edge_agent.maintain import Audit, Busy, Lock, NoLock


def test_second_technician_is_told_who_has_the_lock() -> None:
    """One at a time, by name."""
    lock = Lock()
    lock.take("An", "an", steal=False)
    with pytest.raises(Busy) as busy:
        lock.take("Bình", "binh", steal=False)
    assert (busy.value.name, busy.value.stolen) == ("An", False)
    assert lock.now().name == "An"


def test_stolen_lock_is_told_to_whoever_had_it() -> None:
    """The first one's next change fails, and says who took over; the new holder's succeeds."""
    lock = Lock()
    first = lock.take("An", "an", steal=False)
    second = lock.take("Bình", "binh", steal=True)
    assert second.taken_from == "An"
    with pytest.raises(Busy) as busy:
        lock.check(first.token)
    assert (busy.value.name, busy.value.stolen) == ("Bình", True)
    assert lock.check(second.token).name == "Bình"


def test_lock_given_back_is_free() -> None:
    """Only its holder can give it back."""
    lock = Lock()
    held = lock.take("An", "an", steal=False)
    lock.free("another")
    assert lock.now().name == "An"
    lock.free(held.token)
    with pytest.raises(NoLock):
        lock.check(held.token)


def test_silent_holder_loses_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lost the SSH connection holds nobody up."""
    monkeypatch.setattr(maintain, "LAPSE_S", -1.0)
    lock = Lock()
    held = lock.take("An", "an", steal=False)
    assert lock.now().name is None
    with pytest.raises(NoLock):
        lock.check(held.token)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_command_that_is_killed_while_it_holds_the_lock(number: signal.Signals) -> None:
    """It ends in order, so the lock is given back at once; afterwards the signal is what it was."""
    let_go = []
    before = signal.signal(number, signal.SIG_DFL)  # under nohup it is ignored

    def hold() -> None:
        try:
            with ended_in_order():
                os.kill(os.getpid(), number)
        finally:
            let_go.append(number)

    try:
        with pytest.raises(SystemExit) as ended:
            hold()
        assert (let_go, ended.value.code) == ([number], 128 + number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_audit_outlives_the_program(tmp_path: Path) -> None:
    """Each action is a line on disk, and a torn last line is passed over and takes no other with it."""
    audit = Audit(tmp_path)
    asyncio.run(audit.note("An", "an", "config apply"))
    asyncio.run(audit.note("An", "an", "config confirm", result="no_trial"))
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write('{"time": 17, "by": "Bình"'.encode()[:-3])  # in the middle of a letter
    again = Audit(tmp_path)
    before = [("config confirm", "no_trial"), ("config apply", "done")]
    assert [(done.action, done.result) for done in again.newest()] == before
    asyncio.run(again.note("An", "an", "config back"))
    assert [(done.action, done.result) for done in Audit(tmp_path).newest()] == [("config back", "done"), *before]


def test_audit_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has grown is put aside once, not for ever."""
    monkeypatch.setattr(maintain, "MOST_BYTES", 300)
    audit = Audit(tmp_path)
    for _ in range(30):
        asyncio.run(audit.note("An", "an", "maintain"))
    assert {file.name for file in tmp_path.iterdir()} == {"audit.jsonl", "audit.jsonl.1"}
    assert all(file.stat().st_size < 600 for file in tmp_path.iterdir())


def test_disk_that_takes_nothing_does_not_stop_the_audit(tmp_path: Path) -> None:
    """What was done is still shown, and logged; it is on disk with the next line that the disk takes."""
    audit = Audit(tmp_path / "state")
    asyncio.run(audit.note("An", "an", "maintain"))
    assert [done.action for done in audit.newest()] == ["maintain"]
    (tmp_path / "state").mkdir()
    asyncio.run(audit.note("An", "an", "config apply"))
    assert [done.action for done in Audit(tmp_path / "state").newest()] == ["config apply", "maintain"]


def test_stalling_card_holds_only_the_audit_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a line waits for the card all else goes on, other threads too; lines stay in their order, and none is lost
    with its asker."""
    card, waiting, synced = threading.Event(), threading.Event(), os.fsync

    def fsync(file: int) -> None:
        waiting.set()
        assert card.wait(20)
        synced(file)

    monkeypatch.setattr(os, "fsync", fsync)
    audit = Audit(tmp_path)

    async def notes() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        steps = [asyncio.create_task(audit.note("An", "an", f"step {n}")) for n in range(5)]
        await asyncio.to_thread(waiting.wait, 20)  # also a thread is left for others
        assert [done.action for done in audit.newest()] == [f"step {n}" for n in reversed(range(5))]
        for step in steps:
            step.cancel()
        found = await asyncio.gather(*steps, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in found)
        card.set()
        await audit.note("An", "an", "step 5")

    asyncio.run(notes())
    assert [done.action for done in reversed(Audit(tmp_path).newest())] == [f"step {n}" for n in range(6)]
