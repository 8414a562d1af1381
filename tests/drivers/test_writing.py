"""Writing a device's setting: only what its profile allows, read back, and an address only where it is alone."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Callable
from typing import Any

import pytest

from drivers import writing
from drivers.profile_form import Setting
from drivers.scan import Progress
from drivers.writing import NotWritten, Writer, Written, raw_of, role, setting_of, value_of
from tests.conftest import Run
from tests.drivers.liar import Ask, Chunks, Slave, exception, honest, wrong_unit
from tests.drivers.polling import bus, device
from tests.drivers.test_bus_tools import running


@pytest.fixture(autouse=True)
def few_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line with 40 addresses, so that asking all of them is quick."""
    monkeypatch.setattr(writing, "ADDRESSES", tuple(range(1, 41)))


def setting(**more: Any) -> Setting:
    """A writable register."""
    return Setting.model_validate({"key": "k", "addr": 20, "what": "x"} | more)


HEIGHT = setting(scale=0.01, unit="m", range=(0, 655.35))
BAUD = setting(key="baud", enum={2: "9600", 3: "19200"}, role="baud")
ADDRESS = setting(key="address", range=(1, 247), role="address")


@pytest.mark.parametrize("order", ["ABCD", "CDAB", "BADC", "DCBA"])
@pytest.mark.parametrize(("kind", "value"), [("f32", 12.5), ("u32", 70000), ("s32", -70000)])
def test_what_is_written_reads_back_as_the_same(order: str, kind: str, value: float) -> None:
    """Encoding and decoding are each other's inverse for every type and order."""
    told = setting(type=kind, order=order, fc=16)
    assert value_of(told, raw_of(told, value)) == value
    assert value_of(HEIGHT, raw_of(HEIGHT, 4.87)) == 4.87
    assert raw_of(HEIGHT, 4.87) == (487,)


@pytest.mark.parametrize(
    ("told", "value", "what"),
    [
        (HEIGHT, 700, "range"),
        (HEIGHT, 0.005, "step"),
        (BAUD, 9600, "enum"),
        (ADDRESS, 248, "range"),
        (setting(type="u16"), 70000, "no_room"),
        (setting(type="u16"), -1, "no_room"),
    ],
)
def test_what_the_profile_does_not_allow(told: Setting, value: float, what: str) -> None:
    """A value outside range, step, choices or register is refused before anything is sent."""
    with pytest.raises(NotWritten) as refused:
        raw_of(told, value)
    assert refused.value.what == what


def test_only_writable_registers_are_found() -> None:
    """By key or by address; any other is refused, with the names of those that there are."""
    assert setting_of([HEIGHT, BAUD], "baud") is BAUD
    assert setting_of([HEIGHT, BAUD], "20") is HEIGHT
    with pytest.raises(NotWritten) as refused:
        setting_of([HEIGHT], "21")
    assert refused.value.facts["names"] == "20 (k)"
    with pytest.raises(NotWritten):
        role([HEIGHT], "address")


class Writable(Slave):
    """A slave with holding registers that function 6 writes; it takes a new address when register 20 is written."""

    def __init__(self, *units: int, rtu: bool = True) -> None:
        super().__init__(rtu)
        self.units, self.moves = list(units), True
        self.held: dict[tuple[int, int], int] = {(unit, 20): unit for unit in units}
        self.written: list[tuple[int, int, int]] = []
        self.always = _serve

    def value(self, unit: int, fc: int, address: int) -> int:
        return self.held.get((unit, address), super().value(unit, fc, address))


def _serve(slave: Slave, ask: Ask) -> Chunks:
    assert isinstance(slave, Writable)
    if ask.unit not in slave.units:
        return []
    if ask.fc != 6:
        return honest(slave, ask)
    answer = slave.answer(ask, ask.start.to_bytes(2, "big").join((b"\x06", ask.number.to_bytes(2, "big"))))
    slave.written.append((ask.unit, ask.start, ask.number))
    unit = ask.unit
    if ask.start == 20 and slave.moves:
        slave.units.remove(unit)
        unit = ask.number
        slave.units.append(unit)
    slave.held[unit, ask.start] = ask.number
    return [(0, answer)]


@pytest.mark.parametrize("rtu", [True, False], ids=["rtu", "tcp"])
def test_write_is_read_back(run: Run, rtu: bool) -> None:
    """The value before, the value after, and the frames; on a serial line the answer looks like an echo and is none."""

    async def main() -> None:
        slave = Writable(1, 7, rtu=rtu)
        slave.held[7, 5] = 300
        async with slave.on_tcp() as port:
            with slave.on_a_pty() as pty:
                told = bus(pty if rtu else port, device(1, every=0.2))
                async with running(told) as driver:
                    done = await Writer(driver, told, 7, setting(addr=5, scale=0.01, unit="m")).write(4.87)
            assert (done.before, done.after, done.done, done.outcome, done.answers_at) == (3.0, 4.87, True, "ok", 7)
            assert slave.written == [(7, 5, 487)]

    run(main())


