"""The meeting under load: packets, memory, delay, and the ramp at whose end newcomers are turned away.

    python -m bench.meeting [--quick]

The load is that of `bench.meeting_load` (4 publishers of 100 video and 50 voice packets a second, each viewer has all
pictures and three voices), over real ICE, DTLS and SRTP; the server has a core for itself. `bench.meeting_load --janus`
puts Janus beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import aiohttp
import msgspec

from bench.command import main
from bench.machine import ON_AGENT_CORE, cpu_seconds, pss_mb
from bench.meeting_load import SERVER, Load, measure, ours
from bench.meeting_load import Result as Run
from bench.table import Result

PUBLISHERS, VIEWERS, WARD = 4, 20, 10
ADMITTING = SERVER.replace('"packets_per_second": 1_000_000', '"packets_per_second": 30_000')
"""With the admission limit that a box has by itself."""
STEP, MOST = 4, 120
"""Viewers who join at once on the ramp, and their most."""


class Full(msgspec.Struct, frozen=True):
    """The end of the ramp."""

    viewers: int
    cpu_percent: float
    p99_ms: float
    lost_percent: float
    """Packets that the last step's viewers should have had and did not."""


async def run(viewers: int, seconds: float) -> Run:
    """One load."""
    async with ours(PUBLISHERS, viewers, ON_AGENT_CORE) as (pid, load):
        found = await measure("edge", pid, load, seconds)
        await hang_up(load)
    return found


async def hang_up(load: Load) -> None:
    """Everybody goes."""
    for caller in (*load.publishers, *load.viewers):
        await caller.close()


async def memory() -> float:
    """kB of the server for one more viewer."""
    async with ours(PUBLISHERS, 2, ON_AGENT_CORE) as (pid, load):
        await measure("edge", pid, load, 1)
        before = pss_mb(pid)
        await load.more(0, VIEWERS)
        await measure("edge", pid, load, 1)
        more = pss_mb(pid) - before
        await hang_up(load)
    return 1000 * more / VIEWERS


async def ramp() -> Full:
    """Viewers join, a few at a time under full load, until one is turned away; then the load is looked at."""
    async with ours(PUBLISHERS, 0, ON_AGENT_CORE, ADMITTING) as (pid, load), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(load.send(), name="load")
        keeping = [tasks.create_task(caller.keep(), name="consent") for caller in load.publishers]
        with contextlib.suppress(aiohttp.ClientResponseError):
            while len(load.viewers) < MOST:
                seated = len(load.viewers)
                await load.more(0, STEP)
                keeping += [tasks.create_task(caller.keep(), name="consent") for caller in load.viewers[seated:]]
                await asyncio.sleep(1.2)  # the server counts packets by the second
        found = await look(pid, load)
        for task in (sending, *keeping):
            task.cancel()
        await hang_up(load)
    return found


async def look(pid: int, load: Load) -> Full:
    """How those inside are served."""
    await asyncio.sleep(2)
    load.delays.clear()
    got, sent = (sum(caller.received for caller in load.viewers), sum(caller.sent for caller in load.publishers))
    used, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(5)
    percent = 100 * (cpu_seconds(pid) - used) / (time.monotonic() - began)
    got = sum(caller.received for caller in load.viewers) - got
    sent = sum(caller.sent for caller in load.publishers) - sent
    heard = sent * (PICTURE_SHARE + VOICE_SHARE * 3 / PUBLISHERS) * len(load.viewers)
    delays = sorted(load.delays) or [0.0]
    p99 = 1000 * delays[int(len(delays) * 0.99)]
    return Full(len(load.viewers), percent, p99, max(0.0, 100 * (1 - got / max(1.0, heard))))


PICTURE_SHARE, VOICE_SHARE = 2 / 3, 1 / 3
"""Of a publisher's packets: 100 of 150 a second are video."""


def benchmark(quick: bool) -> list[Result]:
    """All of it."""
    turns, seconds = (1, 3.0) if quick else (3, 6.0)
    sites = [asyncio.run(run(VIEWERS, seconds)) for _ in range(turns)]
    ward = [asyncio.run(run(WARD, seconds)) for _ in range(turns)]
    kilobytes = tuple(asyncio.run(memory()) for _ in range(turns))
    full = [asyncio.run(ramp()) for _ in range(1 if quick else 2)]
    core = "% of a core"
    return [
        Result("meeting, 4 x 20: processor", tuple(one.cpu_percent for one in sites), core, 20),
        Result("  per forwarded packet", tuple(one.microseconds for one in sites), "us"),
        Result("  added delay, median", tuple(one.p50_ms for one in sites), "ms"),
        Result("  added delay, 99th percentile", tuple(one.p99_ms for one in sites), "ms", 10),
        Result("meeting, 4 x 10: processor", tuple(one.cpu_percent for one in ward), core, 12),
        Result("meeting: memory of a viewer", kilobytes, "kB", 1000),
        Result("ramp: viewers let in", tuple(one.viewers for one in full)),
        Result("  processor, the next one turned away", tuple(one.cpu_percent for one in full), core, 80),
        Result("  added delay then, 99th percentile", tuple(one.p99_ms for one in full), "ms", 50),
        Result("  packets lost then", tuple(one.lost_percent for one in full), "%", 1),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
