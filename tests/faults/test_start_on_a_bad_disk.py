"""Started on a disk that takes nothing: the agent is up, keeps what it reads in memory, and writes it down later."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.lines import parse
from edge_agent.rows import Row
from edge_agent.store import Store
from tests.e2e.box import Agent
from tests.faults.test_full_disk import NOW, disk, fill, put
from tests.faults.test_power_cut import NO_FUSE, mounted
from tests.waiting import until, wait_until

__all__ = ["disk"]

AGENT = """
site: cl-02
language: en
state: {state}
control: {control}
box: {{every: 1s}}
"""
START_WITHIN = 3.0
"""Seconds; on a machine with much else to do Python alone takes longer, so that the test allows three times as many."""


def remount(disk: Path, how: str) -> None:
    """Read-only or writable."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True, capture_output=True)


def full(disk: Path) -> Callable[[], None]:
    """Fill it; what gives the room back."""
    filler = disk / "filler"
    fill(filler)
    return filler.unlink


def read_only(disk: Path) -> Callable[[], None]:
    """As a card that protects itself; what ends that."""
    remount(disk, "ro")
    return lambda: remount(disk, "rw")


def broken(disk: Path) -> Callable[[], None]:
    """Every call fails; what ends that."""

    def rule(name: str) -> None:
        with contextlib.suppress(FileExistsError):
            (disk / name).touch()

    rule(".broken")
    return lambda: rule(".mended")


def settle(journal: Journal, rows: list[Row]) -> list[int]:
    """As delivered; the stamps of their lines."""
    journal.settle("centre", rows, Settled(sum(row.readings for row in rows)))
    return [line.time for row in rows for line in parse(unpack(row.body))]


async def deliver(journal: Journal) -> list[int]:
    """All that waits."""
    stamps: list[int] = []
    while journal.waiting("centre"):
        stamps += settle(journal, await journal.take("centre", 1000, 1 << 20))
    return stamps


async def begun(disk: Path) -> None:
    """A journal with ten readings, of which the centre has five rows."""
    journal = Journal(Store(disk / "journal.db", "cl-02", "boot-1", 64 << 20), {"centre": ()}, 0.01, 30)
    for n in range(10):
        put(journal, n, 1)
        await journal.flush()
    settle(journal, (await journal.take("centre", 1000, 1 << 20))[:5])
    await journal.close()


async def starts_and_goes_on(disk: Path, breaks: Callable[[Path], Callable[[], None]]) -> list[int]:
    """What the centre gets after a start on the broken disk and its return."""
    await begun(disk)
    mends = breaks(disk)
    began = time.monotonic()
    store = Store(disk / "journal.db", "cl-02", "boot-2", 64 << 20, patient=True)
    journal = Journal(store, {"centre": ()}, 0.01, 30)
    assert time.monotonic() - began < START_WITHIN
    assert journal.error is not None
    running = asyncio.create_task(journal.run())
    try:
        promised = put(journal, 10, 3000)
        await asyncio.sleep(0.1)
        assert not any(done.done() for done in promised)
        assert journal.pending == 2 * 3000
        mends()
        async with asyncio.timeout(20):
            await asyncio.gather(*promised)
        await until(lambda: journal.error is None, within=10.0)
        assert (await journal.stat()).damaged_files == 0
        return await deliver(journal)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await journal.close()


def starts_says_and_goes_on(folder: Path, breaks: Callable[[], Callable[[], None]], word: str) -> None:
    """An agent that is started on a disk after `breaks`, and outlives that."""
    mends = breaks()
    agent = Agent(folder, control=folder / "control.sock")
    began = time.monotonic()
    agent.start()
    try:
        assert time.monotonic() - began < 3 * START_WITHIN
        assert wait_until(lambda: agent.status().journal.pending > 0, 10), agent.log()
        now = agent.status()
        assert now.verdict == "failed"
        assert any(word in reason for reason in now.reasons), now.reasons
        said = agent.run("status")
        assert said.returncode == 2
        assert "In memory, not yet on disk: " in said.stdout
        mends()
        assert wait_until(lambda: agent.status().journal.readings >= now.journal.pending, 10), agent.log()
        assert wait_until(lambda: agent.status().verdict != "failed", 10)
        assert agent.stop() == 0, agent.log()
    finally:
        agent.kill()


