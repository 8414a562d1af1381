"""The driver on the emulated line: `python -m bench.line_client MAP BAUD PORT SCANS` prints seconds per scan.

Scans follow each other without a pause. The first ones are not counted: in them the driver learns what a request costs.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from statistics import median

import uvloop

from bench.line_maps import MAPS, TURNAROUND, profile
from drivers.modbus import ModbusBus
from drivers.settings import Bus, Device

BACK_TO_BACK = 0.0005
"""Seconds between two polls: less than any takes."""


async def scan(name: str, baud: int, port: str, scans: int) -> float:
    """Median seconds from one scan to the next."""
    one = Device.model_construct(id="dev", profile=name, unit=1, every=BACK_TO_BACK)
    told = Bus(id="line", serial=port, baud=baud, turnaround=f"{TURNAROUND[baud] * 1000:g}ms")  # type: ignore[arg-type]
    driver = ModbusBus(told.model_copy(update={"devices": (one,)}), {name: profile(name, MAPS[name])})
    times: list[float] = []
    async for _ in driver.readings():
        times.append(time.perf_counter())
        if len(times) > scans:
            break
    state = driver.devices["dev"]
    if state.timeout or state.garbled or state.short:
        raise ConnectionError(f"no answer: {state}")
    return median(later - sooner for sooner, later in pairwise(times[1:]))


if __name__ == "__main__":
    print(uvloop.run(scan(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
