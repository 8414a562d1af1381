"""Registers that tell a device: a swapped one writes nothing, one without them is read all the same."""

from __future__ import annotations

import time

import pytest

from drivers import identity
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Ask, Chunks, Lie, Slave
from tests.drivers.polling import bus, device, polled, profile, right, row, take, until, values, was_read

TOLD = profile(
    row("t", 0, "weather.temp_c"),
    {"key": "serial", "addr": 40, "unit": "1"},
    ident=[{"key": "serial"}],
)


def at_40(lie: Lie) -> Lie:
    """A device that lies where its number stands."""

    def answer(slave: Slave, ask: Ask) -> Chunks:
        return (lie if ask.start == 40 else liar.honest)(slave, ask)

    return answer


def test_a_device_that_was_swapped(run: Run) -> None:
    """Its own number differs: nothing is read under the old name, the trouble says what was found, until it is back."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            number = slave.value(1, 3, 40)
            mine = device(every=0.02).model_copy(update={"identity": {"serial": number}})
            async with polled(bus(port, mine), TOLD) as (driver, batches):
                assert values((await take(batches, 1))[0]) == right(slave, 1, 3, 0)
            other = device(every=0.02).model_copy(update={"identity": {"serial": 4711}})
            async with polled(bus(port, other), TOLD) as (driver, batches):
                batch = (await take(batches, 1))[0]
                assert values(batch) == (None,)
                [trouble] = driver.troubles()
                assert (trouble.what, trouble.facts["found"]) == ("device_identity", f"serial={number}")
                assert driver.devices["d1"].cause == "identity"

    run(main())


def test_a_running_device_that_is_swapped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found out within the hour, though it answers all the time; nothing of the other is read meanwhile."""
    monkeypatch.setattr(identity, "HOUR", 0.3)
    mine, another = Slave(), Slave()

    async def main() -> None:
        swapped = False
        monkeypatch.setattr(another, "value", lambda unit, fc, address: 4711 if address == 40 else 99)
        mine.always = lambda slave, ask: [(0, (another if swapped else slave).answer(ask))]
        async with mine.on_tcp() as port:
            told = device(every=0.02)  # what its number is, it told itself when it was first asked
            async with polled(bus(port, told, timeout=1.0), TOLD) as (driver, batches):
                await until(batches, was_read)
                swapped, began = True, time.monotonic()
                await until(batches, lambda batch: values(batch) == (None,))
                assert time.monotonic() - began < 5.0
                found = await until(batches, lambda _: bool(driver.troubles()))
                assert all(values(batch) == (None,) for batch in found)
                [trouble] = driver.troubles()
                assert (trouble.what, trouble.facts["found"]) == ("device_identity", "serial=4711")
                until_asked = len(mine.asked)
                for batch in await take(batches, 3):
                    assert values(batch) == (None,)
                assert {ask.start for ask in mine.asked[until_asked:]} == {40}
                swapped = False
                back = (await until(batches, was_read))[-1]
                assert values(back) == right(mine, 1, 3, 0)
                assert driver.troubles() == []

    run(main())


def test_a_device_that_refuses_to_be_told(run: Run) -> None:
    """It may not have the register: it is read from the first poll on, and nothing is said."""

    async def main() -> None:
        slave = Slave()
        slave.always = at_40(liar.exception(2))
        async with slave.on_tcp() as port:
            async with polled(bus(port, device(every=0.02)), TOLD) as (driver, batches):
                found = await take(batches, 4)
                assert all(map(was_read, found))
                assert driver.troubles() == []
            assert [ask.start for ask in slave.asked] == [40, 0, 0, 0, 0]

    run(main())


def test_a_device_that_ignores_the_question(run: Run) -> None:
    """After three questions without an answer it is read all the same, and not asked again for an hour."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = at_40(liar.silence)
        with slave.on_a_pty() as port:
            async with polled(bus(port, device(every=0.02), timeout=0.03), TOLD) as (driver, batches):
                await until(batches, was_read)
                found = await take(batches, 5)
                assert all(map(was_read, found))
                assert driver.troubles() == []
        assert sum(ask.start == 40 for ask in slave.asked) == 3

    run(main())


def test_a_known_device_that_ignores_the_question(run: Run) -> None:
    """One that once told its number must tell it again after a failure, before anything of it counts."""

    async def main() -> None:
        slave = Slave()
        async with (
            slave.on_tcp() as port,
            polled(bus(port, device(every=0.02), timeout=0.02), TOLD) as (_, batches),
        ):
            assert was_read((await take(batches, 1))[0])
            slave.lies.append(liar.silence)
            await until(batches, lambda batch: not was_read(batch))
            slave.always = at_40(liar.silence)
            assert not any(map(was_read, await take(batches, 6)))
            slave.always = liar.honest
            found = await until(batches, was_read)
            assert values(found[-1]) == right(slave, 1, 3, 0)

    run(main())


def test_a_number_that_answers_only_in_a_block(run: Run) -> None:
    """It is asked for as the profile says, by itself it is refused."""
    whole = profile(
        row("t", 0, "weather.temp_c"),
        {"key": "serial", "addr": 45, "unit": "1"},
        ident=[{"key": "serial", "read": [40, 10]}],
    )

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            other = device(every=0.02).model_copy(update={"identity": {"serial": 4711}})
            async with polled(bus(port, other), whole) as (driver, batches):
                assert not was_read((await take(batches, 1))[0])
                assert driver.troubles()[0].facts["found"] == f"serial={slave.value(1, 3, 45)}"
            assert (slave.asked[0].start, slave.asked[0].number) == (40, 10)

    run(main())
