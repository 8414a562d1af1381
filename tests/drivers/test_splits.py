"""Blocks that a device refuses: split around what it does not have, for good, and remembered over a restart."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from drivers.bus_plan import PlannedRange, planned, running
from drivers.profile import Profile
from drivers.reading import Reason
from drivers.settings import Bus
from edge_agent.modbus_show import plan
from edge_agent.text import texts
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Ask, Chunks, Slave
from tests.drivers.polling import bus, polled, profile, reasons, right, row, take, until, values, was_read

HOLEY = profile(row("t", 0, "weather.temp_c"), row("h", 1, "weather.rh_pct"), row("p", 7, "weather.pressure_hpa"))


def only(*addresses: int) -> liar.Lie:
    """A device with these registers and no others."""

    def strict(slave: Slave, ask: Ask) -> Chunks:
        inside = set(range(ask.start, ask.start + ask.number)) <= set(addresses)
        return liar.honest(slave, ask) if inside else liar.exception(2)(slave, ask)

    return strict


async def asked(
    told: Bus, slave: Slave, memory: Path | None, of: Profile = HOLEY, polls: int = 3
) -> list[tuple[int, int]]:
    """What a fresh start of the bus asks in its first polls."""
    slave.asked.clear()
    async with polled(told, of, memory) as (_, batches):
        await take(batches, polls)
    return [(ask.start, ask.number) for ask in slave.asked]


def test_an_exception_over_a_hole(run: Run) -> None:
    """A block refused with exception 2 is read without its holes from then on."""

    async def main() -> None:
        slave = Slave()
        slave.always = only(0, 1, 6, 7)
        async with slave.on_tcp() as port, polled(bus(port), HOLEY) as (driver, batches):
            first, *others = await take(batches, 4)
            assert reasons(first) == {Reason.out_of_service}
            assert {values(batch) for batch in others} == {right(slave, 1, 3, 0, 1, 7)}
            assert [(ask.start, ask.number) for ask in slave.asked] == [(0, 8)] + [(0, 2), (7, 1)] * 3
            assert driver.devices["d1"].exception == 1
            assert driver.troubles() == []

    run(main())


def test_a_split_after_a_restart(run: Run, tmp_path: Path) -> None:
    """It is remembered for this endpoint, unit and map of registers; another map is asked as if for the first time."""
    memory = tmp_path / "splits.json"
    other = profile(row("t", 0, "weather.temp_c"), row("p", 7, "weather.pressure_hpa"))

    async def main() -> None:
        slave = Slave()
        slave.always = only(0, 1, 7)
        async with slave.on_tcp() as port:
            assert await asked(bus(port), slave, memory) == [(0, 8)] + [(0, 2), (7, 1)] * 2
            assert await asked(bus(port), slave, memory) == [(0, 2), (7, 1)] * 3
            assert (await asked(bus(port), slave, memory, other))[0] == (0, 8)
            async with slave.on_tcp() as elsewhere:
                assert (await asked(bus(elsewhere), slave, memory))[0] == (0, 8)

    run(main())


def test_a_split_that_helped_nothing(run: Run, tmp_path: Path) -> None:
    """A device that refuses everything, such as another model for a while, leaves nothing to be remembered."""
    memory = tmp_path / "splits.json"

    async def main() -> None:
        slave = Slave()
        slave.always = only()
        async with slave.on_tcp() as port:
            await asked(bus(port), slave, memory, polls=4)
            assert not memory.exists()
            slave.always = only(*range(8))
            assert await asked(bus(port), slave, memory, polls=2) == [(0, 8)] * 2

    run(main())


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"where": 1}', b"[]"])
def test_a_damaged_file_of_splits(run: Run, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """One warning, and the splits are found anew and written whole."""
    memory = tmp_path / "splits.json"

    async def main() -> None:
        memory.write_bytes(damage)
        slave = Slave()
        slave.always = only(0, 1, 7)
        async with slave.on_tcp() as port:
            assert await asked(bus(port), slave, memory) == [(0, 8)] + [(0, 2), (7, 1)] * 2
            assert await asked(bus(port), slave, memory) == [(0, 2), (7, 1)] * 3

    with caplog.at_level(logging.WARNING):
        run(main())
    assert [record.message.split(" file=")[0] for record in caplog.records if record.name == "edge.files"] == [
        "file not read, begun anew"
    ]


def test_a_folder_that_takes_no_file(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It costs a warning and no reading."""

    async def main() -> None:
        slave = Slave()
        slave.always = only(0, 1, 7)
        async with (
            slave.on_tcp() as port,
            polled(bus(port), HOLEY, tmp_path / "missing" / "splits.json") as (_, batches),
        ):
            await until(batches, was_read)
            assert all(map(was_read, await take(batches, 2)))

    run(main())
    assert [said for record in caplog.records if "splits" in (said := record.message.split(" file=")[0])] == [
        "splits not written"
    ]


def test_the_plan_of_a_split_device(run: Run, tmp_path: Path) -> None:
    """`edge modbus plan` shows the splits, with the agent and without it."""
    memory = tmp_path / "splits.json"

    async def main() -> None:
        slave = Slave()
        slave.always = only(0, 1, 7)
        async with slave.on_tcp() as port:
            told = bus(port)
            assert planned(told, {"test": HOLEY}, memory).devices[0].refused == []
            async with polled(told, HOLEY, memory) as (driver, batches):
                await take(batches, 3)
                plans = running(told, driver.units()), planned(told, {"test": HOLEY}, memory)
        for each in plans:
            assert each.devices[0].refused == [PlannedRange(3, 2, 6)]
            assert [(block.start, block.count) for block in each.devices[0].blocks] == [(0, 2), (7, 1)]
            assert "d1 once refused to read over fc3 2..6" in plan(each, texts("en"))

    run(main())
