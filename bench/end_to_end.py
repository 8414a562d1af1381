"""A ward at its usual pace: what `edge run` needs of a core and of memory, from Modbus TCP to InfluxDB."""

from __future__ import annotations

import sys
import time

import msgspec

from bench import ward
from bench.command import main
from bench.running import Agent, folder, influxdb, readings_in, slaves
from bench.table import Result
from bench.ward import Ward

BUSY, USUAL = Ward(registers=100), Ward(registers=10)
LOST = 0.02
"""Share of readings that may be missing at the edges of a run; more, and the figure would be of another load."""


class Run(msgspec.Struct, frozen=True):
    """One run."""

    cpu: float
    """Percent of a core."""
    memory: float
    """MB (PSS) at the end."""
    per_reading: float
    """Microseconds of processor time."""
    written: float
    """Bytes to the disk per reading, the file system's own journal left out."""


def once(load: Ward, seconds: float) -> Run:
    """Start everything, let it settle, then measure for `seconds`."""
    with folder() as path, influxdb() as server, slaves(load) as ports:
        ward.write_profile(path / "devices", load.registers)
        config = ward.configuration(path, (ward.buses(ports, load.every), ward.sinks({server.url: 1})))
        with Agent(config) as agent:
            agent.wait_delivered(int(3 * load.per_second), timeout=20)
            before, written, cpu, began = agent.delivered, agent.written, agent.cpu, time.monotonic()
            time.sleep(seconds)
            cpu, written, took = agent.cpu - cpu, agent.written - written, time.monotonic() - began
            memory, delivered = agent.pss, agent.delivered
        count = delivered - before
        _check(count / took, load.per_second, readings_in(server), delivered)
    return Run(100 * cpu / took, memory, 1e6 * cpu / count, written / count)


def _check(rate: float, wanted: float, stored: int, delivered: int) -> None:
    """The figures are of the load that they are meant for, and what the agent calls delivered is there."""
    if rate < (1 - LOST) * wanted - 100:
        raise RuntimeError(f"{rate:.0f} of {wanted:.0f} readings/s arrived: the machine is too busy to measure on")
    if stored < delivered:
        raise RuntimeError(f"{delivered} readings delivered, {stored} in the database")


def benchmark(quick: bool) -> list[Result]:
    """Both loads in turn."""
    runs, seconds = (1, 4.0) if quick else (3, 10.0)
    busy, usual = [], []
    for _ in range(runs):
        busy.append(once(BUSY, seconds))
        usual.append(once(USUAL, seconds))
    return [
        Result("2,000 readings/s: processor", tuple(run.cpu for run in busy), "% of a core", 5),
        Result("2,000 readings/s: memory", tuple(run.memory for run in busy), "MB", 60),
        Result("2,000 readings/s: processor per reading", tuple(run.per_reading for run in busy), "us"),
        Result("200 readings/s: processor", tuple(run.cpu for run in usual), "% of a core"),
        Result("200 readings/s: memory", tuple(run.memory for run in usual), "MB", 50),
        Result("200 readings/s: to the disk per reading", tuple(run.written for run in usual), "B"),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
