"""The technician's tools on a polled bus: slaves on a real TCP port and a real pty, polling going on beside."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from drivers import line_test, scan
from drivers.frame_words import Interpreter, Seen
from drivers.frames import Request
from drivers.guests import Guests
from drivers.line_findings import Finding
from drivers.modbus import ModbusBus
from drivers.peek import look
from drivers.profile import Profile
from drivers.settings import Bus
from tests.conftest import Run
from tests.drivers.liar import Ask, Chunks, Lie, Slave, after, bad_check_sum, exception, honest, silence
from tests.drivers.polling import WEATHER, bus, device, profile, row
from tests.waiting import until

KNOWN = 7
"""The unit that answers beside unit 1."""


@asynccontextmanager
async def running(told: Bus, of: Profile = WEATHER) -> AsyncIterator[ModbusBus]:
    """A bus that is polled all the while."""
    driver = ModbusBus(told, {"test": of})
    polls = asyncio.create_task(consume(driver))
    try:
        yield driver
    finally:
        polls.cancel()
        with suppress(asyncio.CancelledError):
            await polls


async def consume(driver: ModbusBus) -> None:
    """Take what is read."""
    async for _ in driver.readings():
        pass


def only(*units: int, lie: Lie = honest) -> Lie:
    """Units that are on the line; the others are silent."""
    return lambda slave, ask: lie(slave, ask) if ask.unit in units else []


def by_unit(lies: dict[int, Lie]) -> Lie:
    """Each unit as it is; those not named are silent."""
    return lambda slave, ask: lies.get(ask.unit, silence)(slave, ask)


async def scanned(
    driver: ModbusBus, told: Bus, wanted: scan.Wanted, *profiles: Profile
) -> tuple[list[scan.Found], scan.Scanned]:
    """What a scan finds, and its end."""
    known = {each.id: each for each in profiles}
    events = [event async for event in scan.scan(driver, told, wanted, known)]
    assert isinstance(events[-1], scan.Scanned)
    return [event for event in events if isinstance(event, scan.Found)], events[-1]


QUICK = scan.Wanted(units=tuple(range(1, 11)), wait=0.03)


def test_scan_of_a_serial_line_finds_who_is_there(run: Run) -> None:
    """Each unit that answers, with an exception too, is found; polling goes on; nothing is written."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = by_unit({1: honest, KNOWN: honest, 9: exception(2)})
        with slave.on_a_pty() as port:
            told = bus(port, device(1, every=0.05))
            async with running(told) as driver:
                found, end = await scanned(driver, told, QUICK)
                polls = sum(ask.unit == 1 and ask.number == 2 for ask in slave.asked)
        assert [(each.unit, each.answer, each.device) for each in found] == [
            (1, "ok", "d1"),
            (KNOWN, "ok", ""),
            (9, "exception 2", ""),
        ]
        assert (end.asked, end.found, end.noisy) == (10, 3, ())
        assert polls >= 5
        assert {ask.fc for ask in slave.asked} <= {3, 4}

    run(main())


def test_scan_of_a_polled_unit_that_ignores_what_it_lacks(run: Run) -> None:
    """It is found by what it is polled for, and one question for its model is all that it is let alone to ignore."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = lambda s, ask: (honest if (ask.start, ask.number) == (0, 2) else silence)(s, ask)
        models = [profile(row("t", start, "weather.temp_c")) for start in (100, 200, 300, 400)]
        models = [each.model_copy(update={"id": f"m{i}"}) for i, each in enumerate(models)]
        with slave.on_a_pty() as port:
            told = bus(port, device(1, every=0.05))
            async with running(told) as driver:
                while driver.devices["d1"].ok < 2:
                    await asyncio.sleep(0.01)
                found, _ = await scanned(driver, told, scan.Wanted(units=(1,), wait=0.03), *models)
        assert [(each.answer, each.device) for each in found] == [("ok", "d1")]
        assert sum((ask.start, ask.number) != (0, 2) for ask in slave.asked) == 1

    run(main())


def test_line_without_devices_belongs_to_the_tools(run: Run) -> None:
    """Where nothing is polled yet, a scan need not save time for polls: a new box is set up quickly."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = only(KNOWN)
        with slave.on_a_pty() as port:
            told = bus(port).model_copy(update={"devices": ()})
            async with running(told) as driver:
                found, _ = await scanned(driver, told, QUICK)
        assert [each.unit for each in found] == [KNOWN]

    run(main())
    empty, polled = Guests(1.0), Guests()
    for guests in (empty, polled):
        guests.wake(100.0)
        guests.charge(2.0)
    assert empty.wake(101.0) == 101.0
    assert polled.wake(101.0) > 103.0


