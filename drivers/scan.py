"""Who is on the line: units asked one after the other, at one or more speeds and framings, beside the running polling.

Nothing is ever written: each is asked for one register, and whatever answers, be it with an exception, is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import msgspec

from drivers.frames import Outcome, Request, rtu_frame
from drivers.guests import Frame
from drivers.modbus import ModbusBus
from drivers.profile import Profile
from drivers.recognise import Model, Reader, recognise
from drivers.settings import Bus

UNITS = tuple(range(1, 33))
PARITIES = {"N": "8N1", "E": "8E1", "O": "8O1"}
TURNAROUND = 0.1
"""Seconds that a unit may think before it answers; slower ones need a longer wait."""


class Wanted(msgspec.Struct, frozen=True):
    """What is to be scanned."""

    units: tuple[int, ...] = UNITS
    bauds: tuple[int, ...] = ()
    """Empty: the bus's own."""
    framings: tuple[str, ...] = ()
    functions: tuple[int, ...] = (3,)
    """Asked in this order until the unit answers."""
    wait: float | None = None
    """Seconds for an answer; None: by the speed."""
    models: bool = True
    """Also find out which model each unit is."""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far the scan is."""

    done: int
    total: int
    line: str
    """`9600 8N1`; `tcp`."""
    unit: int


class Found(msgspec.Struct, frozen=True, tag="found"):
    """A unit that is there."""

    unit: int
    line: str
    baud: int
    """0 on TCP."""
    framing: str
    answer: str
    """`ok`, `exception 2`, `garbled` (bytes that are no frame: two units with this number?), `late`."""
    ms: float
    device: str = ""
    """The configured device with this unit number; empty: none."""
    models: tuple[Model, ...] = ()


class Scanned(msgspec.Struct, frozen=True, tag="scanned"):
    """The end."""

    asked: int
    found: int
    noisy: tuple[str, ...] = ()
    """Settings at which only garbled bytes came: units that talk at another speed or parity."""
    refused: tuple[str, ...] = ()
    """Settings that this port does not have."""


Event = Progress | Found | Scanned
Setting = tuple[int, str]
"""Baud and framing; (0, "") on TCP."""


class _Scan:
    """One scan under way."""

    def __init__(self, bus: ModbusBus, told: Bus, wanted: Wanted, profiles: Sequence[Profile]) -> None:
        self.bus, self.told, self.wanted, self.profiles = bus, told, wanted, profiles
        self.devices = {device.unit: device.id for device in told.devices}
        self.answered = set(self.devices)
        self.overheard: set[int] = set()
        """Units whose sound frames came when another was asked: they are there, only slow."""
        self.garbled: dict[str, int] = {}
        self.refused: list[str] = []

    def listen(self, frame: Frame) -> None:
        """Every frame on the line, while the scan runs."""
        if self.told.is_serial and not frame.sent and frame.data:
            self.overheard.update(units_in(frame.data) - self.answered)

    async def ask(self, unit: int, setting: Setting) -> Found | None:
        """Is the unit there? Raises guests.BusAway."""
        own = tuned(self.told, setting)
        found = None
        for request, wait in self.questions(unit, setting):
            answer = await self.bus.guest(request, wait, *(own or (None, None)))
            if answer.outcome in (Outcome.timeout, Outcome.lost) or answer.code in (10, 11):
                continue  # a gateway's 10 and 11 say that nobody is there
            if answer.outcome is Outcome.garbled and found is None:
                self.garbled[named(setting)] = self.garbled.get(named(setting), 0) + 1
            word = f"exception {answer.code}" if answer.code else answer.outcome.value
            found = self.found(unit, setting, word, answer.seconds)
            if answer.outcome is not Outcome.garbled:
                break
        return found

    def questions(self, unit: int, setting: Setting) -> list[tuple[Request, float]]:
        """Asked in this order until the unit answers, each with the seconds to wait for it.

        One that is polled is asked for what it is polled for: it may not answer to anything else.
        """
        polled = next((each for each in self.bus.units() if each.device.unit == unit), None)
        if polled and not polled.failing and not tuned(self.told, setting) and (known := polled.harmless()):
            return [(known, self.told.timeout)]
        wait = self.wanted.wait or patience(self.told, setting)
        return [(Request(unit, function, 0, 1), wait) for function in self.wanted.functions]

    def found(self, unit: int, setting: Setting, answer: str, seconds: float) -> Found:
        device = self.devices.get(unit, "") if tuned(self.told, setting) is None else ""
        ms = round(seconds * 1000, 1)
        return Found(unit, named(setting), *setting, answer, ms, device)

    async def models(self, found: Found, setting: Setting) -> Found:
        """With the models that the unit may be."""
        if found.answer in ("garbled", "late") or not self.wanted.models:
            return found
        wait = max(self.wanted.wait or 0.0, 2 * patience(self.told, setting), 3 * found.ms / 1000)
        reader = Reader(self.bus, found.unit, wait, tuned(self.told, setting), polled=bool(found.device))
        return msgspec.structs.replace(found, models=tuple(await recognise(reader, self.profiles)))


async def scan(bus: ModbusBus, told: Bus, wanted: Wanted, profiles: Mapping[str, Profile]) -> AsyncIterator[Event]:
    """Ask every wanted unit, at each setting in turn; ends early when it is closed. Raises guests.BusAway."""
    run = _Scan(bus, told, wanted, list(profiles.values()))
    places = [(unit, setting) for setting in settings(told, wanted) for unit in wanted.units]
    count = 0
    stop = bus.tap(run.listen)
    try:
        for i, (unit, setting) in enumerate(places):
            if named(setting) in run.refused:
                continue
            yield Progress(i, len(places), named(setting), unit)
            try:
                found = await run.ask(unit, setting)
            except OSError:
                run.refused.append(named(setting))
                continue
            if found and not (found.answer == "garbled" and tuned(told, setting)):
                count += 1
                run.answered.add(unit)
                yield await run.models(found, setting)
        for late in sorted((run.overheard - run.answered) & set(wanted.units)):
            count += 1
            yield run.found(late, own_setting(told), "late", 0.0)
    finally:
        stop()
    yield Scanned(len(places), count, tuple(run.garbled), tuple(run.refused))


def settings(told: Bus, wanted: Wanted) -> Iterator[Setting]:
    """Baud and framing of each round, the bus's own first."""
    if not told.is_serial:
        yield 0, ""
        return
    bauds = wanted.bauds or (told.baud,)
    framings = wanted.framings or (told.framing,)
    every = [(baud, framing) for framing in framings for baud in bauds]
    yield from sorted(every, key=lambda each: each != (told.baud, told.framing))


def own_setting(told: Bus) -> Setting:
    """What the bus is polled at."""
    return (told.baud, told.framing) if told.is_serial else (0, "")


def tuned(told: Bus, setting: Setting) -> Setting | None:
    """The setting, where it is not the bus's own."""
    return None if setting == own_setting(told) else setting


def named(setting: Setting) -> str:
    """`9600 8N1`, `tcp`."""
    return f"{setting[0]} {setting[1]}" if setting[0] else "tcp"


def patience(told: Bus, setting: Setting) -> float:
    """Seconds to wait for a unit that may not be there: request, answer, and the unit's own pause."""
    if not told.is_serial:
        return min(told.timeout, 0.5)
    return 16 * 11 / setting[0] + max(TURNAROUND, told.turnaround or 0.0)


def units_in(data: bytes) -> set[int]:
    """The units whose sound answer frames lie in what was heard."""
    found, at = set(), 0
    while len(data) - at >= 5:
        if frame := rtu_frame(data, at):
            found.add(frame[0])
            at += len(frame)
        else:
            at += 1
    return found
