"""Devices that answer wrongly, in every way seen in the field: refused by name, and no value is ever another's."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from pymodbus import ModbusException
from pymodbus.client import AsyncModbusSerialClient

from drivers import line_test, silence
from drivers.driver import Batch
from drivers.quarantine import Cause
from drivers.reading import NOT_READ, Reason
from drivers.settings import Bus
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Slave
from tests.drivers.polling import (
    FAR_APART,
    PATIENCE,
    WEATHER,
    bus,
    device,
    polled,
    reasons,
    right,
    take,
    until,
    values,
    was_read,
)

Lies = dict[str, tuple[liar.Lie, str]]
"""By name: how a device answers, and what that counts as."""


def lies(patience: float) -> Lies:
    """The ways to lie that every wire has, where an answer is waited for so many seconds."""
    return {
        "silence": (liar.silence, "timeout"),
        "wrong unit": (liar.wrong_unit, "garbled"),
        "wrong function": (liar.wrong_function, "garbled"),
        "fewer registers": (liar.other_count(-1), "short"),
        "more registers": (liar.other_count(1), "short"),
        "byte count too high": (liar.byte_count(2), "garbled"),
        "byte count too low": (liar.byte_count(-2), "garbled"),
        "cut short": (liar.cut_short, "garbled"),
        "late": (liar.after(1.5 * patience), "timeout"),
        "a byte at a time, too slowly": (liar.byte_by_byte(patience / 3), "garbled"),
        "in pieces": (liar.in_pieces, "ok"),
        "twice": (liar.twice, "ok"),
    }


TCP_LIES = lies(PATIENCE) | {
    "transaction 0": (liar.transaction(lambda tid: 0), "garbled"),
    "transaction before": (liar.transaction(lambda tid: tid - 1), "garbled"),
    "transaction to come": (liar.transaction(lambda tid: tid + 1), "garbled"),
    "header length 0": (liar.header_length(0), "garbled"),
    "header length 65,535": (liar.header_length(65535), "garbled"),
    "header length too high": (liar.header_length(9), "garbled"),
    "header length too low": (liar.header_length(6), "garbled"),
    "garbage": (liar.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "garbled"),
    "a few bytes": (liar.raw(b"\0\1"), "garbled"),
    "flood": (liar.raw(b"\xff" * 2_000_000), "garbled"),
    "close": (liar.close, "lost"),
    "half close": (liar.half_close, "lost"),
    **{f"exception {code}": (liar.exception(code), "exception") for code in (*range(1, 12), 99)},
}


def rtu_lies(patience: float) -> Lies:
    """The ways to lie on a serial line."""
    return lies(patience) | {
        "bad check sum": (liar.bad_check_sum, "garbled"),
        "garbage": (liar.raw(b"\xff\x00" * 40), "garbled"),
        "late by half a time-out": (liar.after(0.5 * patience), "ok"),
        "late by three time-outs": (liar.after(3 * patience), "timeout"),
        "babble": (liar.babble(2.5 * patience), "garbled"),
        **{f"exception {code}": (liar.exception(code), "exception") for code in (1, 2, 6, 11)},
        "a glitch before": (liar.preceded_by(b"\0"), "ok"),
        "noise before": (liar.preceded_by(b"\xff\x01\x03\x02\xff"), "ok"),
        "own echo": (liar.echoed, "ok"),
        "another unit first": (liar.another_first, "ok"),
    }


RTU_LIES = rtu_lies(PATIENCE) | {
    f"exception {code}": (liar.exception(code), "exception") for code in (*range(1, 12), 99)
}


async def _after_a_lie(slave: Slave, told: Bus, lie: liar.Lie, outcome: str) -> None:
    """One lie among honest answers: named right, never a wrong value, and the next answers are taken again."""
    async with polled(told) as (driver, batches):
        honest = right(slave, 1, 3, 0, 1)
        assert values((await take(batches, 1))[0]) == honest
        slave.lies.append(lie)
        found = await take(batches, 1)
        found += await until(batches, was_read)
        assert all(value in (None, good) for batch in found for value, good in zip(values(batch), honest, strict=True))
        state = driver.devices["d1"]
        counted = {name: getattr(state, name) for name in ("timeout", "garbled", "exception", "short")}
        uncounted = outcome in ("ok", "lost")  # the bus tells of a connection that is lost
        assert {name for name, number in counted.items() if number} == ({outcome} - {"ok", "lost"})
        assert sum(counted.values()) == (not uncounted)
        assert state.last_error.split()[0:1] == [outcome][: not uncounted]
        if outcome != "ok":
            assert reasons(found[0]) <= NOT_READ


@pytest.mark.parametrize("name", TCP_LIES)
def test_a_lie_over_tcp(run: Run, name: str) -> None:
    """Every way of a TCP slave to answer wrongly is refused and counted under its name."""
    lie, outcome = TCP_LIES[name]

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            await _after_a_lie(slave, bus(port), lie, outcome)

    run(main())


@pytest.mark.parametrize("name", RTU_LIES)
def test_a_lie_on_a_serial_line(run: Run, name: str) -> None:
    """Every way of an RTU slave to answer wrongly is refused and counted; what can be recovered is."""
    lie, outcome = RTU_LIES[name]

    async def main() -> None:
        slave = Slave(rtu=True)
        with slave.on_a_pty() as port:
            await _after_a_lie(slave, bus(port), lie, outcome)

    run(main())


def test_an_rtu_lie_over_tcp(run: Run) -> None:
    """RTU over TCP is RTU: a late answer is waited out, a bad check sum refused."""

    async def main() -> None:
        for name in ("late", "bad check sum", "noise before", "more registers"):
            slave = Slave(rtu=True)
            async with slave.on_tcp() as port:
                await _after_a_lie(slave, bus(port, framer="rtu"), *RTU_LIES[name])

    run(main())


def test_somebody_else_on_the_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes all the time between good answers: no value is wrong, a trouble says so, the bytes are counted."""
    monkeypatch.setattr(silence, "BABBLE", 0.1)

    async def main() -> None:
        slave = Slave(rtu=True)
        async with slave.on_tcp() as port:

            async def babble() -> None:
                while True:
                    slave.say(b"\xa5\x5a\x11")
                    await asyncio.sleep(0.004)

            async with polled(bus(port, device(every=0.05), framer="rtu")) as (driver, batches):
                await take(batches, 2)
                babbling = asyncio.create_task(babble())
                found = await until(batches, lambda _: bool(driver.troubles()))
                assert [(each.what, each.subject, each.failed) for each in driver.troubles()] == [
                    ("bus_babbles", "line", False)
                ]
                good = right(slave, 1, 3, 0, 1)
                assert all(v in (None, g) for batch in found for v, g in zip(values(batch), good, strict=True))
                babbling.cancel()
                await until(batches, lambda _: not driver.troubles())

    run(main())


