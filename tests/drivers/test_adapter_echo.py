"""An RS-485 adapter that leaves its receiver on: what it sends comes back, before the answer or alone."""

from __future__ import annotations

import struct

import pytest

from drivers.frames import crc
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Ask, Chunks, Slave
from tests.drivers.polling import bus, polled, take


def only_echo(slave: Slave, ask: Ask) -> Chunks:
    """Nobody else is on the wires."""
    request = struct.pack(">BBHH", ask.unit, ask.fc, ask.start, ask.number)
    return [(0, request + crc(request))]


@pytest.mark.parametrize(("lie", "is_heard"), [(liar.echoed, True), (only_echo, True), (liar.honest, False)])
def test_adapter_that_hears_itself(run: Run, lie: liar.Lie, is_heard: bool) -> None:
    """It is known by its own bytes, whether an answer follows them or not, so that a finding can name it."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = lie
        with slave.on_a_pty() as port:
            async with polled(bus(port)) as (driver, batches):
                await take(batches, 2)
                assert driver.hears_itself == is_heard

    run(main())
