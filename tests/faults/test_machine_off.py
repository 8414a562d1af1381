"""Power cuts of a whole machine: a real kernel, its ext4 on a disk with a cache, QEMU is killed as the power goes."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from tests.faults.nbd import Disk
from tests.faults.scale import scaled
from tests.faults.survived import Survived
from tests.faults.vm import PATIENCE, Machine, booted, command, missing

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

CUTS = 20
MOST = 1_000_000
"""Commits in one life of the machine: more than it lives to write."""
DISK_BYTES = 64 << 20


class Cut(msgspec.Struct, frozen=True):
    """What the machine had said when the power went."""

    acknowledged: int
    """The last commit that must be there."""
    lie: int = MOST
    """A commit acknowledged while the disk took nothing any more: it cannot be there."""


def formatted(folder: Path) -> Disk:
    """An empty ext4, as mkfs makes it."""
    image = folder / "image"
    image.write_bytes(bytes(DISK_BYTES))
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    return Disk(image.read_bytes())


def assert_whole(disk: Disk, folder: Path) -> None:
    """The file system, unmounted."""
    image = folder / "image"
    image.write_bytes(disk.content)
    checked = subprocess.run(["e2fsck", "-f", "-n", str(image)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def numbers(said: list[str]) -> list[int]:
    """The commits that were acknowledged."""
    return [int(line) for line in said if line.isdigit()]


def cut(machine: Machine, disk: Disk, life: int, chance: random.Random) -> Cut:
    """After some commits the power goes, in one of three ways."""
    wanted = chance.randint(1, 60)
    said = machine.wait(lambda said: len(numbers(said)) >= wanted)
    if life % 2 == 0:
        return Cut(numbers(said)[-1], lie=_forgetting(machine, chance))
    if life % 4 == 1:
        time.sleep(chance.uniform(0, 0.3))
    else:
        _writing(disk, chance)
    return Cut(numbers(machine.kill())[-1])


def _forgetting(machine: Machine, chance: random.Random) -> int:
    """Before that, dm-flakey takes writes and flushes without doing them while the machine goes on; the last commit
    that it acknowledges then."""
    machine.tell("forget")
    more = chance.randint(2, 20)  # the first may have been written before it forgot
    machine.wait(lambda said: "forgets" in said and len(numbers(said[said.index("forgets") :])) >= more)
    return numbers(machine.kill())[-1]


def _writing(disk: Disk, chance: random.Random) -> None:
    """While the disk is writing: one of the next writes is its last, and in its cache."""
    disk.stop_after(chance.randint(1, 40))
    assert disk.stopped.wait(PATIENCE)


def lives(folder: Path, disk: Disk, cuts: int, *pragmas: str) -> list[Survived]:
    """The machine with its one disk starts again after every cut: what it finds, each time. Its last life ends well."""
    chance = random.Random(4)
    found, last = [], Cut(0)
    for life in range(cuts + 1):
        more = MOST if life < cuts else 0
        run = command("tests.faults.guest", "/run/disk", last.acknowledged, more, *pragmas)
        with booted(folder, disk, run) as machine:
            said = machine.wait(bool)
            found.append(msgspec.json.decode(said[0], type=Survived))
            assert found[-1].last < last.lie, "the power was not cut"
            if more:
                last = cut(machine, disk, life, chance)
            else:
                machine.end()
        disk.cut(chance)
    assert_whole(disk, folder)
    return found[1:]


def test_what_was_acknowledged_survives_when_the_machine_goes_off(tmp_path: Path) -> None:
    """Every acknowledged commit is there after each cut, the journal and the file system are whole, and it opens
    within 3 s, although the machine is emulated."""
    disk = formatted(tmp_path)
    found = lives(tmp_path, disk, scaled(CUTS))
    slowest = max(each.opened_s for each in found)
    print(
        f"{len(found)} cuts of {found[-1].last} commits: {sum(each.lost for each in found)} acknowledged ones lost; "
        f"{disk.forgotten} writes were not flushed when the power went; opened within {slowest:.1f} s"
    )
    assert len(found) == scaled(CUTS)
    assert [each.lost for each in found] == [0] * len(found)
    assert all(each.is_sound for each in found)


def test_less_syncing_does_not_survive_when_the_machine_goes_off(tmp_path: Path) -> None:
    """The control: with synchronous=NORMAL the same test finds what is lost."""
    found = lives(tmp_path, formatted(tmp_path), 2, "synchronous=NORMAL")
    print(f"synchronous=NORMAL: {[each.lost for each in found]} acknowledged commits lost in {len(found)} cuts")
    assert sum(each.lost for each in found) > 0
