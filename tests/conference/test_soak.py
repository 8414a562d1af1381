"""Long runs, by `make faults`: joins and leaves for ten minutes, and floods larger than the quick tests'.

EDGE_SOAK_SECONDS sets the length (two hours: 7200).
"""

import asyncio
import gc
import os
import random
import time
from pathlib import Path

import pytest

from conference import stun
from tests.conference.attacks import assert_went_on, shoot
from tests.conference.live import Live, Page, live, nothing_unhandled, watched

pytestmark = pytest.mark.faults

SECONDS = float(os.environ.get("EDGE_SOAK_SECONDS", "600"))
GROWTH = 1.10
"""What the peak of memory may grow by between the first third of the run and the last."""


def memory() -> int:
    """Resident KiB of this process: server and clients together."""
    gc.collect()
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmRSS"))
    return int(line.split()[1])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.xdist_group("minutes")
@pytest.mark.timeout(SECONDS + 300)
def test_joins_and_leaves_leave_nothing_behind(tmp_path: Path) -> None:
    """Members come, send, go with and without a goodbye; in the end memory, descriptors and members are as before."""

    async def scenario() -> None:
        rng = random.Random(6)
        async with live(tmp_path) as meeting:
            anchor = await meeting.join("chair")
            anchor.send_media()
            began, opened, peaks = time.monotonic(), descriptors(), [0, 0, 0]
            inside: list[Page] = []
            while time.monotonic() - began < SECONDS:
                await come_or_go(meeting, inside, rng)
                anchor.packets.clear()
                third = min(2, int(3 * (time.monotonic() - began) / SECONDS))
                peaks[third] = max(peaks[third], memory())
            for page in inside:
                await page.drop()
            await anchor.until(lambda: len(anchor.members()) == 1, within=60)
            assert peaks[2] <= peaks[0] * GROWTH
            assert descriptors() <= opened + 5
            await anchor.drop()

    asyncio.run(scenario())


async def come_or_go(meeting: Live, inside: list[Page], rng: random.Random) -> None:
    if len(inside) < 6 and rng.random() < 0.6:
        page = await meeting.join(site=f"cl-{rng.randrange(99):02}")
        page.send_media()
        inside.append(page)
    elif inside:
        await inside.pop(rng.randrange(len(inside))).drop()
    for page in inside:
        page.packets.clear()
    await asyncio.sleep(0.5)


@pytest.mark.timeout(300)
def test_large_floods_leave_the_picture_alone(tmp_path: Path) -> None:
    """200,000 random datagrams and 1,000,000 damaged checks from a stranger."""

    async def scenario() -> None:
        rng = random.Random(7)
        async with nothing_unhandled(), live(tmp_path) as meeting:
            sender, viewer = await watched(meeting)
            began = time.monotonic()
            for _ in range(20):
                await shoot(meeting, [rng.randbytes(rng.randint(0, 300)) for _ in range(10_000)])
            right = stun.request(sender.caller._username, sender.caller._key, bytes(12))
            for _ in range(100):
                await shoot(meeting, [damaged(right, rng) for _ in range(10_000)])
            assert_went_on(viewer, began)
            for page in (sender, viewer):
                await page.drop()

    asyncio.run(scenario())


def damaged(right: bytes, rng: random.Random) -> bytes:
    raw = bytearray(right)
    raw[rng.randrange(len(raw) - 8)] ^= rng.randrange(1, 256)
    return bytes(raw)
