"""Tools as guests of a polled bus: what they get, what they may take, and what they see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from drivers.driver import Batch
from drivers.frames import Outcome, Request, WriteRequest
from drivers.guests import SAVED, SHARE, BusAway, Frame, Guest, Guests
from drivers.modbus import ModbusBus
from tests import waiting
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Slave
from tests.drivers.polling import FAR_APART, WEATHER, bus, device, polled, right, take, until, values, was_read


@asynccontextmanager
async def polling(batches: AsyncIterator[Batch]) -> AsyncIterator[None]:
    """Poll on meanwhile."""

    async def drain() -> None:
        async for _ in batches:
            pass

    task = asyncio.create_task(drain())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu"])
def test_a_guest(run: Run, rtu: bool) -> None:
    """It gets its answer, with the frames as they were on the line, and polling goes on with the right values."""

    async def main() -> None:
        slave = Slave(rtu)
        async with slave.on_tcp() as port:
            of = bus(port, device(every=0.02), framer="rtu" if rtu else "tcp")
            async with polled(of) as (driver, batches), polling(batches):
                answer = await driver.guest(Request(7, 4, 10, 3), 1.0)
                assert answer.outcome is Outcome.ok
                assert answer.data == b"".join(v.to_bytes(2, "big") for v in right(slave, 7, 4, 10, 11, 12))
                assert answer.data in answer.heard
                slave.lies.extend([liar.exception(2)] * 2)  # a poll may come first
                codes = [(await driver.guest(Request(7, 3, 0, 1), 1.0)).code for _ in range(2)]
                assert set(codes) <= {0, 2}

    run(main())


@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu"])
@pytest.mark.parametrize("alarms", [(), ("weather.rh_pct",)], ids=["", "with an alarm point"])
def test_a_device_that_needs_a_pause(run: Run, rtu: bool, alarms: tuple[str, ...]) -> None:
    """Polls and guests leave it its pause before each request; the other units go on meanwhile."""
    pause = 0.3

    async def main() -> None:
        slave = Slave(rtu)
        async with slave.on_tcp() as port:
            slow = device(1, every=1.5).model_copy(update={"pause": pause, "alarm_points": alarms})
            told = bus(port, slow, device(2, every=0.05), timeout=1.0, framer="rtu" if rtu else "tcp")
            read = []
            async with polled(told, FAR_APART) as (driver, batches):
                end = time.monotonic() + 8
                async for batch in batches:
                    read += [batch] if batch.readings[0].source.device == "d1" else []
                    if len(read) >= 4 or time.monotonic() > end:
                        break
                assert all(map(was_read, read))
                mine = [ask.at for ask in slave.asked if ask.unit == 1]
                others = [ask.at for ask in slave.asked if ask.unit == 2]
                assert all(sum(a < at < b for at in others) >= 2 for a, b in pairwise(mine))
                async with polling(batches):
                    for _ in range(3):
                        assert (await driver.guest(Request(1, 3, 0, 1), 0.3)).outcome is Outcome.ok
            mine = [ask.at for ask in slave.asked if ask.unit == 1]
            assert len(mine) >= 9
            assert min(b - a for a, b in pairwise(mine)) >= pause - 0.005

    run(main())


def test_a_guest_that_asks_nonsense(run: Run) -> None:
    """It is refused or told what went wrong, and polling goes on; nobody waits for ever."""

    class Broken(Request):
        def encode(self) -> bytes:
            raise RuntimeError("broken")

    async def main() -> None:
        slave = Slave(rtu=True)
        with slave.on_a_pty() as port:
            async with polled(bus(port, device(every=0.02))) as (driver, batches), polling(batches):
                for timeout in (float("nan"), 0.0, -5.0):
                    with pytest.raises(ValueError, match="timeout"):
                        await driver.guest(Request(7, 3, 0, 1), timeout)
                with pytest.raises(RuntimeError):
                    await asyncio.wait_for(driver.guest(Broken(7, 3, 0, 1), 0.1), 5)
                before = driver.devices["d1"].ok
                async with asyncio.timeout(5):
                    while driver.devices["d1"].ok < before + 5:
                        await asyncio.sleep(0.01)

    run(main())


def test_a_guest_that_writes(run: Run) -> None:
    """The right answer to a write repeats its head; any other is refused."""

    def repeats(slave: Slave, ask: liar.Ask) -> liar.Chunks:
        data = ask.start.to_bytes(2, "big") + ask.number.to_bytes(2, "big")
        return [(0, slave.answer(ask, bytes((ask.fc,)) + data))]

    def another(slave: Slave, ask: liar.Ask) -> liar.Chunks:
        return repeats(slave, ask._replace(start=ask.start + 1))

    async def main() -> None:
        slave = Slave(rtu=True)
        with slave.on_a_pty() as port:
            async with polled(bus(port, device(every=30.0))) as (driver, batches):
                assert was_read((await take(batches, 1))[0])
                async with polling(batches):
                    slave.always = repeats
                    assert (await driver.guest(WriteRequest(1, 6, 100, [9600]), 0.5)).outcome is Outcome.ok
                    assert (slave.asked[-1].start, slave.asked[-1].number) == (100, 9600)
                    assert (await driver.guest(WriteRequest(1, 5, 3, [1]), 0.5)).outcome is Outcome.ok
                    assert slave.asked[-1].number == 0xFF00
                    slave.always = another
                    assert (await driver.guest(WriteRequest(1, 6, 100, [1]), 0.1)).outcome is Outcome.garbled

                    def both(slave: Slave, ask: liar.Ask) -> liar.Chunks:
                        return liar.echoed(slave, ask) if ask.fc == 3 else repeats(slave, ask) * 2

                    slave.always = both  # an adapter that hears itself, first noticed with a read
                    assert (await driver.guest(Request(1, 3, 0, 1), 0.5)).outcome is Outcome.ok
                    assert (await driver.guest(WriteRequest(1, 6, 100, [1]), 0.5)).outcome is Outcome.ok
                    slave.always = repeats  # the echo alone
                    assert (await driver.guest(WriteRequest(1, 6, 100, [1]), 0.1)).outcome is Outcome.timeout

    run(main())


def test_guests_that_nobody_answers(run: Run) -> None:
    """A scan of silent units takes its share of the line and no more; polled units keep their pace."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = lambda s, ask: liar.honest(s, ask) if ask.unit <= 2 else liar.silence(s, ask)
        with slave.on_a_pty() as port:
            async with polled(bus(port, device(1, every=0.1), device(2, every=0.1))) as (driver, batches):
                spent = 0.0

                async def scan() -> None:
                    nonlocal spent
                    for unit in range(10, 200):
                        spent += (await driver.guest(Request(unit, 3, 0, 1), 0.05)).seconds

                scanning = asyncio.create_task(scan())
                began = time.monotonic()
                found = await until(batches, lambda _: time.monotonic() > began + 2.5)
                took = time.monotonic() - began
                scanning.cancel()
                await asyncio.wait({scanning})
        assert spent <= SAVED + SHARE * took + 0.2
        assert spent >= 0.3
        assert sum(map(was_read, found)) >= 0.9 * len(found)
        for unit in (1, 2):
            times = [ask.at for ask in slave.asked if ask.unit == unit]
            assert max(later - sooner for sooner, later in pairwise(times)) < 0.1 + 0.1 + 0.05

    run(main())


