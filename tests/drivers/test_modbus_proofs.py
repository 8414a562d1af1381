"""What the Modbus driver promises of a bad line, counted: no wrong value, and dead units cost the others little.

The long runs (`make faults`) are the promise itself; the short ones beside them are the same at another scale.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise

import msgspec
import pytest
import uvloop

from drivers import scan, turnaround
from drivers.driver import Batch
from drivers.settings import Bus
from drivers.turnaround import FEW
from tests.conftest import Run
from tests.drivers import liar
from tests.drivers.liar import Ask, Chunks, Slave
from tests.drivers.polling import FAR_APART, bus, device, polled, right, take, values, was_read
from tests.drivers.test_modbus_liars import RTU_LIES, TCP_LIES, rtu_lies

BAUD, TURNAROUND = 115_200, 0.005
UNITS = 20


class Kept(msgspec.Struct, frozen=True):
    """What became of the healthy units of a line."""

    share: float
    """Polls that were read, of those that should have been, onset included."""
    worst: float
    """The same of the unit that fared worst."""
    probes: int
    """Requests to dead units."""


async def _kept(dead: int, known: bool, every: float, timeout: float, seconds: float) -> Kept:
    """Poll a paced line of UNITS for so long; after a tenth of it, or from the start, `dead` of them are silent."""
    slave, silent = Slave(rtu=True), set(range(1, dead + 1))
    honest, began = liar.paced(BAUD, TURNAROUND), time.monotonic()

    def answer(slave: Slave, ask: Ask) -> Chunks:
        gone = ask.unit in silent and (not known or ask.at > began + seconds / 10)
        return [] if gone else honest(slave, ask)

    slave.always = answer
    units = [device(unit, every=every) for unit in range(1, UNITS + 1)]
    read: Counter[str] = Counter()
    with slave.on_a_pty() as port:
        async with polled(bus(port, *units, timeout=timeout)) as (_, batches):
            async for batch in batches:
                last = batch.readings[-1].source
                read[last.device] += last.measurement != "link" and was_read(batch)
                if time.monotonic() > began + seconds:
                    break
    turns = (time.monotonic() - began) / every
    healthy = [read[f"d{unit}"] / turns for unit in range(dead + 1, UNITS + 1)]
    return Kept(sum(healthy) / len(healthy), min(healthy), sum(ask.unit in silent for ask in slave.asked))


@pytest.mark.faults
@pytest.mark.xdist_group("minutes")
@pytest.mark.timeout(900)
def test_silent_units_on_a_line_for_ten_minutes() -> None:
    """1 and 5 of 20 units silent, known or never seen before, at 1 s on 115,200 baud: the others keep 95 %."""

    async def main() -> list[Kept]:
        cases = ((1, True), (5, True), (5, False))
        return await asyncio.gather(*(_kept(dead, known, 1.0, 1.0, 600.0) for dead, known in cases))

    found = uvloop.run(main())
    print(f"kept by healthy units (1 silent, 5 silent, 5 never seen): {found}")
    assert all(each.share >= 0.95 and each.worst >= 0.93 for each in found)


def test_silent_units_on_a_line() -> None:
    """The same at a fifth of the time-outs, for some seconds: most of what is lost is lost at the onset."""
    one, five = uvloop.run(_both())
    assert one.share >= 0.95
    assert five.share >= 0.6
    assert five.probes <= 5 * (3 + 10)


async def _both() -> tuple[Kept, Kept]:
    return await asyncio.gather(_kept(1, True, 1.0, 0.2, 8.0), _kept(5, True, 1.0, 0.2, 8.0))


@pytest.mark.faults
@pytest.mark.xdist_group("lines")
@pytest.mark.timeout(400)
def test_polls_beside_a_scan_of_the_whole_line() -> None:
    """Units 1 to 247 are scanned beside the polling of five, at 9,600 and 115,200 baud: no poll is lost to it."""

    async def main() -> tuple[tuple[int, int], tuple[int, int]]:
        return await asyncio.gather(_beside_a_scan(9600, 0.5), _beside_a_scan(115_200, 0.25))

    found = uvloop.run(main())
    print(f"beside a scan: {found} (read, expected)")
    assert all(read >= 0.995 * expected for read, expected in found)


async def _beside_a_scan(baud: int, every: float) -> tuple[int, int]:
    """Polls of five units that were read while all are scanned, and that should have been."""
    slave, honest, read, due = Slave(rtu=True), liar.paced(baud, 0.02), 0, 0
    slave.always = lambda s, ask: honest(s, ask) if ask.unit <= 5 else []

    async def count(batches: AsyncIterator[Batch]) -> None:
        nonlocal read, due
        async for batch in batches:
            if batch.readings[0].source.measurement != "link":
                read += was_read(batch)
                due += sum(each.polls for each in batch.readings)

    with slave.on_a_pty() as port:
        told = bus(port, *(device(unit, every=every) for unit in range(1, 6)), timeout=1.0)
        told = told.model_copy(update={"baud": baud})
        async with polled(told) as (driver, batches):
            counting = asyncio.create_task(count(batches))
            async for _ in scan.scan(driver, told, scan.Wanted(units=tuple(range(1, 248)), models=False), {}):
                pass
            counting.cancel()
            await asyncio.wait({counting})
    return read, due


# --- liars ------------------------------------------------------------------------------------------------------------


async def _lied_to(slave: Slave, told: Bus, reads: int) -> Counter[str]:
    """Poll until the slave was asked so often; how many values were right, missing and wrong."""
    good, seen = right(slave, 1, 3, 0, 3000, 6000), Counter[str]()
    async with polled(told, FAR_APART) as (_, batches):
        async for batch in batches:
            if batch.readings[0].source.measurement == "link":
                continue
            for value, expected in zip(values(batch), good, strict=True):
                seen["missing" if value is None else "right" if value == expected else "wrong"] += 1
            if len(slave.asked) >= reads:
                break
    return seen


def _at_random(lies: dict[str, tuple[liar.Lie, str]], share: float, seed: int) -> liar.Lie:
    """A lie of any kind to so many questions."""
    chance, modes = random.Random(seed), [lie for lie, _ in lies.values()]

    def any_of_them(slave: Slave, ask: Ask) -> Chunks:
        lie = chance.choice(modes) if chance.random() < share else liar.honest
        return lie(slave, ask)

    return any_of_them


@pytest.mark.faults
@pytest.mark.xdist_group("lines")
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu"])
def test_ten_thousand_reads_of_a_liar(rtu: bool) -> None:
    """Every mode of lying at random among honest answers, 10,000 reads: not one wrong value."""

    async def main() -> Counter[str]:
        slave = Slave(rtu)
        slave.always = _at_random(RTU_LIES, 0.04, 17) if rtu else _at_random(TCP_LIES, 0.1, 16)
        one = device(every=0.001)
        if rtu:
            with slave.on_a_pty() as port:
                return await _lied_to(slave, bus(port, one), 10_000)
        async with slave.on_tcp() as number:
            return await _lied_to(slave, bus(number, one), 10_000)

    seen = uvloop.run(main())
    print(f"liar over {'rtu' if rtu else 'tcp'}: {dict(seen)}")
    assert seen["wrong"] == 0
    assert seen["right"] > 5_000


async def _late_once(lateness: float, timeout: float) -> tuple[int, int]:
    """One answer comes so many time-outs late to a line that has learned a short one: values taken and wrong ones."""
    slave, lies, good, wrong = Slave(rtu=True), 0, 0, 0
    usual = liar.after(0.03)

    def lie(slave: Slave, ask: Ask) -> Chunks:
        nonlocal lies
        lies += len(slave.asked) == 4 * FEW
        return (liar.after(lateness * timeout) if len(slave.asked) == 4 * FEW else usual)(slave, ask)

    slave.always = lie
    with slave.on_a_pty() as port:
        async with polled(bus(port, device(every=0.001), timeout=timeout), FAR_APART) as (driver, batches):
            expected = right(slave, 1, 3, 0, 3000, 6000)
            async for batch in batches:
                pairs = [pair for pair in zip(values(batch), expected, strict=True) if pair[0] is not None]
                good += sum(value == known for value, known in pairs)
                wrong += sum(value != known for value, known in pairs)
                if len(slave.asked) >= 6 * FEW:
                    break
            assert lies == 1
            assert driver.devices["d1"].timeout >= 1
    return good, wrong


def test_a_late_answer_where_a_short_time_out_was_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that usually answers at once takes up to three time-outs of the bus: no value lands under another."""
    monkeypatch.setattr(turnaround, "LEAST", 0.05)
    timeout = 0.4

    async def main() -> list[tuple[int, int]]:
        return await asyncio.gather(*(_late_once(0.6 + 0.1 * i, timeout) for i in range(25)))

    found = uvloop.run(main())
    assert [wrong for _, wrong in found] == [0] * len(found)
    assert all(good > 2 * FEW for good, _ in found)


