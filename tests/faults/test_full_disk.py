"""A running journal whose disk is full, or becomes read-only, and comes back: nothing is lost, nobody is restarted."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from drivers.reading import Readings, Source, quantities
from edge_agent.journal import Journal, Settled
from edge_agent.store import Store
from tests.faults.test_power_cut import NO_FUSE, mounted
from tests.waiting import until

Q = quantities()
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
NOW = 1_786_674_000_000
MOUNT_BYTES = 2 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = _mount("-t", "tmpfs", "-o", f"size={MOUNT_BYTES}", "none", str(folder))
    if made.returncode:
        pytest.skip(f"nothing can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def _mount(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *words], check=False, capture_output=True, text=True)


def run(disk: Path, work: Callable[[Journal], Awaitable[None]]) -> None:
    """Work on a running journal."""

    async def main() -> None:
        journal = Journal(Store(disk / "journal.db", "cl-02", "boot-1", 64 << 20), {"centre": ()}, 0.01, 30)
        running = asyncio.create_task(journal.run())
        try:
            await asyncio.wait_for(work(journal), 60)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await journal.close()

    asyncio.run(main())


def put(journal: Journal, first: int, count: int) -> list[asyncio.Future[None]]:
    """So many readings, each with its own acknowledgement."""
    loop = asyncio.get_running_loop()
    promised: list[asyncio.Future[None]] = []
    for n in range(first, first + count):
        done = loop.create_future()
        journal.put([Readings(STATION, NOW + n, n, (float(n), 80.0))], partial(done.set_result, None))
        promised.append(done)
    return promised


def fill(filler: Path) -> None:
    """Until nothing more fits."""
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


async def breaks_and_comes_back(journal: Journal, breaks: Callable[[], object], mends: Callable[[], object]) -> None:
    """While the disk is away: the alarm within 10 s, nothing acknowledged; 10 s after it is back: all of it."""
    await asyncio.gather(*put(journal, 0, 10))
    breaks()
    promised = put(journal, 10, 3000)
    await until(lambda: journal.error is not None, within=10.0)
    assert not any(done.done() for done in promised)
    assert not journal.is_full
    promised += put(journal, 3010, 3000)
    mends()
    async with asyncio.timeout(10):
        await asyncio.gather(*promised)
    assert journal.error is None
    assert journal.waiting("centre") == 2 * 6010
    while journal.waiting("centre"):
        rows = await journal.take("centre", 1000, 1 << 20)
        journal.settle("centre", rows, Settled(sum(row.readings for row in rows)))


def test_disk_that_is_full_and_gets_room_again(disk: Path) -> None:
    """Readings stay in memory, and are on disk once there is room."""
    filler = disk / "filler"
    run(disk, lambda journal: breaks_and_comes_back(journal, lambda: fill(filler), filler.unlink))


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason=NO_FUSE)
def test_disk_that_becomes_read_only_and_writable_again(tmp_path: Path) -> None:
    """As a card does that protects itself; the file is not taken for damaged."""
    with mounted(tmp_path) as (disk, _):

        def rule(name: str) -> None:
            with contextlib.suppress(FileExistsError):
                (disk / name).touch()

        async def work(journal: Journal) -> None:
            await breaks_and_comes_back(journal, lambda: rule(".read-only"), lambda: rule(".writable"))
            assert (await journal.stat()).damaged_files == 0

        run(disk, work)
