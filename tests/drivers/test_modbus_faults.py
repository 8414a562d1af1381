"""Devices, ports and endpoints that are away, in part or altogether: what is said, what it costs, how they return."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from pathlib import Path

import pytest

from drivers.driver import Batch
from drivers.reading import NOT_READ, Reason
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Ask, Chunks, Slave
from tests.drivers.polling import (
    FAR_APART,
    bus,
    device,
    expected,
    polled,
    reasons,
    right,
    take,
    until,
    values,
    was_read,
)


def test_a_block_without_an_answer(run: Run) -> None:
    """A device ignores one of three blocks: the others are still read, in each poll, and the trouble says in part."""

    def partly(slave: Slave, ask: liar.Ask) -> liar.Chunks:
        return liar.silence(slave, ask) if ask.start == 0 else liar.honest(slave, ask)

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = partly
        with slave.on_a_pty() as port:
            async with polled(bus(port), FAR_APART) as (driver, batches):
                _, second, third, *_ = await take(batches, 4)
                assert values(second) == values(third) == (None, *right(slave, 1, 3, 3000, 6000))
                assert third.readings[-1].reason(0) is Reason.timeout
                assert third.readings[-1].reason(1) is Reason.ok
                [trouble] = driver.troubles()
                assert (trouble.what, trouble.subject, trouble.failed) == ("device_silent", "d1", False)
                assert {name: trouble.facts[name] for name in ("device", "bus", "unit")} == {
                    "device": "d1",
                    "bus": "line",
                    "unit": 1,
                }
                assert 0.0 <= float(trouble.facts["next"]) < 2.0  # its next poll: it is in no quarantine

    run(main())


def test_a_device_that_refuses(run: Run) -> None:
    """An exception for a block without holes is reported with its code, and never counted as read."""

    async def main() -> None:
        slave = Slave()
        slave.always = liar.exception(6)
        async with slave.on_tcp() as port, polled(bus(port)) as (driver, batches):
            batch = (await take(batches, 3))[-1]
            assert reasons(batch) == {Reason.out_of_service} <= NOT_READ
            [trouble] = driver.troubles()
            assert (trouble.what, trouble.facts["code"], trouble.failed) == ("device_exception", 6, True)
            slave.always = liar.exception(11)
            batch = (await take(batches, 1))[0]
            assert reasons(batch) == {Reason.timeout}  # the gateway says that the unit is silent
            assert driver.troubles()[0].what == "device_silent"

    run(main())


def test_a_dead_unit_among_others(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked ever more rarely, the others keep their pace, every left-out poll is accounted for; one warning."""

    async def main() -> None:
        slave = Slave(rtu=True)
        dead = 3
        slave.always = lambda s, ask: liar.silence(s, ask) if ask.unit == dead else liar.honest(s, ask)
        units = [device(unit, every=0.05) for unit in (1, 2, dead)]
        batches: list[Batch] = []
        with slave.on_a_pty() as port:
            async with polled(bus(port, *units, timeout=0.02)) as (driver, stream):
                started = time.monotonic()
                async for batch in stream:
                    batches.append(batch)
                    if time.monotonic() > started + 2.5:
                        break
                turns = (time.monotonic() - started) / 0.05
                assert [trouble.subject for trouble in driver.troubles()] == ["d3"]
        of = {unit: [b for b in batches if b.readings[-1].source.device == f"d{unit}"] for unit in (1, 2, dead)}
        assert 4 <= len(of[dead]) <= 8
        for unit in (1, 2):
            assert sum(map(was_read, of[unit])) >= 0.75 * turns  # onset included; a half if it were always asked
            assert turns - 20 <= expected(of[unit]) <= turns + 3  # those left out are gathered for up to a second
        pauses = [b.readings[0].polls for b in of[dead]]
        assert pauses[-1] >= 8
        assert pauses == sorted(pauses) or pauses[3:] == sorted(pauses[3:])

    with caplog.at_level(logging.INFO):
        run(main())
    assert [r.message for r in caplog.records] == ["device unreachable device=d3 bus=line unit=3 error=timeout"]


