"""`edge run`, but every device is asked again as soon as it has answered: more often than a configuration may want."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop

from drivers.settings import Bus
from edge_agent import app
from edge_agent import config as configuration

EVERY = 1e-3
"""Seconds between two polls; no device here answers so fast, so the next is always due."""


def _flat_out(bus: Bus) -> Bus:
    devices = tuple(device.model_copy(update={"every": EVERY}) for device in bus.devices)
    return bus.model_copy(update={"devices": devices})


async def _run(path: Path) -> None:
    config = configuration.load(path)
    await app.App(config.model_copy(update={"buses": tuple(_flat_out(bus) for bus in config.buses)})).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", type=Path, required=True)
    uvloop.run(_run(parser.parse_args().config))
