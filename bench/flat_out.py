"""Devices polled back to back: how many readings per second go from Modbus TCP through the journal into InfluxDB."""

from __future__ import annotations

import sys
import time

import msgspec

from bench import ward
from bench.command import main
from bench.running import Agent, folder, influxdb, readings_in, slaves
from bench.table import Result
from bench.ward import Ward

LOAD = Ward()
COMMAND = ("-m", "bench.agent_flat_out")
WARM_UP = 2.0
"""Seconds before the measurement: connections, templates, first polls."""


class Run(msgspec.Struct, frozen=True):
    """One run."""

    rate: float
    """Readings per second that InfluxDB has confirmed."""
    per_reading: float
    """Microseconds of processor time."""
    memory: float
    """MB (PSS) at the end."""


def once(seconds: float) -> Run:
    """Start everything and count what is delivered in `seconds`."""
    with folder() as path, influxdb() as server, slaves(LOAD) as ports:
        ward.write_profile(path / "devices", LOAD.registers)
        config = ward.configuration(path, (ward.buses(ports, LOAD.every), ward.sinks({server.url: 1})))
        with Agent(config, COMMAND) as agent:
            time.sleep(WARM_UP)
            before, cpu, began = agent.delivered, agent.cpu, time.monotonic()
            time.sleep(seconds)
            delivered, cpu, took = agent.delivered, agent.cpu - cpu, time.monotonic() - began
            memory = agent.pss
        if (stored := readings_in(server)) < delivered:
            raise RuntimeError(f"{delivered} readings delivered, {stored} in the database")
    return Run((delivered - before) / took, 1e6 * cpu / (delivered - before), memory)


def benchmark(quick: bool) -> list[Result]:
    """Several runs."""
    runs = [once(3.0 if quick else 8.0) for _ in range(1 if quick else 3)]
    return [
        Result("flat out: readings/s into InfluxDB", tuple(run.rate for run in runs), "", 400_000, at_least=True),
        Result("flat out: processor per reading", tuple(run.per_reading for run in runs), "us"),
        Result("flat out: memory", tuple(run.memory for run in runs), "MB"),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
