"""The Modbus driver on a real wire, with devices that answer as they should: values, kinds, timetable."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.reading import Reason
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Slave
from tests.drivers.polling import (
    FAR_APART,
    bus,
    device,
    expected,
    polled,
    profile,
    right,
    row,
    take,
    values,
)


async def _pymodbus_serves(framer: FramerType) -> tuple[ModbusTcpServer, int]:
    contents = [
        SimData(0, values=[231.5, 0.25, -7.125], datatype=DataType.FLOAT32),
        SimData(6, values=list(range(500, 600)), datatype=DataType.REGISTERS),
    ]
    server = ModbusTcpServer(SimDevice(1, simdata=contents), framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    return server, server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("framer", ["tcp", "rtu"])
def test_a_device_that_pymodbus_serves(run: Run, framer: str) -> None:
    """Floats and words of an independent slave arrive as they are, over Modbus TCP and over RTU in TCP."""
    rows = [row(f"v{i}", 2 * i, f"power.voltage_l{i + 1}_v", type="f32") for i in range(3)]
    meter = profile(*rows, row("total", 23, "power.energy_total_kwh", scale=0.1))

    async def main() -> None:
        server, port = await _pymodbus_serves(FramerType.RTU if framer == "rtu" else FramerType.SOCKET)
        async with polled(bus(port, framer=framer, timeout=1.0), meter) as (driver, batches):
            before = time.time() * 1000
            for batch in await take(batches, 20):
                assert values(batch) == (231.5, 0.25, -7.125, 51.7)
                assert before - 1 <= batch.readings[0].time <= time.time() * 1000
                assert batch.readings[0].mono <= time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
            assert driver.devices["d1"].timeout == 0
            assert driver.devices["d1"].ok >= 20
            assert driver.troubles() == []
        await server.shutdown()  # type: ignore[no-untyped-call]

    run(main())


def test_a_device_on_a_serial_line(run: Run) -> None:
    """RTU on a pty: each poll reads the right registers, with the silence between frames kept."""

    async def main() -> None:
        slave = Slave(rtu=True)
        with slave.on_a_pty() as port:
            async with polled(bus(port), FAR_APART) as (driver, batches):
                for batch in await take(batches, 10):
                    assert values(batch) == right(slave, 1, 3, 0, 3000, 6000)
                assert driver.devices["d1"].ok == 30
        gaps = [later.at - sooner.at for sooner, later in pairwise(slave.asked)]
        assert min(gaps) >= 0.00175

    run(main())


def test_coils_and_kinds(run: Run) -> None:
    """Coils are read with function 1; each value has the kind that the naming table gives its field."""
    mixed = profile(
        row("c", 3, "traffic.congested", fc=1, type="bit"),
        row("n", 10, "traffic.count", scale=0.1),
        row("w", 11, "traffic.interval_s"),
        row("b", 12, "traffic.speed_avg_kmh", type="bit", bit=0),
    )

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            async with polled(bus(port), mixed) as (_, batches):
                [batch] = await take(batches, 1)
            congested, count, interval, bit = values(batch)
            assert congested is bool(slave.value(1, 1, 3) & 1)
            assert (type(count), count) == (int, round(slave.value(1, 3, 10) / 10))
            assert (type(interval), interval) == (int, slave.value(1, 3, 11))
            assert (type(bit), bit) == (int, slave.value(1, 3, 12) & 1)

    run(main())


def test_a_station_with_several_measurements(run: Run) -> None:
    """One batch has one Readings per measurement, and one more, tagged src, for each register that repeats a field."""
    station = profile(
        row("noise", 500, "noise.la_db"),
        row("rain", 501, "weather.rain_mm"),
        row("in", 502, "counter.count"),
        row("out", 503, "counter.count"),
        row("temp", 504, "weather.temp_c"),
        limits={"max_registers": 125, "read_as_one_block": [500, 16]},
    )

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            async with polled(bus(port, device(every=0.3)), station) as (_, batches):
                first, second = await take(batches, 2)
            got = [([r.source.point(i) for i in range(len(r.values))], r.values) for r in first.readings]
            assert got == [
                (["d1.noise.la_db"], right(slave, 1, 3, 500)),
                (["d1.weather.rain_mm", "d1.weather.temp_c"], right(slave, 1, 3, 501, 504)),
                (["d1.counter.count"], right(slave, 1, 3, 502)),
                (["d1.counter.count[src=out]"], right(slave, 1, 3, 503)),
            ]
            assert all(a.source is b.source for a, b in zip(first.readings, second.readings, strict=True))
            assert {(ask.start, ask.number) for ask in slave.asked} == {(500, 16)}

    run(main())


# --- the timetable ----------------------------------------------------------------------------------------------------


def test_a_start(run: Run) -> None:
    """Every device is polled at once, then they take turns within the period."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            units = [device(unit, every=0.4) for unit in (1, 2, 3, 4)]
            async with polled(bus(port, *units)) as (_, batches):
                await take(batches, 12)
            first, second, third = slave.asked[:4], slave.asked[4:8], slave.asked[8:12]
            assert first[-1].at - first[0].at < 0.05
            assert sorted(ask.unit for ask in first) == sorted(ask.unit for ask in second) == [1, 2, 3, 4]
            gaps = [b.at - a.at for a, b in pairwise(second)]
            assert gaps == pytest.approx([0.1] * 3, abs=0.03)
            assert [b.at - a.at for a, b in zip(second, third, strict=True)] == pytest.approx([0.4] * 4, abs=0.03)

    run(main())


def test_a_device_that_is_slower_than_its_period(run: Run) -> None:
    """Polls that come due meanwhile are folded into a Readings that was not read, never made up for in a burst."""

    async def main() -> None:
        slave = Slave()
        slave.always = liar.after(0.05)
        async with slave.on_tcp() as port:
            async with polled(bus(port, device(every=0.02), timeout=1.0)) as (_, batches):
                started = time.monotonic()
                found = await take(batches, 45)
                turns = (time.monotonic() - started) / 0.02
            assert min(b.at - a.at for a, b in pairwise(slave.asked)) >= 0.05
            folded = [readings for batch in found for readings in batch.readings if readings.polls > 1]
            assert folded
            assert all(set(r.values) == {None} and set(r.faults.values()) == {Reason.waiting} for r in folded)
            assert len(folded) < 5  # gathered, so that they cost little
            assert 0.5 * turns < expected(found) < turns + 2

    run(main())


def test_a_period_that_is_tiny(run: Run) -> None:
    """The bus polls back to back, and other tasks of the loop still run."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            ticks = 0

            async def ticking() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            other = asyncio.create_task(ticking())
            async with polled(bus(port, device(every=0.0001))) as (_, batches):
                started = time.monotonic()
                await take(batches, 1000)
                assert time.monotonic() - started < 1.0
            other.cancel()
            assert ticks > 5

    run(main())


def test_cancelling(run: Run) -> None:
    """Cancelling ends a bus at once, also while answers pour in, and closes its connection."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:

            async def consume() -> None:
                async with polled(bus(port, device(every=0.00001))) as (_, batches):
                    async for _ in batches:
                        pass

            for _ in range(20):
                task = asyncio.create_task(consume())
                await asyncio.sleep(0.02)
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=0.5)
                assert done
                assert task.cancelled()
            await asyncio.sleep(0.05)
            assert slave.closed == 20

    run(main())