@pytest.mark.faults
@pytest.mark.xdist_group("lines")
@pytest.mark.timeout(900)
def test_late_answers_at_the_default_time_out() -> None:
    """Answers of 30 ms, one in fifteen late by half to three times the time-out of 1 s, five minutes: none is wrong."""

    async def line(seed: int, units: int) -> Counter[str]:
        slave, chance = Slave(rtu=True), random.Random(seed)

        def lie(slave: Slave, ask: Ask) -> Chunks:
            late = len(slave.asked) > 20 * units and chance.random() < 1 / 15
            return liar.after(chance.uniform(0.5, 3.0) if late else 0.03)(slave, ask)

        slave.always = lie
        seen, end = Counter[str](), time.monotonic() + 300.0
        with slave.on_a_pty() as port:
            polled_units = [device(unit + 1, every=0.2 if units > 1 else 0.001) for unit in range(units)]
            async with polled(bus(port, *polled_units, timeout=1.0), FAR_APART) as (_, batches):
                async for batch in batches:
                    last = batch.readings[-1]
                    if last.source.measurement != "link":
                        known = right(slave, int(last.source.device[1:]), 3, 0, 3000, 6000)
                        for value, good in zip(last.values, known, strict=True):
                            seen["missing" if value is None else "right" if value == good else "wrong"] += 1
                    if time.monotonic() > end:
                        break
        return seen

    async def main() -> list[Counter[str]]:
        return await asyncio.gather(*(line(seed, units) for seed in range(1, 6) for units in (1, 3)))

    found = sum(uvloop.run(main()), Counter[str]())
    print(f"late by 0.5 to 3 time-outs of 1 s: {dict(found)}")
    assert found["wrong"] == 0
    assert found["right"] > 5_000