def test_scan_over_tcp(run: Run) -> None:
    """The same behind a gateway, which says itself that a unit is not there."""

    async def main() -> None:
        slave = Slave()
        slave.always = by_unit({1: honest, KNOWN: honest} | {unit: exception(11) for unit in (2, 3, 4, 5, 6, 8, 9, 10)})
        async with slave.on_tcp() as port:
            told = bus(port, device(1, every=0.05))
            async with running(told) as driver:
                found, _ = await scanned(driver, told, QUICK)
            assert [each.unit for each in found] == [1, KNOWN]

    run(main())


def test_scan_finds_the_speed_of_a_device(run: Run) -> None:
    """A device at another speed answers only at that speed; the line's own speed is there again for the polls."""

    async def main() -> None:
        slave = Slave(rtu=True)
        with slave.on_a_pty() as port:
            end = os.open(port, os.O_RDWR | os.O_NOCTTY)
            slave.always = at_speed(end, {1: termios.B115200, KNOWN: termios.B19200})
            told = bus(port, device(1, every=0.05))
            wanted = scan.Wanted(units=(KNOWN,), bauds=(9600, 19200, 115200), framings=("8N1", "8E1"), wait=0.08)
            async with running(told) as driver:
                found, end_of_scan = await scanned(driver, told, wanted)
                polled = await look(driver, Request(1, 3, 0, 2), 0.5)
            os.close(end)
        has_parity = not end_of_scan.refused  # a pty knows none on most kernels; that ends no scan
        assert [each.line for each in found] == ["19200 8N1", *(["19200 8E1"] if has_parity else [])]
        assert polled.outcome == "ok"

    run(main())


def at_speed(end: int, speeds: dict[int, int]) -> Lie:
    """Units that answer at their own speed only."""

    def lie(slave: Slave, ask: Ask) -> Chunks:
        speed = termios.tcgetattr(end)[5]
        return honest(slave, ask) if speeds.get(ask.unit) == speed else []

    return lie


class Port:
    """What the kernel was told of the port. A pty takes no parity, so that alone is kept here and not passed on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.framing, self._parity = "", 0
        self._set, self._get = termios.tcsetattr, termios.tcgetattr
        monkeypatch.setattr(termios, "tcsetattr", self._keep)
        monkeypatch.setattr(termios, "tcgetattr", self._kept)

    def _kept(self, fd: int) -> list[Any]:
        attributes = self._get(fd)
        return [*attributes[:2], attributes[2] | self._parity, *attributes[3:]]

    def _keep(self, fd: int, when: int, attributes: list[Any]) -> None:
        flags = attributes[2]
        self._parity = flags & (termios.PARENB | termios.PARODD)
        parity = "N" if not flags & termios.PARENB else "O" if flags & termios.PARODD else "E"
        bits = {termios.CS7: 7, termios.CS8: 8}[flags & termios.CSIZE]
        self.framing = f"{bits}{parity}{2 if flags & termios.CSTOPB else 1}"
        self._set(fd, when, [*attributes[:2], flags & ~self._parity, *attributes[3:]])


@pytest.mark.parametrize("framing", ["8E1", "8O1", "8N2", "8N1"])
def test_scan_finds_the_framing_of_a_device(run: Run, monkeypatch: pytest.MonkeyPatch, framing: str) -> None:
    """Each framing is set on the port for its requests, and a device is found at the one that it has."""

    async def main() -> None:
        slave, seen = Slave(rtu=True), set[tuple[int, str]]()
        with slave.on_a_pty() as pty:
            port = Port(monkeypatch)

            def own_framing(slave: Slave, ask: Ask) -> Chunks:
                seen.add((ask.unit, port.framing))
                return honest(slave, ask) if port.framing == {1: "8N1", KNOWN: framing}[ask.unit] else []

            slave.always = own_framing
            told = bus(pty, device(1, every=0.05), timeout=1.0)
            wanted = scan.Wanted(units=(KNOWN,), framings=("8N1", "8E1", "8O1", "8N2"), wait=0.15, models=False)
            async with running(told) as driver:
                found, end = await scanned(driver, told, wanted)
                assert (await look(driver, Request(1, 3, 0, 2), 0.5)).outcome == "ok"
                assert driver.devices["d1"].timeout == 0
        assert [each.line for each in found] == [f"115200 {framing}"]
        assert {each for unit, each in seen if unit == KNOWN} == set(wanted.framings)
        assert {each for unit, each in seen if unit == 1} == {"8N1"}
        assert end.refused == ()

    run(main())


def test_slow_device_is_overheard(run: Run) -> None:
    """A unit that answers when the next is asked already is there all the same."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = by_unit({1: honest, KNOWN: after(0.05)})
        with slave.on_a_pty() as port:
            told = bus(port, device(1, every=1.0))
            async with running(told) as driver:
                found, _ = await scanned(driver, told, QUICK)
        assert [(each.unit, each.answer) for each in found] == [(1, "ok"), (KNOWN, "late")]

    run(main())


