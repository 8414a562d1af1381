"""The meeting filled up: where admission closes the door by itself, and where the processor would have ended it.

Both ramps have the load of `bench.meeting_load`. On the second the door stands open: viewers join until one core is
full or those inside are served badly. Only the first of its viewers read what they get; the others' packets are the
kernel's to drop, since the generating process has but one core as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import msgspec

from bench.machine import ON_AGENT_CORE, cpu_seconds
from bench.meeting_load import SERVER, Load, ours
from conference.caller import Caller

PUBLISHERS = 4
ADMITTING = SERVER.replace('"packets_per_second": 1_000_000', '"packets_per_second": 30_000')
"""With the admission limit that a box has by itself."""
STEP, MOST = 4, 120
"""Viewers who join at once on the ramp, and their most."""
WIDE_STEP, WIDE_MOST = 20, 480
"""The same with the door open."""
READERS = 20
"""Viewers who read, with the door open."""
FULL, LATE, LOST = 95.0, 50.0, 1.0
"""Percent of a core, milliseconds (99th percentile) and percent of the packets, from any of which it is saturated."""
PICTURE_SHARE, VOICE_SHARE = 2 / 3, 1 / 3
"""Of a publisher's packets: 100 of 150 a second are video."""

Joined = Callable[[int], Awaitable[list[Caller]]]
"""Lets so many more viewers join, who keep their consent fresh. Raises aiohttp.ClientResponseError on a refusal."""


class Served(msgspec.Struct, frozen=True):
    """How those inside are served."""

    viewers: int
    packets_per_second: float
    """Offered to all viewers."""
    cpu_percent: float
    p99_ms: float
    lost_percent: float
    """Packets that the reading viewers should have had and did not."""

    @property
    def saturated(self) -> bool:
        """One more viewer would be one too many."""
        return self.cpu_percent >= FULL or self.p99_ms > LATE or self.lost_percent > LOST


async def admitted() -> Served:
    """Viewers join, a few at a time under full load, until one is turned away; then the load is looked at."""
    async with _meeting(ADMITTING) as (pid, load, joined):
        with contextlib.suppress(aiohttp.ClientResponseError):
            while len(load.viewers) < MOST:
                await joined(STEP)
                await asyncio.sleep(1.2)  # the server counts packets by the second
        return await _look(pid, load, load.viewers)


async def saturated() -> tuple[Served, Served]:
    """The last step that was served well, and the first that was not, with no limit of packets."""
    async with _meeting(SERVER) as (pid, load, joined):
        await joined(READERS)
        good = found = await _look(pid, load, load.viewers)
        while not found.saturated and len(load.viewers) < WIDE_MOST:
            good = found
            for viewer in await joined(WIDE_STEP):
                viewer.stop_reading()
            found = await _look(pid, load, load.viewers[:READERS])
        return good, found


@contextlib.asynccontextmanager
async def _meeting(server: str) -> AsyncIterator[tuple[int, Load, Joined]]:
    """A meeting whose publishers send, nobody watching yet: process id, load, and how viewers join."""
    async with ours(PUBLISHERS, 0, ON_AGENT_CORE, server) as (pid, load), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(load.send(), name="load")]
        running += [tasks.create_task(caller.keep(), name="consent") for caller in load.publishers]

        async def joined(more: int) -> list[Caller]:
            seated = len(load.viewers)
            await load.more(0, more)
            running.extend(tasks.create_task(caller.keep(), name="consent") for caller in load.viewers[seated:])
            return load.viewers[seated:]

        yield pid, load, joined
        for task in running:
            task.cancel()
        await load.hang_up()


async def _look(pid: int, load: Load, readers: list[Caller]) -> Served:
    """How those are served who read."""
    await asyncio.sleep(2)
    load.delays.clear()
    got, sent = sum(caller.received for caller in readers), sum(caller.sent for caller in load.publishers)
    used, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(5)
    took = time.monotonic() - began
    percent = 100 * (cpu_seconds(pid) - used) / took
    got = sum(caller.received for caller in readers) - got
    sent = sum(caller.sent for caller in load.publishers) - sent
    each = sent * (PICTURE_SHARE + VOICE_SHARE * 3 / PUBLISHERS)
    delays = sorted(load.delays) or [0.0]
    p99 = 1000 * delays[int(len(delays) * 0.99)]
    lost = max(0.0, 100 * (1 - got / max(1.0, each * len(readers))))
    return Served(len(load.viewers), each * len(load.viewers) / took, percent, p99, lost)