@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu"])
def test_an_honest_unit_beside_a_liar(run: Run, rtu: bool) -> None:
    """Whatever the liar does, the honest unit of the same bus is read right, and goes on being read."""
    lies = {name: each for name, each in (RTU_LIES if rtu else TCP_LIES).items() if "close" not in name}

    async def main() -> None:
        slave = Slave(rtu)
        lying = _at_random(lies, 0.5, seed=5)
        slave.always = lambda s, ask: lying(s, ask) if ask.unit == 1 else liar.honest(s, ask)
        async with slave.on_tcp() as port:
            units = device(1, every=0.1), device(2, every=0.2)
            good = {f"d{unit}": right(slave, unit, 3, 0, 1) for unit in (1, 2)}
            async with polled(bus(port, *units, timeout=0.05, framer="rtu" if rtu else "tcp")) as (_, batches):
                read, began = 0, time.monotonic()
                async for batch in batches:
                    name = batch.readings[-1].source.device
                    assert all(v in (None, g) for v, g in zip(values(batch), good[name], strict=True))
                    read += name == "d2" and was_read(batch)
                    if time.monotonic() > began + 3:
                        break
            assert read >= (6 if rtu else 13)  # of 15

    run(main())


@pytest.mark.faults
@pytest.mark.xdist_group("lines")
def test_the_pace_of_an_honest_unit_beside_a_liar() -> None:
    """TCP: in every mode of the liar the other unit's polls are never further apart than two periods."""

    async def main() -> dict[str, float]:
        found: dict[str, float] = {}
        for name, (lie, _) in TCP_LIES.items():
            slave = Slave()
            slave.always = lambda s, ask, lie=lie: (lie if ask.unit == 1 else liar.honest)(s, ask)  # type: ignore[misc]
            async with slave.on_tcp() as port:
                units = device(1, every=0.25), device(2, every=0.25)
                async with polled(bus(port, *units, timeout=1.0)) as (_, batches):
                    await take(batches, 2)
                    end = time.monotonic() + 4
                    async for _ in batches:
                        if time.monotonic() > end:
                            break
                times = [ask.at for ask in slave.asked if ask.unit == 2]
                found[name] = max((later - sooner for sooner, later in pairwise(times)), default=9.0)
        return found

    late = {name: gap for name, gap in uvloop.run(main()).items() if gap > 0.5 + 0.05}
    assert late == {}


