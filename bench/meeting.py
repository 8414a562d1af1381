"""The meeting under load: packets, memory, delay, the ramp at whose end newcomers are turned away, and saturation.

    python -m bench.meeting [--quick]

The load is that of `bench.meeting_load` (4 publishers of 100 video and 50 voice packets a second, each viewer has all
pictures and three voices), over real ICE, DTLS and SRTP; the server has a core for itself. `bench.meeting_load --janus`
puts Janus beside it.
"""

from __future__ import annotations

import asyncio
import sys

from bench.command import main
from bench.machine import ON_AGENT_CORE, pss_mb
from bench.meeting_load import Result as Run
from bench.meeting_load import measure, ours
from bench.meeting_ramp import Served, admitted, saturated
from bench.table import Result

PUBLISHERS, VIEWERS, WARD = 4, 20, 10


async def run(viewers: int, seconds: float) -> Run:
    """One load."""
    async with ours(PUBLISHERS, viewers, ON_AGENT_CORE) as (pid, load):
        found = await measure("edge", pid, load, seconds)
        await load.hang_up()
    return found


async def memory() -> float:
    """kB of the server for one more viewer."""
    async with ours(PUBLISHERS, 2, ON_AGENT_CORE) as (pid, load):
        await measure("edge", pid, load, 1)
        before = pss_mb(pid)
        await load.more(0, VIEWERS)
        await measure("edge", pid, load, 1)
        more = pss_mb(pid) - before
        await load.hang_up()
    return 1000 * more / VIEWERS


def benchmark(quick: bool) -> list[Result]:
    """All of it."""
    turns, seconds = (1, 3.0) if quick else (3, 6.0)
    sites = [asyncio.run(run(VIEWERS, seconds)) for _ in range(turns)]
    ward = [asyncio.run(run(WARD, seconds)) for _ in range(turns)]
    kilobytes = tuple(asyncio.run(memory()) for _ in range(turns))
    full = [asyncio.run(admitted()) for _ in range(1 if quick else 2)]
    wide = [] if quick else [asyncio.run(saturated()) for _ in range(2)]
    shares = tuple(one.packets_per_second / most.packets_per_second for one, (most, _) in zip(full, wide, strict=False))
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
        *saturation(wide, shares),
    ]


def saturation(found: list[tuple[Served, Served]], shares: tuple[float, ...]) -> list[Result]:
    """Rows of the ramp with the door open; `shares`: of its packets, those at which the door closes by itself."""
    if not found:
        return []
    return [
        Result("saturation: viewers served well", tuple(good.viewers for good, _ in found)),
        Result("  packets", tuple(good.packets_per_second for good, _ in found), "/s"),
        Result("  processor", tuple(good.cpu_percent for good, _ in found), "% of a core"),
        Result("  added delay, 99th percentile", tuple(good.p99_ms for good, _ in found), "ms", 50),
        Result("  processor, one step on", tuple(over.cpu_percent for _, over in found), "% of a core"),
        Result("  added delay one step on, 99th percentile", tuple(over.p99_ms for _, over in found), "ms"),
        Result("  packets lost one step on", tuple(over.lost_percent for _, over in found), "%"),
        Result("  the door closes at, of its packets", shares, "", 0.8),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
