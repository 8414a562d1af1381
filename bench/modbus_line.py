"""Scan times on an emulated line with real pacing, against the planner's optimum and other programs' grouping rules.

The optimum is what the planned requests take by the line's own rules (Modbus over serial line 1.02), nothing added.
What the others take is computed by the same rules.
"""

from __future__ import annotations

import subprocess
import sys

from bench.command import main
from bench.line_maps import FILL, MAPS, TURNAROUND, grouped, profile, singly
from bench.machine import ON_AGENT_CORE
from bench.running import ROOT, helper
from bench.table import Result
from drivers.planner import cost, plan, serial_line

NEAR = 1.05
"""A scan may take so many times the optimum."""


def scan(name: str, baud: int, scans: int) -> float:
    """Seconds per scan that the driver takes on the emulated line."""
    with helper("bench.paced_line", baud, TURNAROUND[baud]) as port:
        line = [*ON_AGENT_CORE, sys.executable, "-m", "bench.line_client", name, str(baud), port.strip(), str(scans)]
        done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout)


def measured(name: str, baud: int, quick: bool) -> list[Result]:
    """One map at one speed."""
    device = profile(name, MAPS[name])
    registers, limits = device.points(), device.request_limits()
    line = serial_line(baud, "8N1", TURNAROUND[baud])
    optimum = cost(plan(registers, line, limits), line)
    scans = max(3, min(40, int((1.0 if quick else 3.0) / optimum)))
    runs = tuple(scan(name, baud, scans) / optimum for _ in range(1 if quick else 3))
    rules = {
        "one request a register": singly(registers),
        "Telegraf none": grouped(registers, 0, limits.registers),
        "Telegraf max_insert": grouped(registers, FILL, limits.registers),
    }
    what = f"Modbus RTU {baud}: {name}, {len(registers)} points in {optimum * 1000:.0f} ms"
    return [
        Result(f"{what}: scan : optimum", runs, "", NEAR),
        *(Result(f"  {rule} : ours", (cost(blocks, line) / optimum,)) for rule, blocks in rules.items()),
    ]


def benchmark(quick: bool) -> list[Result]:
    """Every map at every speed; quick: every map once."""
    bauds = [115200] if quick else sorted(TURNAROUND)
    return [result for baud in bauds for name in MAPS for result in measured(name, baud, quick)]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
