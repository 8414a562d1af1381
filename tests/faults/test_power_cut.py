"""Power cuts on a file system that forgets what was not synced: whatever the journal acknowledged is there."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.scale import scaled
from tests.faults.survived import survived
from tests.faults.writer import NOW, group
from tests.waiting import wait_until

NO_FUSE = "/dev/fuse is missing: no file system in user space"
pytestmark = pytest.mark.skipif(not Path("/dev/fuse").exists(), reason=NO_FUSE)


@contextmanager
def mounted(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The file system and the folder where its cuts go."""
    mount, dumps = folder / "disk", folder / "cuts"
    mount.mkdir()
    dumps.mkdir()
    words = [sys.executable, "-m", "tests.faults.powercut", str(mount), str(dumps)]
    with (folder / "fuse.log").open("wb") as log:
        process = subprocess.Popen(words, stderr=log)
        try:
            if not wait_until(lambda: os.path.ismount(mount) or process.poll() is not None, 20) or process.poll():
                pytest.skip(f"no file system in user space: {(folder / 'fuse.log').read_text()[-300:]}")
            yield mount, dumps
        finally:
            subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False, capture_output=True)
            process.terminate()
            process.wait(10)


def cut_often(folder: Path, cuts: int, *pragmas: str, first: int = 0) -> Generator[tuple[Path, int], None, None]:
    """While a journal is being written, cut the power so many times: what the disk holds then, and the last commit
    that had been acknowledged before."""
    chance = random.Random(first)
    with mounted(folder) as (mount, dumps):
        words = [sys.executable, "-m", "tests.faults.writer", str(mount / "journal.db"), "1000000", *pragmas]
        writer = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        os.set_blocking(writer.stdout.fileno(), False)
        try:
            said = b""
            for seed in range(first, first + cuts):
                wanted = said.count(b"\n") + chance.randint(1, 20)
                while said.count(b"\n") < wanted:
                    with contextlib.suppress(BlockingIOError):
                        said += os.read(writer.stdout.fileno(), 65536)
                    time.sleep(chance.uniform(0, 0.003))
                    assert writer.poll() is None
                with contextlib.suppress(FileExistsError):
                    (mount / f".cut-{seed}").touch()
                yield dumps / str(seed), int(said.splitlines()[-1] if said.endswith(b"\n") else said.splitlines()[-2])
        finally:
            writer.kill()
            writer.wait()
            writer.stdout.close()


def assert_nothing_lost(folder: Path, count: int) -> None:
    """After every cut all is there, and none looks like damage to `edge journal verify`. A new journal after twenty."""
    for first in range(0, count, 20):
        (folder / str(first)).mkdir()
        with closing(cut_often(folder / str(first), min(20, count - first), first=first)) as cuts:
            for disk, acknowledged in cuts:
                found = survived(disk, acknowledged)
                assert found.lost == 0, disk
                assert found.is_sound, disk


@pytest.mark.timeout(300)
def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    """With torn sectors too; the file is whole and opens within 3 s."""
    assert_nothing_lost(tmp_path, 20)


@pytest.mark.timeout(300)
def test_less_syncing_does_not_survive_power_cuts(tmp_path: Path) -> None:
    """The control: with synchronous=NORMAL the same test finds what is lost."""
    with closing(cut_often(tmp_path, 8, "synchronous=NORMAL")) as cuts:
        assert sum(survived(disk, acknowledged).lost for disk, acknowledged in cuts) > 0


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_what_was_acknowledged_survives_many_power_cuts(tmp_path: Path) -> None:
    """The same, 200 times."""
    assert_nothing_lost(tmp_path, scaled(200, 40))


def test_writer_numbers_its_commits() -> None:
    """So that a commit can be told by the times of its lines."""
    assert {some.time for some in group(7).readings} == {NOW + 7000, NOW + 7001, NOW + 7002}
