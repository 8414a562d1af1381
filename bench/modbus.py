"""The Modbus driver against pymodbus alone, on the same devices in turn, and what decoding costs.

Compared is processor time per transaction. The devices never sleep: waking one that does would cost the client as much
again, the more the slower it asks, and that is the machine's, not the client's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time

from bench import ward
from bench.command import main
from bench.machine import ON_AGENT_CORE
from bench.running import ROOT, folder, slaves
from bench.table import Result
from bench.ward import Ward
from drivers.planner import Limits, tcp_line
from drivers.profile import Profile
from drivers.regmap import RegisterMap

LOAD = Ward()
DECODED = 5_000
"""Answers."""


def cost(which: str, profile: Path, ports: Sequence[int], seconds: float) -> tuple[float, float]:
    """Microseconds of processor time that a transaction costs one client, alone on its core; transactions a second."""
    line = [
        *ON_AGENT_CORE,
        sys.executable,
        "-m",
        "bench.modbus_client",
        which,
        str(profile),
        str(seconds),
        *map(str, ports),
    ]
    done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    count, used = map(float, done.stdout.split())
    return 1e6 * used / count, count / seconds


def decoding(profile: Profile) -> float:
    """Microseconds of processor time from an answer's bytes to a register's value in its reading."""
    registers = RegisterMap(ward.device_name(0), ward.UNIT, "", profile.points())
    registers.arrange(tcp_line(), Limits())
    (block,), contents = registers.steps, ward.images(0, LOAD.registers)
    began = process_time()
    for i in range(DECODED):
        block.take(contents[i % len(contents)])
        registers.readings(i, i)
    return 1e6 * (process_time() - began) / DECODED / LOAD.registers


def benchmark(quick: bool) -> list[Result]:
    """Both clients in turn."""
    count, seconds = (1, 1.5) if quick else (5, 3.0)
    ours, bare, decoded = list[tuple[float, float]](), list[tuple[float, float]](), list[float]()
    with folder() as path, slaves(LOAD, busy=True) as ports:
        profile = ward.write_profile(path, LOAD.registers)
        for _ in range(count):
            ours.append(cost("ours", path / f"{ward.PROFILE}.yaml", ports, seconds))
            bare.append(cost("bare", path / f"{ward.PROFILE}.yaml", ports, seconds))
            decoded.append(decoding(profile))
    pairs = list(zip(ours, bare, strict=True))
    per_cost = tuple(other / our for (our, _), (other, _) in pairs)
    per_second = tuple(our / other for (_, our), (_, other) in pairs)
    return [
        Result("Modbus TCP, 20 x 100 registers: per transaction", tuple(each for each, _ in ours), "us"),
        Result("  bare pymodbus on uvloop: per transaction", tuple(each for each, _ in bare), "us"),
        Result("  as much work per processor time as it", per_cost, "", 0.85, at_least=True),
        Result("  transactions", tuple(each for _, each in ours), "/s"),
        Result("  bare pymodbus: transactions", tuple(each for _, each in bare), "/s"),
        Result("  transactions compared with it", per_second, "", 0.85, at_least=True),
        Result("Modbus: decoding a register", tuple(decoded), "us", 1),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