def test_another_unit_that_answers(run: Run) -> None:
    """The line's doctor says which one does."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = liar.wrong_unit
        async with slave.on_tcp() as port:
            told = bus(port, device(every=5.0), framer="rtu")
            async with polled(told) as (driver, batches):
                polling = asyncio.create_task(_drain(batches))
                async for event in line_test.examine(driver, told, {"test": WEATHER}, 3):
                    found = event
                polling.cancel()
                await asyncio.wait({polling})
            assert isinstance(found, line_test.Examined)
            assert (found.finding.what, found.finding.facts["other"]) == ("another_unit", 2)

    run(main())


async def _drain(batches: AsyncIterator[Batch]) -> None:
    async for _ in batches:
        pass


# --- never another's answer -------------------------------------------------------------------------------------------


def test_a_late_answer_on_a_serial_line(run: Run) -> None:
    """A slave that is late again and again, with blocks of equal length: not one value lands under another's name."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = liar.after(0.4 * PATIENCE)
        slave.lies.extend([liar.honest] * 3)
        with slave.on_a_pty() as port:
            async with polled(bus(port, device(every=0.001)), FAR_APART) as (driver, batches):
                good = right(slave, 1, 3, 0, 3000, 6000)
                await take(batches, 1)
                read = 0
                for lateness in (1.2, 2.0, 3.0):
                    slave.lies.append(liar.after(lateness * PATIENCE))
                    for batch in await take(batches, 4):
                        assert all(value in (None, g) for value, g in zip(values(batch), good, strict=True))
                        read += sum(value is not None for value in values(batch))
                assert read > 20
                # A busy machine may add a time-out of its own, so these are least numbers.
                assert driver.devices["d1"].timeout >= 3
                assert driver.devices["d1"].late >= 2
        waits = [later.at - sooner.at for sooner, later in pairwise(slave.asked)]
        assert sorted(waits)[-3] >= 4.5 * PATIENCE  # the time-out itself, and three and a half of silence

    run(main())


def test_the_same_line_with_pymodbus_alone(run: Run) -> None:
    """The test above can fail: without the guard and the silence the same slave gives registers of another address."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = liar.after(0.4 * PATIENCE)
        slave.lies.append(liar.after(1.2 * PATIENCE))
        wrong = 0
        with slave.on_a_pty() as port:
            client = AsyncModbusSerialClient(port, baudrate=115200, timeout=PATIENCE, retries=0, reconnect_delay=0)
            await client.connect()
            for address in (0, 3000, 6000, 9000):
                try:
                    answer = await client.read_holding_registers(address, count=1, device_id=1)
                except ModbusException:
                    continue
                wrong += tuple(answer.registers) != right(slave, 1, 3, address)
            client.close()
        assert wrong >= 1  # 3 of 4 on a machine with nothing else to do

    run(main())


def test_a_slave_that_is_always_late(run: Run) -> None:
    """Every answer after its time-out: no value at all, each answer counted as late, and the device called late."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = liar.after(1.3 * PATIENCE)
        with slave.on_a_pty() as port:
            async with polled(bus(port), FAR_APART) as (driver, batches):
                for batch in await take(batches, 4):
                    assert reasons(batch) == {Reason.timeout}
                state = driver.devices["d1"]
                assert (state.ok, state.timeout, state.late) == (0, 4, 3)
                assert [trouble.what for trouble in driver.troubles()] == ["device_late"]

    run(main())