@pytest.mark.parametrize("breaks", [full, read_only])
def test_journal_begun_on_a_bad_disk_goes_on_where_it_was(
    disk: Path, breaks: Callable[..., Callable[[], None]]
) -> None:
    """Once the disk is back, the centre gets each reading of memory once, and nothing again that it had before."""
    stamps = asyncio.run(starts_and_goes_on(disk, breaks))
    assert Counter(stamps) == Counter(range(NOW + 5, NOW + 3010))


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason=NO_FUSE)
def test_journal_begun_on_a_failing_disk_goes_on(tmp_path: Path) -> None:
    """The same where every call fails; the file is not taken for damaged."""
    with mounted(tmp_path) as (disk, _):
        stamps = asyncio.run(starts_and_goes_on(disk, broken))
    assert Counter(stamps) == Counter(range(NOW + 5, NOW + 3010))


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason=NO_FUSE)
def test_agent_started_on_a_failing_disk(tmp_path: Path) -> None:
    """Nothing in its state folder can be opened: it is up all the same."""
    with mounted(tmp_path) as (disk, _):
        config = AGENT.format(state=disk, control=tmp_path / "control.sock")
        (tmp_path / "agent.yaml").write_text(config, encoding="utf-8")
        starts_says_and_goes_on(tmp_path, lambda: broken(disk), "card now")


@pytest.mark.faults
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason=NO_FUSE)
def test_what_can_be_asked_while_the_disk_is_read_only(tmp_path: Path) -> None:
    """The ledger says that it cannot be told, in a sentence; the support bundle is made without it."""
    with mounted(tmp_path) as (disk, _):
        config = AGENT.format(state=disk, control=tmp_path / "control.sock")
        (tmp_path / "agent.yaml").write_text(config, encoding="utf-8")
        agent = Agent(tmp_path, control=tmp_path / "control.sock")
        agent.start()
        try:
            assert wait_until(lambda: agent.status().journal.readings > 0, 20), agent.log()
            with contextlib.suppress(FileExistsError):
                (disk / ".read-only").touch()
            assert wait_until(lambda: agent.status().journal.error is not None, 20), agent.log()
            ledger = agent.run("ledger")
            assert (ledger.returncode, ledger.stdout) == (2, "")
            assert ledger.stderr.startswith("It could not be done: attempt to write a readonly database")
            report = agent.run("report", str(tmp_path / "report.tar.gz"))
            assert report.returncode == 0, report.stderr
        finally:
            agent.kill()


def test_new_journal_on_a_full_disk(disk: Path) -> None:
    """A first start, with no file yet: the same."""

    async def main() -> list[int]:
        mends = full(disk)
        journal = Journal(
            Store(disk / "journal.db", "cl-02", "boot-1", 64 << 20, patient=True), {"centre": ()}, 0.01, 30
        )
        running = asyncio.create_task(journal.run())
        try:
            promised = put(journal, 0, 100)
            mends()
            async with asyncio.timeout(20):
                await asyncio.gather(*promised)
            return await deliver(journal)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await journal.close()

    assert Counter(asyncio.run(main())) == Counter(range(NOW, NOW + 100))


@pytest.mark.parametrize(("breaks", "word"), [(full, "disk is full"), (read_only, "disk is read-only")])
def test_agent_started_on_a_bad_disk(
    disk: Path, tmp_path: Path, breaks: Callable[..., Callable[[], None]], word: str
) -> None:
    """It answers at once and says what is wrong; once the disk is back, what it read is on it, without a restart."""
    config = AGENT.format(state=disk / "state", control=tmp_path / "control.sock")
    (tmp_path / "agent.yaml").write_text(config, encoding="utf-8")
    (disk / "state").mkdir()
    starts_says_and_goes_on(tmp_path, lambda: breaks(disk), word)