async def _gap_beside(lie: liar.Lie, every: float, quarantined: bool, seconds: float) -> float:
    """Longest pause between two polls of the honest unit of a serial line, whose other one lies in this way.

    With `quarantined` from when the liar is, or after five polls that did not make it so.
    """
    slave, began = Slave(rtu=True), time.monotonic()
    slave.always = lambda s, ask: (lie if ask.unit == 1 else liar.honest)(s, ask)
    with slave.on_a_pty() as port:
        async with polled(bus(port, device(1, every=every), device(2, every=every), timeout=1.0)) as (driver, batches):
            since = began
            async for _ in batches:
                if quarantined and since == began and driver.units()[0].quarantine.begun:
                    since = time.monotonic()
                if time.monotonic() > began + seconds:
                    break
    times = [ask.at for ask in slave.asked if ask.unit == 2]
    counted = times[5:] if quarantined and since == began else [at for at in times if at >= since]
    return max((later - sooner for sooner, later in pairwise(counted)), default=99.0)


@pytest.mark.faults
@pytest.mark.xdist_group("lines")
@pytest.mark.timeout(200)
@pytest.mark.parametrize(("every", "quarantined"), [(5.0, False), (0.5, True)], ids=["period 5 s", "in quarantine"])
def test_the_pace_beside_a_liar_on_a_serial_line(every: float, quarantined: bool) -> None:
    """RTU: the other unit's polls are at most a period late, at periods of 5 s or once the liar is in quarantine."""

    async def main() -> dict[str, float]:
        lies = {name: lie for name, (lie, _) in rtu_lies(1.0).items()}
        gaps = await asyncio.gather(*(_gap_beside(lie, every, quarantined, 90.0) for lie in lies.values()))
        return dict(zip(lies, gaps, strict=True))

    found = uvloop.run(main())
    print(f"longest pause of the honest unit in periods: { {n: round(g / every, 2) for n, g in found.items()} }")
    jammed = {"babble": 2.5}  # seconds for which no program could get a word in
    assert {n: gap for n, gap in found.items() if gap > 2 * every + 0.05 + jammed.get(n, 0.0)} == {}


def test_a_gateway_that_closes_for_a_dead_unit(run: Run) -> None:
    """It is held against that unit alone, also where it is the first to be asked; the other keeps its pace."""

    async def main() -> None:
        slave = Slave()
        slave.always = lambda s, ask: (liar.close if ask.unit == 1 else liar.honest)(s, ask)
        async with slave.on_tcp() as port:
            async with polled(bus(port, device(1, every=0.1), device(2, every=0.1))) as (driver, batches):
                end, read = time.monotonic() + 3, 0
                async for batch in batches:
                    read += batch.readings[-1].source.device == "d2" and was_read(batch)
                    if time.monotonic() > end:
                        break
                assert [trouble.what for trouble in driver.troubles()] == ["device_silent"]
                assert driver.devices["d1"].cause == "silent"
                assert driver.devices["d1"].next_try is not None
            assert read >= 21  # of 30

    run(main())
