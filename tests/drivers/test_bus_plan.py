"""What a bus's requests cost, told beforehand."""

from __future__ import annotations

from time import monotonic

import pytest

from drivers.bus_plan import PlannedBus, one_each, planned, running
from drivers.planner import cost, plan, serial_line
from drivers.profile import library, read_profile
from drivers.register import Register
from drivers.settings import Bus
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Slave
from tests.drivers.polling import bus, device, polled, until

STATION = read_profile(library()["renke-01f4-station"])


def station(every: str = "1s", **more: object) -> PlannedBus:
    """One weather station on a line."""
    device = {"id": "met-1", "profile": STATION.id, "unit": 1, "every": every, "variant": "wind x0.01"}
    bus = Bus.model_validate({"id": "line-1", "serial": "/dev/null", "devices": [device], **more})
    return planned(bus, {STATION.id: STATION})


def test_plan_of_a_serial_line() -> None:
    """The blocks are the planner's, their times add up to the poll's, and the load is its part of the period."""
    found = station()
    device = found.devices[0]
    registers = STATION.points(["wind x0.01"])
    blocks = plan(registers, serial_line(9600, "8N1"), STATION.request_limits())
    assert [(block.fc, block.start, block.count) for block in device.blocks] == [
        (block.fc, block.start, block.count) for block in blocks
    ]
    assert device.ms == pytest.approx(sum(block.ms for block in device.blocks), abs=0.01)
    assert device.ms == pytest.approx(1000 * cost(blocks, serial_line(9600, "8N1")), abs=0.01)
    assert found.load_pct == pytest.approx(device.ms / 10, abs=0.01)
    assert all(0 < block.wanted <= block.count for block in device.blocks)


def test_one_request_for_each_register_costs_more() -> None:
    """The comparison asks for every register by itself, at the same costs."""
    found = station()
    assert found.devices[0].singles == len(STATION.points(["wind x0.01"]))
    assert found.singles_load_pct > 4 * found.load_pct


def test_faster_line_has_less_load() -> None:
    """Speed and a shorter turnaround both show in the plan."""
    assert station(baud=115200).load_pct < station().load_pct
    assert station(turnaround="2ms").load_pct < station(turnaround="200ms").load_pct


def test_bits_of_one_register_are_one_request() -> None:
    """Whoever reads each register by itself reads the one with sixteen flags once."""
    flags = [Register(key=f"b{i}", addr=7, type="bit", bit=i) for i in range(16)]
    assert [(block.start, block.count) for block in one_each(flags)] == [(7, 1)]


def test_rtu_over_tcp_costs_what_the_driver_reckons() -> None:
    """A gateway that passes RTU on has a line of its own behind it: the plan assumes the same as the running bus."""
    behind = {"id": "met-1", "profile": STATION.id, "unit": 1, "every": "1s", "variant": "wind x0.01"}
    told = Bus.model_validate({"id": "line-1", "tcp": "192.0.2.1", "framer": "rtu", "devices": [behind]})
    assert planned(told, {STATION.id: STATION}).devices == station().devices


def test_costs_of_a_device_that_is_slow(run: Run) -> None:
    """Its plan cannot change, yet the load is the real one; who answers too little is told apart."""

    async def main() -> None:
        slave = Slave()
        slow = liar.after(0.05)
        slave.always = lambda s, ask: slow(s, ask) if ask.unit == 1 else []
        async with slave.on_tcp() as port:
            told = bus(port, device(1, every=0.06), device(2, every=9.0), timeout=0.2)
            async with polled(told) as (driver, batches):
                end = monotonic() + 15
                await until(batches, lambda _: driver.devices["d1"].ok >= 10 or monotonic() > end)
                found = running(told, driver.units())
            answers, silent = found.devices
            assert (answers.measured, silent.measured, found.measured) == (True, False, False)
            assert answers.request_ms >= 50
            assert found.load_pct > 80

    run(main())
