"""Registers whose content a read takes away: read by themselves, once for each value, and by no tool."""

from __future__ import annotations

import asyncio

import pytest

from drivers.frames import Request
from drivers.modbus import ModbusBus
from drivers.peek import look
from drivers.planner import plan, tcp_line
from drivers.profile import library, read_profile
from drivers.recognise import blocks_of
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Ask, Chunks, Slave
from tests.drivers.polling import bus, device, polled, profile, right, row, take, until, values, was_read
from tests.drivers.test_bus_tools import consume

RAIN = profile(
    row("t", 0, "weather.temp_c"), row("rain", 1, "weather.rain_mm", once=True), row("h", 2, "weather.rh_pct")
)


def test_plan_of_a_register_that_is_read_once() -> None:
    """It is a request of its own, no other reads over it, wanted or not, and the tools leave it alone."""
    blocks = plan(RAIN.points(), tcp_line(), RAIN.request_limits())
    assert [(block.start, block.count) for block in blocks] == [(0, 1), (2, 1), (1, 1)]
    assert [(block.start, block.count) for block in blocks_of(RAIN)] == [(0, 1), (2, 1)]
    lufft = read_profile(library()["lufft-ws-umb"])
    for each in (plan(lufft.points(), tcp_line(), lufft.request_limits()), blocks_of(lufft)):
        assert all(block.registers[0].addr == 49 or not block.start <= 49 < block.start + block.count for block in each)


@pytest.mark.parametrize("lost", [0, 1, 2], ids=["block before", "itself", "block after"])
@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu"])
def test_register_read_once_after_a_fault(run: Run, rtu: bool, lost: int) -> None:
    """After a missed answer something else is read twice, so that each of its contents is asked for once and told."""

    async def main() -> None:
        slave, given, failed = Slave(rtu), list[int](), list[int]()

        def answer(slave: Slave, ask: Ask) -> Chunks:
            if ask.start == lost and len(slave.asked) > 4 and not failed:
                failed.append(len(slave.asked))
                return []
            if ask.start == 1:
                given.append(len(slave.asked))
            return liar.honest(slave, ask)

        slave.always = answer
        async with slave.on_tcp() as port:
            told = bus(port, device(every=0.05), framer="rtu" if rtu else "tcp")
            async with polled(told, RAIN) as (driver, batches):
                found = await until(batches, lambda batch: not was_read(batch))
                found += await until(batches, was_read)
                found += await take(batches, 3)
                assert driver.devices["d1"].timeout == 1
            good = right(slave, 1, 3, 1)[0]
            brought = sum(good in values(batch) for batch in found)
            assert brought == len(given)  # each content that the device gave away is told

    run(main())


def test_look_beside_a_register_that_is_read_once(run: Run) -> None:
    """The neighbours of what a technician reads are read too, but not one that this would empty."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            told = bus(port, device(every=30.0))
            driver = ModbusBus(told, {"test": RAIN})
            polls = asyncio.create_task(consume(driver))
            while driver.devices["d1"].ok < 3:
                await asyncio.sleep(0.01)
            slave.asked.clear()
            seen = await look(driver, Request(1, 3, 2, 1), 1.0, beside=True)
            assert sorted(seen.words) == [2, 3]
            assert all(ask.start > 1 for ask in slave.asked)
            polls.cancel()
            await asyncio.wait({polls})

    run(main())


def test_device_with_nothing_else_to_read(run: Run) -> None:
    """It is asked once all the same, and comes back."""
    only = profile(row("rain", 1, "weather.rain_mm", once=True))

    async def main() -> None:
        slave = Slave(rtu=True)
        with slave.on_a_pty() as port:
            async with polled(bus(port, device(every=0.05)), only) as (_, batches):
                await take(batches, 1)
                slave.lies.append(liar.silence)
                await until(batches, lambda batch: not was_read(batch))
                before = len(slave.asked)
                assert was_read((await take(batches, 1))[-1])
                assert len(slave.asked) == before + 1

    run(main())