def test_a_device_that_comes_back(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """The first good poll reports the polls left out meanwhile as not read, then the values; one more warning."""

    async def main() -> None:
        slave = Slave()
        slave.lies.extend([liar.silence] * 5)
        async with (
            slave.on_tcp() as port,
            polled(bus(port, device(every=0.02), timeout=0.02)) as (driver, batches),
        ):
            found = await until(batches, was_read)
            assert len(found) == 6
            last = found[-1].readings
            assert [set(each.values) == {None} for each in last] == [True, False]
            assert last[0].polls >= 3
            assert set(last[0].faults.values()) == {Reason.timeout}
            assert driver.troubles() == []

    with caplog.at_level(logging.INFO):
        run(main())
    assert [r.message.split(" device=")[0] for r in caplog.records] == ["device unreachable", "device back"]


# --- the port and the endpoint ----------------------------------------------------------------------------------------


def test_an_endpoint_that_appears_later(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Until then each due poll is reported as not connected, the trouble says where and why; two warnings in all."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            pass  # from now on nobody listens there
        async with polled(bus(port, device(every=0.05))) as (driver, batches):
            for batch in await take(batches, 5):
                assert reasons(batch) == {Reason.not_connected}
            [trouble] = driver.troubles()
            assert (trouble.what, trouble.subject, trouble.failed) == ("endpoint_unreachable", "line", True)
            where = f"127.0.0.1:{port}"
            assert trouble.facts == {"bus": "line", "where": where, "error": "Connection refused"}
            before = driver.progress()
            async with slave.on_tcp(port):
                found = await until(batches, was_read)
            assert len(found) < 40
            assert driver.troubles() == []
            assert driver.progress() > before

    with caplog.at_level(logging.INFO):
        run(main())
    assert [r.message.split(" bus=")[0] for r in caplog.records] == ["bus unreachable", "bus back"]


def test_a_connection_that_is_closed_while_idle(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Many devices do that: a new connection is made for the next poll, no reading is lost and nothing said."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port, polled(bus(port, device(every=0.05))) as (driver, batches):
            await take(batches, 2)
            slave.hang_up()
            assert all(map(was_read, await take(batches, 3)))
            assert driver.troubles() == []

    with caplog.at_level(logging.INFO):
        run(main())
    assert caplog.records == []


def test_a_connection_that_is_closed_instead_of_an_answer(run: Run) -> None:
    """The poll ends at once as not connected, without waiting for its time-out; another is made at once, once."""

    async def main() -> None:
        slave = Slave()
        slave.lies.extend([liar.honest, liar.close, liar.honest, liar.honest, liar.close, liar.close])
        async with (
            slave.on_tcp() as port,
            polled(bus(port, device(every=0.05), timeout=2.0)) as (driver, batches),
        ):
            started = time.monotonic()
            first, second, third, fourth, _ = await take(batches, 5)
            assert was_read(first)
            assert reasons(second) == reasons(fourth) == {Reason.not_connected}
            assert was_read(third)
            assert time.monotonic() - started < 0.5
            assert driver.troubles()[0].what == "endpoint_unreachable"
            await until(batches, was_read)
            assert driver.troubles() == []
            assert driver.devices["d1"].timeout == 0

    run(main())


def test_a_connection_that_is_half_open(run: Run) -> None:
    """After five requests without a byte the connection is made anew: the other end may have forgotten it."""

    async def main() -> None:
        slave = Slave()
        slave.lies.extend([liar.honest] + [liar.silence] * 5)
        async with slave.on_tcp() as port:
            async with polled(bus(port, timeout=0.01)) as (_, batches):
                await until(batches, was_read)
                found = await until(batches, was_read)
            assert len(found) == 6
            await asyncio.sleep(0.02)
            assert slave.closed == 2

    run(main())


def test_a_port_that_is_unplugged(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The trouble names the missing port; plugged in again, under another device name, it is found by its path."""
    link = tmp_path / "usb-adapter"

    async def main() -> None:
        slave = Slave(rtu=True)
        async with polled(bus(str(link), device(every=0.03))) as (driver, batches):
            await take(batches, 2)
            assert driver.troubles()[0].what == "port_missing"
            with slave.on_a_pty(link):
                await until(batches, was_read)
                assert driver.troubles() == []
            found = await until(batches, lambda batch: bool(driver.troubles()))
            assert reasons(found[-1]) == {Reason.not_connected}
            [trouble] = driver.troubles()
            assert (trouble.what, trouble.facts) == ("port_missing", {"bus": "line", "port": str(link)})
            blocker, end = os.openpty()  # so that the next pty has another name
            with slave.on_a_pty(link):
                await until(batches, was_read)
                assert driver.troubles() == []
            os.close(blocker)
            os.close(end)

    with caplog.at_level(logging.INFO):
        run(main())
    assert [r.message.split(" bus=")[0] for r in caplog.records] == ["bus unreachable", "bus back"] * 2


def test_a_port_that_is_unplugged_while_it_reads(tmp_path: Path) -> None:
    """Amid an answer: no value of that poll, no other cause than the port; it goes on once that is back."""
    link = tmp_path / "usb-adapter"

    def half(slave: Slave, ask: Ask) -> Chunks:
        return [(0, slave.answer(ask)[:4])]

    async def main() -> None:
        slave = Slave(rtu=True)
        async with polled(bus(str(link), device(every=0.05), timeout=0.3)) as (driver, batches):
            with slave.on_a_pty(link):
                await until(batches, was_read)
                slave.lies.append(half)
                reading = asyncio.ensure_future(anext(batches))
                while slave.lies:
                    await asyncio.sleep(0.002)
            assert reasons(await reading) == {Reason.not_connected}
            assert [trouble.what for trouble in driver.troubles()] == ["port_missing"]
            with slave.on_a_pty(link):
                found = await until(batches, was_read)
                assert values(found[-1]) == right(slave, 1, 3, 0, 1)
                assert driver.devices["d1"].garbled == 0

    asyncio.run(main())


def test_a_port_that_another_program_holds(run: Run) -> None:
    """The trouble says busy, not missing, and polling begins when the other lets go."""

    async def main() -> None:
        slave = Slave(rtu=True)
        with slave.on_a_pty() as port:
            other = os.open(port, os.O_RDWR | os.O_NOCTTY)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            async with polled(bus(port, device(every=0.03))) as (driver, batches):
                await take(batches, 2)
                [trouble] = driver.troubles()
                assert (trouble.what, trouble.facts) == ("port_busy", {"bus": "line", "port": port})
                os.close(other)
                await until(batches, was_read)
                assert driver.troubles() == []

    run(main())


def test_a_path_that_is_no_port(run: Run, tmp_path: Path) -> None:
    """A file in the place of a port is neither missing nor busy."""
    path = tmp_path / "file"
    path.write_text("no port")

    async def main() -> None:
        async with polled(bus(str(path))) as (driver, batches):
            assert reasons((await take(batches, 1))[0]) == {Reason.not_connected}
            assert driver.troubles()[0].what == "port_refused"

    run(main())
