"""5,000 messages a second with QoS 1 from a real mosquitto, each acknowledged after it is on disk, on to InfluxDB."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from bench import ward
from bench.command import main
from bench.running import ROOT, Agent, folder, influxdb, readings_in
from bench.table import Result
from edge_agent.demo.stage import MQTT
from edge_agent.demo_servers import Mosquitto

RATE = 5000
PER_MESSAGE = 2
"""Readings."""
WARM_UP = 1.5
"""Seconds for the subscription, and again for an even flow."""


class Run(msgspec.Struct, frozen=True):
    """One run."""

    cpu: float
    """Percent of a core."""
    per_message: float
    """Microseconds of processor time."""
    memory: float
    """MB (PSS)."""


def once(seconds: float) -> Run:
    """Publish, measure meanwhile, then make sure that every message has arrived."""
    with folder() as path, influxdb() as server, Mosquitto(path) as broker:
        blocks = (MQTT.format(broker="field", url=broker.url), ward.sinks({server.url: 1}))
        with Agent(ward.configuration(path, blocks)) as agent:
            time.sleep(WARM_UP)
            with _publishing(broker.port, seconds + 2 * WARM_UP) as publisher:
                time.sleep(WARM_UP)
                before, cpu, began = agent.delivered, agent.cpu, time.monotonic()
                time.sleep(seconds)
                delivered, cpu, took = agent.delivered, agent.cpu - cpu, time.monotonic() - began
                memory = agent.pss
                published = _published(publisher.communicate()[0])
            agent.wait_delivered(PER_MESSAGE * published, timeout=10)
        messages = (delivered - before) / PER_MESSAGE
        if (stored := readings_in(server, "traffic")) < PER_MESSAGE * published or messages < 0.95 * RATE * took:
            raise RuntimeError(f"{published} messages, {stored} readings, {messages / took:.0f} messages/s")
    return Run(100 * cpu / took, 1e6 * cpu / messages, memory)


@contextmanager
def _publishing(port: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "bench.publisher", str(port), str(RATE), str(seconds)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as publisher:
        try:
            yield publisher
        finally:
            publisher.terminate()


def _published(said: str) -> int:
    """The number of messages; all must have been acknowledged."""
    found = re.search(r"published (\d+) acknowledged (\d+)", said)
    if not found or found[1] != found[2]:
        raise RuntimeError(f"the publisher said {said!r}")
    return int(found[1])


def benchmark(quick: bool) -> list[Result]:
    """Several runs."""
    runs = [once(3.0 if quick else 8.0) for _ in range(1 if quick else 3)]
    return [
        Result("MQTT QoS 1, 5,000 messages/s: processor", tuple(run.cpu for run in runs), "% of a core", 40),
        Result("  processor per message", tuple(run.per_message for run in runs), "us"),
        Result("  memory", tuple(run.memory for run in runs), "MB"),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