def numbered(name: str, content: int, **more: object) -> Profile:
    """A model with an ident register at address 5."""
    mark = {"key": "id", "addr": 5, "unit": "1"}
    made = profile(row("t", 0, "weather.temp_c"), mark, ident=[{"key": "id", "equals": [content]}], **more)
    return made.model_copy(update={"id": name})


def test_model_is_recognised_by_its_ident_register(run: Run) -> None:
    """The profile whose ident register has what it should is named, the other is not."""

    async def main() -> None:
        slave = Slave(rtu=True)
        slave.always = only(KNOWN)
        mine = numbered("mine", slave.value(KNOWN, 3, 5))
        with slave.on_a_pty() as port:
            told = bus(port, device(1, every=1.0))
            async with running(told) as driver:
                wanted = scan.Wanted(units=(KNOWN,), wait=0.2)
                found, _ = await scanned(driver, told, wanted, numbered("other", 1), mine)
        assert [(model.profile, model.certain) for model in found[0].models] == [("mine", True)]

    run(main())


@pytest.mark.parametrize(
    ("lies", "what"),
    [
        ({1: honest, 2: honest}, "well"),
        ({1: honest, 2: silence}, "unit_silent"),
        ({}, "no_byte"),
        ({1: honest, 2: exception(2)}, "illegal"),
        ({1: honest, 2: bad_check_sum}, "unit_garbled"),
        ({1: bad_check_sum}, "no_frame"),
    ],
    ids=["well", "one silent", "all silent", "refused", "one garbled", "nothing but noise"],
)
def test_line_on_a_pty(lies: dict[int, Lie], what: str) -> None:
    """Each fault of a real line gets its finding, while polling goes on."""
    finding = asyncio.run(asyncio.wait_for(examined(lies), 30))
    assert finding.what == what


async def examined(lies: dict[int, Lie]) -> Finding:
    """The finding of a line with two configured devices."""
    slave = Slave(rtu=True)
    slave.always = by_unit(lies)
    with slave.on_a_pty() as port:
        told = bus(port, device(1, every=0.2), device(2, every=0.2))
        async with running(told) as driver:
            events = [event async for event in line_test.examine(driver, told, {"test": WEATHER}, rounds=3)]
    last = events[-1]
    assert isinstance(last, line_test.Examined)
    return last.finding


def test_read_takes_the_neighbours_that_there_are(run: Run) -> None:
    """One address on each side comes along; where one side is refused, the other still comes."""

    async def main() -> None:
        slave = Slave()
        async with slave.on_tcp() as port:
            slave.always = lambda slave, ask: (exception(2) if ask.start < 10 else honest)(slave, ask)
            told = bus(port, device(1, every=5.0))
            async with running(told) as driver:
                seen = await look(driver, Request(KNOWN, 3, 10, 2), 0.5, beside=True)
                inner = await look(driver, Request(KNOWN, 3, 20, 2), 0.5, beside=True)
            assert seen.words == {at: slave.value(KNOWN, 3, at) for at in (10, 11, 12)}
            assert sorted(inner.words) == [19, 20, 21, 22]
            assert (seen.outcome, seen.sent[-17:]) == ("ok", "07 03 00 0a 00 02")

    run(main())


@pytest.mark.parametrize("rtu", [True, False], ids=["rtu", "tcp"])
def test_frames_are_told_with_their_points(run: Run, rtu: bool) -> None:
    """A poll's frames say who was asked for what, and which points came, on both kinds of line."""

    async def main() -> None:
        slave = Slave(rtu=rtu)
        async with slave.on_tcp() as port:
            told = bus(port, device(1, every=0.05), framer="rtu" if rtu else "tcp")
            seen: list[Seen] = []
            words = Interpreter(told, {"test": WEATHER})
            async with running(told) as driver:
                stop = driver.tap(lambda frame: seen.append(words.read(frame, 0)))
                await until(lambda: len(seen) >= 4)
                stop()
            asked = next(each for each in seen if each.sent)
            came = next(each for each in seen if not each.sent)
            assert (asked.device, asked.unit, asked.fc, asked.start, asked.count) == ("d1", 1, 3, 0, 2)
            assert [(point.point, point.value) for point in came.points] == [
                ("weather.temp_c", slave.value(1, 3, 0)),
                ("weather.rh_pct", slave.value(1, 3, 1)),
            ]

    run(main())
