"""Alarm points: asked for by themselves, before what else is due, also where the line has too much to do."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

from drivers.driver import Batch
from drivers.planner import plan, serial_line
from drivers.profile import Profile
from drivers.reading import Reason
from drivers.settings import Bus, Device
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Slave
from tests.drivers.polling import bus, device, polled, profile, right, row, take, until

LEVEL = "water.level_m"


def rows(**more: Any) -> list[dict[str, Any]]:
    """Five blocks of one register, the level in the midst."""
    names = ("weather.temp_c", "weather.rh_pct", LEVEL, "weather.pressure_hpa", "weather.rain_total_mm")
    return [row(f"r{i}", 2000 * i, name, **(more if name == LEVEL else {})) for i, name in enumerate(names)]


PLAIN, MARKED = profile(*rows()), profile(*rows(alarm=True))


def gauge(unit: int, every: float) -> Device:
    """A device whose level is an alarm point by the configuration."""
    return device(unit, every).model_copy(update={"alarm_points": (LEVEL,)})


def of(batch: Batch, unit: int, measurement: str) -> bool:
    last = batch.readings[-1].source
    return (last.device, last.measurement) == (f"d{unit}", measurement)


def polls(batches: list[Batch], unit: int, measurement: str) -> int:
    """Polls that the batches stand for."""
    found = [each for batch in batches for each in batch.readings]
    return sum(e.polls for e in found if (e.source.device, e.source.measurement) == (f"d{unit}", measurement))


def test_alarm_points_in_the_plan() -> None:
    """They come first, and in no request with others; what answers only as one block stays together."""
    line = serial_line(9600, "8N1")
    near = profile(*(row(f"r{i}", i, name) for i, name in enumerate(("weather.temp_c", LEVEL, "weather.rh_pct"))))
    blocks = plan(near.points(alarms=[LEVEL]), line)
    assert [(block.start, block.count) for block in blocks] == [(1, 1), (0, 3)]
    assert [[r.key for r in block.registers] for block in blocks] == [["r1"], ["r0", "r2"]]
    whole = near.model_copy(update={"limits": near.limits.model_copy(update={"read_as_one_block": (0, 3)})})
    assert [(block.start, block.count) for block in plan(whole.points(alarms=[LEVEL]), line)] == [(0, 3)]
    assert [r.key for r in MARKED.points() if r.alarm] == ["r2"]
    assert not any(r.alarm for r in PLAIN.points())


async def seen(told: Bus, slave: Slave, seconds: float, known: Profile = PLAIN) -> list[Batch]:
    """What a bus on a pty gives in so many seconds, and at its end."""
    found: list[Batch] = []

    async def take_all(port: str) -> None:
        async with polled(told.model_copy(update={"serial": port}), known) as (_, batches):
            async for batch in batches:
                found.append(batch)

    with slave.on_a_pty() as port:
        task = asyncio.create_task(take_all(port))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0.05)  # an answer may be on its way
    return found


def test_alarm_points_of_a_busy_line(run: Run) -> None:
    """Between the blocks of another device, and before the others of its own; each is reported when it was read."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = liar.after(0.02)
        found = await seen(bus("-", gauge(1, 0.3), device(2, 0.15), device(3, 0.15)), slave, 2.5)
        alarms = [i for i, ask in enumerate(slave.asked) if (ask.unit, ask.start) == (1, 4000)]
        units = [ask.unit for ask in slave.asked]
        assert any(units[i - 1] == units[i + 1] != 1 for i in alarms[1:-1])  # let in between two blocks
        times = [slave.asked[i].at for i in alarms]
        assert max(later - sooner for sooner, later in pairwise(times)) < 0.3 + 0.15  # the line is 1.6 times too full
        mine = [batch for batch in found if batch.readings[-1].source.device == "d1"]
        assert {len(batch.readings) for batch in mine if of(batch, 1, "water")} == {1}
        good = right(slave, 1, 3, 4000)
        assert all(batch.readings[-1].values == good for batch in mine if of(batch, 1, "water"))
        assert any(of(batch, 1, "weather") and None not in batch.readings[-1].values for batch in mine)

    run(main())


def test_alarm_points_where_the_rest_falls_behind(run: Run) -> None:
    """On a line with far too much to do they keep their pace; every poll of each part is accounted for."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = liar.after(0.03)
        began = time.monotonic()
        found = await seen(bus("-", *(gauge(unit, 0.2) for unit in (1, 2, 3))), slave, 3.0)
        turns = (time.monotonic() - began) / 0.2
        for unit in (1, 2, 3):
            level = sum(of(batch, unit, "water") and batch.readings[-1].values[0] is not None for batch in found)
            rest = sum(of(batch, unit, "weather") and None not in batch.readings[-1].values for batch in found)
            assert level >= 0.75 * turns
            assert 2 <= rest < level
            assert turns - 4 <= polls(found, unit, "water") <= turns + 3
            assert turns - 4 <= polls(found, unit, "weather") <= turns + 3

    run(main())


def test_alarm_point_without_an_answer(run: Run) -> None:
    """The poll ends with it at one time-out, nothing old is told of the others, and all come back."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port, polled(bus(port, device(every=0.03)), MARKED) as (driver, batches):
            first, second = await take(batches, 2)
            assert first.readings[-1].values == right(slave, 1, 3, 4000)
            assert second.readings[-1].values == right(slave, 1, 3, 0, 2000, 6000, 8000)
            slave.always = liar.silence
            slave.asked.clear()
            failed = (await take(batches, 1))[0]
            assert {value for each in failed.readings for value in each.values} == {None}
            assert {each.source.measurement for each in failed.readings} == {"water", "weather"}
            assert {each.reason(0) for each in failed.readings} == {Reason.timeout}
            assert [ask.start for ask in slave.asked] == [4000]
            slave.always = liar.honest
            back = await until(batches, lambda b: of(b, 1, "weather") and None not in b.readings[-1].values)
            assert of(back[-2], 1, "water")
            assert driver.troubles() == []

    run(main())


def test_other_points_without_an_answer(run: Run) -> None:
    """The alarm points are read all the same, in each poll, and the trouble says in part."""

    async def main() -> None:
        slave = Slave()
        slave.always = lambda s, ask: (liar.honest if ask.start == 4000 else liar.exception(4))(s, ask)
        async with slave.on_tcp() as port, polled(bus(port, device(every=0.03)), MARKED) as (driver, batches):
            found = await take(batches, 12)
            alarms = [batch for batch in found if of(batch, 1, "water")]
            assert 6 <= len(alarms) <= 9
            assert all(batch.readings[-1].values == right(slave, 1, 3, 4000) for batch in alarms)
            [trouble] = driver.troubles()
            assert (trouble.what, trouble.failed) == ("device_exception", False)

    run(main())
