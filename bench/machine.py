"""The machine: what it is, which core does what, and what a process used of it. Linux only."""

from __future__ import annotations

import os
import platform
import re
import resource
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
_CORES = sorted(os.sched_getaffinity(0))
AGENT_CORES = {_CORES[-1]}
"""What is measured runs here."""
OTHER_CORES = set(_CORES[:-1]) or AGENT_CORES
"""Servers, simulated devices and the benchmark itself run here."""
ON_AGENT_CORE = ("taskset", "--cpu-list", str(_CORES[-1]))
"""Before a command: the process that it becomes has that core for itself."""


def describe() -> str:
    """One line for the head of a table."""
    model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return (
        f"{len(_CORES)} cores ({model[1] if model else platform.machine()}), {memory} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}; "
        f"measured processes on core {_listed(AGENT_CORES)}, servers and devices on {_listed(OTHER_CORES)}; "
        f"load before {os.getloadavg()[0]:.1f}"
    )


def stay_aside() -> None:
    """Keep this process, and what it starts, away from the core that is measured."""
    os.sched_setaffinity(0, OTHER_CORES)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def own_cpu_seconds() -> float:
    """The same of this process, finer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def pss_mb(pid: int) -> float:
    """Memory of a process in MB, pages that it shares counted in part (proc(5), smaps_rollup)."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def bytes_written(pid: int) -> int:
    """Bytes that a process made the kernel send to a disk (proc(5), io: write_bytes); 0 on a tmpfs."""
    found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def _listed(cores: set[int]) -> str:
    return ",".join(map(str, sorted(cores)))