def test_late_unit_in_quarantine_among_others() -> None:
    """It is called late, and rests by itself: the line is not held for it."""

    async def main() -> None:
        slave, late = Slave(rtu=True), liar.after(1.3 * PATIENCE)
        slave.always = lambda slave, ask: (late if ask.unit == 2 else liar.honest)(slave, ask)
        with slave.on_a_pty() as port:
            async with polled(bus(port, *(device(unit, every=0.1) for unit in (1, 2)))) as (driver, batches):
                known = driver.units()[1]
                await until(batches, lambda batch: known.tardy and known.state.cause == "late" and not was_read(batch))
                assert known.quarantine.begun
                assert driver._connection.held == 0.0
                assert [trouble.what for trouble in driver.troubles()] == ["device_late"]

    asyncio.run(main())


@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu"])
def test_first_answer_after_a_missed_one(run: Run, rtu: bool) -> None:
    """It is asked for twice, and the second answer is the one that counts."""

    async def main() -> None:
        slave = Slave(rtu=rtu)
        with slave.on_a_pty() as pty:
            async with (
                slave.on_tcp() as port,
                polled(bus(pty if rtu else port, device(every=0.2))) as (driver, batches),
            ):
                await take(batches, 1)
                slave.lies.append(liar.silence)
                found = await until(batches, lambda batch: Reason.timeout in reasons(batch))
                found += await until(batches, was_read)
        state = driver.devices["d1"]
        assert values(found[-1]) == right(slave, 1, 3, 0, 1)
        assert len(slave.asked) > state.ok + state.timeout

    run(main())


@pytest.mark.parametrize(("code", "cause"), [(10, "no_path"), (11, "silent")])
def test_what_a_gateway_says_of_a_dead_unit(run: Run, code: int, cause: str) -> None:
    """No path to it is the gateway's set-up, no answer is the device's: told apart, also once it is in quarantine."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port, polled(bus(port, device(every=0.02))) as (driver, batches):
            await take(batches, 1)
            slave.always = liar.exception(code)
            await until(batches, lambda batch: driver.units()[0].quarantine.begun)
            unit = driver.units()[0]
            assert (unit.quarantine.cause, unit.state.cause) == (Cause(cause), cause)
            assert [trouble.what for trouble in driver.troubles()] == [f"device_{cause}"]

    run(main())


def test_a_late_answer_over_tcp(run: Run) -> None:
    """The late answer is told by its transaction, even where it comes glued to the next one; nobody waits for it."""

    def glued(slave: Slave, ask: liar.Ask) -> liar.Chunks:
        return [(0, slave.answer(slave.asked[-2]) + slave.answer(ask))]

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            slave.lies.extend([liar.silence, glued])
            async with polled(bus(port), FAR_APART) as (driver, batches):
                first, second = await take(batches, 2)
            assert values(first) == (None, None, None)
            assert values(second) == right(slave, 1, 3, 0, 3000, 6000)
            assert (driver.devices["d1"].timeout, driver.devices["d1"].late) == (1, 1)
            assert slave.asked[1].at - slave.asked[0].at < 2 * PATIENCE  # TCP need not be drained

    run(main())


@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu over tcp"])
def test_a_slave_that_lies_at_random(run: Run, rtu: bool) -> None:
    """Hundreds of reads, two in five answered by a lie of some kind: not one wrong value."""
    told = RTU_LIES if rtu else TCP_LIES
    quick = [
        lie for name, (lie, outcome) in told.items() if name not in ("silence", "flood", "late by three time-outs")
    ]
    chance = random.Random(4)

    def at_random(slave: Slave, ask: liar.Ask) -> liar.Chunks:
        return (chance.choice(quick) if chance.random() < 0.4 else liar.honest)(slave, ask)

    async def main() -> None:
        slave = Slave(rtu)
        slave.always = at_random
        async with slave.on_tcp() as port:
            lying = bus(port, device(every=0.001), timeout=0.015, framer="rtu" if rtu else "tcp")
            seen: Counter[bool] = Counter()
            async with polled(lying, FAR_APART) as (_, batches):
                good = right(slave, 1, 3, 0, 3000, 6000)
                end = time.monotonic() + 1.5
                async for batch in batches:
                    assert all(value in (None, g) for value, g in zip(values(batch), good, strict=True))
                    seen.update(value is not None for value in values(batch))
                    if time.monotonic() > end and seen[True] > (7 if rtu else 90) and seen[False] > 10:
                        break

    run(main())
