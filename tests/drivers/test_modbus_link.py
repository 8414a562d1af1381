"""What a bus tells of itself: link readings, what was left out at the end, learned time-outs, priorities."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from drivers import link
from drivers.driver import Batch
from drivers.modbus import ModbusBus
from drivers.planner import Line
from drivers.reading import Reason
from drivers.turnaround import FEW, KEPT, LEAST, LOOK, Turnaround
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Slave
from tests.drivers.polling import (
    FAR_APART,
    WEATHER,
    bus,
    device,
    expected,
    polled,
    profile,
    reasons,
    row,
    until,
    values,
    was_read,
)


def test_link_readings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each device what became of its requests since the last report, and for the bus how busy its line is."""
    monkeypatch.setattr(link, "EVERY", 0.3)

    async def main() -> None:
        slave = Slave()
        slave.lies.extend([liar.exception(4)] * 2)
        async with slave.on_tcp() as port:
            async with polled(bus(port, device(every=0.02))) as (_, batches):
                found = await until(batches, lambda batch: batch.readings[0].source.measurement == "link")
            line, device_link = found[-1].readings
            assert line.source.point(0) == "line.link.load_pct"
            assert 0 < float(line.values[0] or 0) <= 100
            assert (line.source.point(1), line.values[1]) == ("line.link.stray_bytes", 0)
            told = {reading.point.rpartition(".")[2]: reading.value for reading in device_link}
            assert device_link.source.device == "d1"
            assert told["exception"] == 2
            assert told["ok"] == sum(map(was_read, found[:-1]))
            assert told["timeout"] == told["late"] == told["short"] == told["garbled"] == 0
            assert 0 < float(told["latency_ms"] or 0) < 1000

    run(main())


def test_latency_of_a_device_that_does_not_answer() -> None:
    """There is none: because of its silence where it was asked, for want of a connection where it was not."""
    told = bus(1, device())
    (unit,) = ModbusBus(told, {"test": WEATHER}).units()
    report = link.LinkReport("line", (unit,), 0.0)
    unit.state.timeout += 1
    for minute, why in ((1, Reason.timeout), (2, Reason.not_connected)):
        _, of_device = report.readings(60.0 * minute, 1.0)
        assert (of_device.values[-1], of_device.faults) == (None, {len(of_device.values) - 1: why})


def test_polls_left_out_at_the_end(run: Run) -> None:
    """A bus that is cancelled while a unit is in quarantine still accounts for the polls left out until then."""

    async def main() -> None:
        slave = Slave()
        slave.always = liar.silence
        async with slave.on_tcp() as port:
            found: list[Batch] = []

            async def consume() -> None:
                async with polled(bus(port, device(every=0.05), timeout=0.02)) as (_, batches):
                    async for batch in batches:
                        found.append(batch)

            began = time.monotonic()
            task = asyncio.create_task(consume())
            await asyncio.sleep(1.5)
            task.cancel()
            await asyncio.wait({task})
            turns = (time.monotonic() - began) / 0.05
            assert task.cancelled()
            assert reasons(found[-1]) == {Reason.timeout}
            assert abs(expected(found) - turns) <= 3

    run(main())


def test_learned_time_outs() -> None:
    """Three usual answers, never below a floor nor above the bus's time-out, and longer after a late answer."""
    line = Line(0.02, 0.001)
    learned = Turnaround(line, Line(0.01, 0.001), 0.0)
    assert learned.patience(10, 1.0) == pytest.approx(1.02)
    for _ in range(FEW):
        learned.answered(10, 0.025)
    assert learned.patience(10, 0.3) == pytest.approx(0.02 + LEAST)
    for _ in range(KEPT):
        learned.answered(10, 0.2)
    assert learned.patience(10, 1.0) == pytest.approx(0.6)
    learned.came_late(0.9)
    assert learned.patience(10, 1.0) == pytest.approx(1.02)
    assert learned.patience(10, 1.0, learned=False) == pytest.approx(1.02)


def test_planning_anew() -> None:
    """Once an answer costs a quarter more or less than planned, the planner is told what it costs."""
    learned = Turnaround(Line(0.02, 0.001), Line(0.01, 0.001), 0.002)
    for i in range(2 * KEPT):
        learned.answered(10 + i % 30, 0.018 + 0.001 * (10 + i % 30))
    assert learned.moved(0.0) is None
    for i in range(2 * KEPT):
        learned.answered(10 + i % 30, 0.058 + 0.001 * (10 + i % 30))
    assert learned.moved(LOOK / 2) is None  # once in a while is enough
    found = learned.moved(LOOK)
    assert found
    assert found.request == pytest.approx(0.06)
    assert found.register == pytest.approx(0.001)
    assert learned.moved(2 * LOOK) is None


def test_an_alarm_among_slow_devices(run: Run) -> None:
    """It is asked between the blocks of another device, and first of those that are due."""

    async def main() -> None:
        slave = Slave()
        slave.always = liar.after(0.05)
        async with slave.on_tcp() as port:
            slow = [device(unit, every=0.3).model_copy(update={"priority": "slow"}) for unit in (1, 2)]
            alarm = device(3, every=0.4).model_copy(update={"priority": "alarm"})
            async with polled(bus(port, *slow, alarm, timeout=1.0), FAR_APART) as (_, batches):
                began = time.monotonic()
                found = await until(batches, lambda _: time.monotonic() > began + 2.5)
            starts = [ask.at for ask in slave.asked if ask.unit == 3 and ask.start == 0]
            assert max(later - sooner for sooner, later in pairwise(starts)) < 2 * 0.4
            polled_units = {batch.readings[0].source.device for batch in found if was_read(batch)}
            assert polled_units == {"d1", "d2", "d3"}

    run(main())


def test_a_register_that_is_not_there(run: Run) -> None:
    """Exception 2 for a block without holes: it is halved until the one register stands alone, the others are read."""

    def strict(slave: Slave, ask: liar.Ask) -> liar.Chunks:
        touches = ask.start <= 2 < ask.start + ask.number
        return (liar.exception(2) if touches else liar.honest)(slave, ask)

    names = ("temp_c", "rh_pct", "pressure_hpa", "wind_speed_ms", "rain_mm")
    whole = profile(*(row(name, i, f"weather.{name}") for i, name in enumerate(names)))

    async def main() -> None:
        slave = Slave()
        slave.always = strict
        async with slave.on_tcp() as port:
            async with polled(bus(port), whole) as (_, batches):
                found = await until(batches, lambda batch: sum(v is not None for v in values(batch)) == 4)
            assert len(found) <= 6
            assert values(found[-1])[2] is None

    run(main())
