"""The box's own health as readings: heat, power, disk, memory, load, clock, uptime. Files of the kernel, no commands.

What a machine does not have (a thermal zone, a Raspberry Pi's throttling word) is left out from the start and so is not
expected. Nothing here needs root.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.driver import Batch, Trouble
from drivers.reading import Readings, Reason, Source, Value, quantities

if TYPE_CHECKING:
    from drivers.settings import Box

log = logging.getLogger("edge.box")

THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
"""Thousandths of a degree (kernel, sysfs-class-thermal)."""
THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
"""Hexadecimal bit field of the Raspberry Pi's firmware: 0 under-voltage, 1 capped, 2 throttled, 16 to 18 since boot."""
PATIENCE = 5.0
"""Seconds that the disk has to answer; a card that hangs must not hang the others."""

Measure = Callable[[], Value | None]


class BoxHealth:
    """Measures the box itself every `box.every` seconds. Implements Driver."""

    name = "box"

    def __init__(self, box: Box, state: Path, synced: Callable[[], bool]) -> None:
        """`state`: a folder on the disk whose free space counts; `synced`: whether the clock is known to be right."""
        self._every = box.every
        measures = _measures(state, synced)
        rows = quantities()
        self._source = Source("box", tuple(rows[f"box.{name}"] for name in measures), origin="box")
        self._measures = tuple(measures.values())
        self._progress = time.monotonic()
        # A thread of its own: where the disk hangs, only this waits, and the same call is not made twice.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="box")
        self._under_way: asyncio.Future[tuple[Value | None, ...]] | None = None

    def progress(self) -> float:
        """See Driver."""
        return self._progress

    def troubles(self) -> list[Trouble]:
        """See Driver: the points say it all."""
        return []

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """See Driver."""
        due = time.monotonic()
        try:
            while True:
                values = await self._measure()
                faults = {i: Reason.timeout for i, value in enumerate(values) if value is None}
                mono = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
                yield Batch((Readings(self._source, time.time_ns() // 1_000_000, mono, values, faults),))
                due = max(due + self._every, time.monotonic())
                await self._sleep_until(due)
        finally:
            self._thread.shutdown(wait=False)

    async def _measure(self) -> tuple[Value | None, ...]:
        """All values; None for each where the disk does not answer in time."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.get_running_loop().run_in_executor(self._thread, self._all)
        done, _ = await asyncio.wait([self._under_way], timeout=PATIENCE)
        self._progress = time.monotonic()
        return self._under_way.result() if done else (None,) * len(self._measures)

    def _all(self) -> tuple[Value | None, ...]:
        return tuple(_or_none(measure) for measure in self._measures)

    async def _sleep_until(self, due: float) -> None:
        """Sleep, with signs of life for the watchdog."""
        while (left := due - time.monotonic()) > 0:
            await asyncio.sleep(min(left, PATIENCE))
            self._progress = time.monotonic()


def _measures(state: Path, synced: Callable[[], bool]) -> dict[str, Measure]:
    """What this machine has, by field of the measurement `box`."""
    found: dict[str, Measure] = {}
    if THERMAL.exists():
        found["cpu_temp_c"] = lambda: int(THERMAL.read_text(encoding="ascii")) / 1000
    if THROTTLED.exists():
        found["throttled"] = lambda: int(THROTTLED.read_text(encoding="ascii"), 16)
    found["disk_free_pct"] = lambda: _free_pct(state)
    found["mem_available_mb"] = _memory
    found["load_1m"] = lambda: os.getloadavg()[0]
    found["clock_synced"] = synced
    found["uptime_s"] = lambda: round(time.clock_gettime(time.CLOCK_BOOTTIME), 1)
    return found


def _or_none(measure: Measure) -> Value | None:
    try:
        return measure()
    except (OSError, ValueError) as error:
        log.warning("box measurement failed error=%s", error)
        return None


def _free_pct(folder: Path) -> float:
    """Share of the disk that this user can still fill."""
    disk = os.statvfs(folder)
    return round(100 * disk.f_bavail / disk.f_blocks, 2) if disk.f_blocks else 0.0


def _memory() -> float | None:
    """MemAvailable of /proc/meminfo, which counts in KiB, in MBy (a million bytes)."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return None