@pytest.mark.parametrize(
    ("named", "settings", "held", "what"),
    [
        (ADDRESS, (ADDRESS,), 7, "guarded"),
        (setting(key="pair", addr=19, type="u32", fc=16), (ADDRESS,), 7, "guarded"),
        (setting(addr=20), (), 7, "may_be_address"),
        (setting(addr=20, scale=0.1), (), 7, "may_be_address"),
        (setting(addr=20), (), None, "may_be_address"),
    ],
    ids=["named", "beside it", "without a role", "scaled", "unreadable"],
)
def test_address_under_another_name(
    run: Run, named: Setting, settings: tuple[Setting, ...], held: int | None, what: str
) -> None:
    """Whatever register holds the address, or may: as a setting it is never written, whoever else is on the line."""

    async def main() -> None:
        slave = Writable(1, 7)
        if held is None:
            slave.always = lambda slave, ask: [] if ask.unit == 7 else _serve(slave, ask)
        with slave.on_a_pty() as port:
            told = bus(port, device(1, every=0.2))
            async with running(told) as driver:
                with pytest.raises(NotWritten) as refused:
                    await Writer(driver, told, 7, named, settings).write(12)
        assert (refused.value.what, slave.written) == (what, [])

    run(main())


def test_address_that_the_line_does_not_take(run: Run) -> None:
    """A profile's range does not widen the line's."""

    async def main() -> None:
        slave, wide = Writable(1), setting(key="address", range=(1, 254), role="address")
        with slave.on_a_pty() as port:
            told = bus(port, device(1, every=0.5))
            async with running(told) as driver:
                with pytest.raises(NotWritten) as refused:
                    await anext(aiter(Writer(driver, told, 1, wide, (wide,)).readdress(253, wait=0.02)))
        assert (refused.value.what, slave.written) == ("range", [])

    run(main())


def test_device_that_takes_no_new_value(run: Run) -> None:
    """A refusal, or an old value that is still there, is no success."""

    async def main() -> None:
        slave = Writable(1)
        slave.held[1, 5] = 3
        slave.always = lambda slave, ask: (exception(4) if ask.fc == 6 else honest)(slave, ask)
        with slave.on_a_pty() as port:
            told = bus(port, device(1, every=0.2))
            async with running(told) as driver:
                done = await Writer(driver, told, 1, setting(addr=5)).write(4)
        assert (done.done, done.after, done.outcome, done.code) == (False, 3, "exception", 4)

    run(main())


@pytest.mark.parametrize("takes", [True, False], ids=["changes at once", "only after a restart"])
def test_speed_is_read_back_at_the_new_speed(run: Run, takes: bool) -> None:
    """A device that changes at once is asked where it then is, else where it was; the polls keep the line's speed."""

    async def main() -> None:
        slave, speeds = Writable(1, 7), {1: termios.B115200, 7: termios.B115200}
        slave.held[7, 20] = 3
        with slave.on_a_pty() as port:
            end = os.open(port, os.O_RDWR | os.O_NOCTTY)

            def own_speed(slave: Slave, ask: Ask) -> Chunks:
                if termios.tcgetattr(end)[5] != speeds[ask.unit]:
                    return []
                chunks = _serve(slave, ask)
                if ask.fc == 6 and takes:
                    speeds[ask.unit] = {2: termios.B9600, 3: termios.B19200}[ask.number]
                return chunks

            slave.always, slave.moves = own_speed, False
            told = bus(port, device(1, every=0.1), timeout=0.2)
            async with running(told) as driver:
                done = await Writer(driver, told, 7, BAUD).write(2)
                await asyncio.sleep(0.3)
                assert driver.devices["d1"].timeout == 0
                assert driver.devices["d1"].ok > 2
            os.close(end)
        assert (done.done, done.after, done.answers_at) == (True, 2, 7)
        assert slave.written == [(7, 20, 2)]
        assert speeds[7] == (termios.B9600 if takes else termios.B115200)

    run(main())


async def readdressed(slave: Writable, old: int, new: int) -> Written | str:
    """What becomes of a change of address; a refusal's name."""
    with slave.on_a_pty() as port:
        told = bus(port, device(1, every=0.5))
        async with running(told) as driver:
            try:
                events = [event async for event in Writer(driver, told, old, ADDRESS).readdress(new, wait=0.02)]
            except NotWritten as refused:
                return refused.what
    assert [event for event in events if isinstance(event, Progress)]
    assert isinstance(events[-1], Written)
    return events[-1]


def test_address_of_the_only_device(run: Run) -> None:
    """Alone on the line, it gets its new address and answers there."""

    async def main() -> None:
        done = await readdressed(Writable(1), 1, 12)
        assert isinstance(done, Written)
        assert (done.done, done.answers_at) == (True, 12)

    run(main())


def lies_at(unit: int) -> Callable[[Slave, Ask], Chunks]:
    """Garbled where that unit is asked: two devices answer at once."""
    return lambda slave, ask: (wrong_unit if ask.unit == unit else _serve)(slave, ask)


@pytest.mark.parametrize(
    ("units", "old", "new", "what"),
    [
        ((1, 9), 1, 12, "not_alone"),
        ((1,), 30, 12, "not_alone"),
        ((1,), 1, 1, "same_address"),
        ((30,), 30, 1, "address_taken"),
        ((), 30, 12, "absent"),
    ],
    ids=["two devices", "another one", "the same", "taken", "nobody"],
)
def test_address_where_it_is_not_sure(run: Run, units: tuple[int, ...], old: int, new: int, what: str) -> None:
    """With another device on the line, without the device, or onto a taken address nothing is written."""

    async def main() -> None:
        slave = Writable(*units)
        assert await readdressed(slave, old, new) == what
        assert slave.written == []

    run(main())


def test_address_of_twins_is_not_changed() -> None:
    """Two devices with one address spoil each other's answers, and nothing is written."""

    async def main() -> None:
        slave = Writable(1)
        slave.always = lies_at(1)
        assert await readdressed(slave, 1, 12) == "not_alone"
        assert slave.written == []

    asyncio.run(asyncio.wait_for(main(), 30))