def test_a_guest_before_polls_that_wait() -> None:
    """It is let in only where all polls behind it still end within their periods, those of the whole queue counted."""

    async def main() -> None:
        now = 1000.0
        told = bus("-", *(device(unit, every=0.5) for unit in range(1, 6)))
        units = ModbusBus(told.model_copy(update={"baud": 9600}), {"test": WEATHER}).units()
        takes = units[0].takes()
        assert 0.03 < takes < 0.06

        def let_in(*due: float, seconds: float = 0.1) -> bool:
            for unit, at in zip(units, due, strict=True):
                unit.due = now + at
            guests = Guests(1.0)
            guests.wake(now)
            guests.add(Guest(Request(9, 3, 0, 1), seconds, None, now, asyncio.get_running_loop().create_future()))
            return guests.take(now, units, lambda _: 0.0) is not None

        assert let_in(1, 1, 1, 1, 1)
        assert let_in(-0.05, 0.01, 1, 1, 1)
        assert not let_in(-0.05, -0.05, -0.05, -0.05, -0.05)  # each by itself would still be in time
        assert not let_in(-0.3, 1, 1, 1, 1)
        assert let_in(0.02, 1, 1, 1, 1, seconds=2.0)  # longer than the period: only in a gap
        assert not let_in(-0.02, 1, 1, 1, 1, seconds=2.0)

    asyncio.run(main())


def test_a_guest_of_a_bus_that_is_away(run: Run) -> None:
    """It is told at once, not left waiting; a bus that ends sends its guests away."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            pass  # from now on nobody listens there
        async with polled(bus(port, device(every=0.05))) as (driver, batches), polling(batches):
            with pytest.raises(BusAway):
                await driver.guest(Request(1, 3, 0, 1), 0.1)
            with pytest.raises(BusAway):
                await driver.guest(Request(1, 3, 0, 1), 0.1, baud=9600)

    run(main())


def test_bus_without_devices_that_is_away(run: Run) -> None:
    """Why is known from the start, though nobody polls it: tools that only listen have it to show."""

    async def main() -> None:
        async with Slave().on_tcp() as port:
            pass  # from now on nobody listens there
        async with polled(bus(port)) as (driver, batches), polling(batches):
            await waiting.until(lambda: [trouble.what for trouble in driver.troubles()] == ["endpoint_unreachable"])

    run(main())


def test_a_guest_with_other_settings(run: Run) -> None:
    """The port has them for the one request and its own again after it; pollers see nothing of it."""

    async def main() -> None:
        slave = Slave(rtu=True)
        with slave.on_a_pty() as port:
            async with polled(bus(port, device(every=0.02))) as (driver, batches):
                async with polling(batches):
                    answer = await driver.guest(Request(9, 3, 0, 1), 0.5, baud=9600)
                    assert answer.outcome is Outcome.ok  # a pty carries bytes at any speed
                    with pytest.raises(OSError, match="Invalid"):  # but has no parity
                        await driver.guest(Request(9, 3, 0, 1), 0.5, framing="8E1")
                    await driver.guest(Request(9, 3, 0, 1), 0.5)
                assert driver.devices["d1"].timeout == 0

    run(main())


def test_a_tap(run: Run) -> None:
    """Whoever listens sees each request and what came, with its verdict, until he lets go."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            async with polled(bus(port)) as (driver, batches):
                await take(batches, 1)
                frames: list[Frame] = []
                stop = driver.tap(frames.append)
                slave.lies.extend([liar.honest, liar.exception(4)])
                good = values((await take(batches, 2))[0])
                stop()
                await take(batches, 2)
            assert [(frame.sent, frame.verdict) for frame in frames] == [
                (True, "request"),
                (False, "ok"),
                (True, "request"),
                (False, "exception 4"),
            ]
            assert frames[1].data.endswith(b"".join(int(v).to_bytes(2, "big") for v in good))
            assert frames[0].mono <= frames[1].mono

    run(main())
