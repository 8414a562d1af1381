"""Writing one setting of a device, as its profile allows: encoded, sent, read back. Changing its address is guarded.

Nothing but a profile's `writable` is ever written, and never more than one register or number. What was written is
believed only when it has been read back.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence

import msgspec

from drivers.frames import Outcome, Request, WriteRequest
from drivers.modbus import ModbusBus
from drivers.profile_form import Setting
from drivers.register import CODES, shortest_f32
from drivers.scan import Found, Progress, Wanted, scan
from drivers.settings import LINE_UNITS, Bus

ADDRESSES = tuple(LINE_UNITS)
"""Who is asked before an address is changed."""
WORDS = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "f32": 2}
WRITE_ONE = 6
"""Function that writes one register."""
REPEATED = 5
"""How often the device is asked before its address is changed: two with one address spoil each other's answers."""
Speed = tuple[int | None, str | None]
"""Baud and framing; None: the bus's."""
FRAMINGS = {"N1": "8N1", "E1": "8E1", "O1": "8O1", "N2": "8N2"}


class NotWritten(Exception):
    """Nothing was sent: sentence `modbus.write.<what>` with its facts."""

    def __init__(self, what: str, **facts: str | int | float) -> None:
        """See the class."""
        super().__init__(what)
        self.what, self.facts = what, facts


class Written(msgspec.Struct, frozen=True, tag="written"):
    """What became of a write (`POST /modbus/write`)."""

    unit: int
    key: str
    addr: int
    wanted: float
    before: float | None
    """None: could not be read."""
    after: float | None
    """As read back; None: could not be."""
    outcome: str
    """Of the write itself: a frames.Outcome."""
    code: int
    sent: str
    heard: str
    answers_at: int
    """Unit number at which the device answered afterwards; 0: at none."""

    @property
    def done(self) -> bool:
        """It was read back as it was wanted."""
        return self.after is not None and self.after == self.wanted


def raw_of(setting: Setting, value: float) -> tuple[int, ...]:
    """The registers that stand for the value. Raises NotWritten where the profile does not allow it."""
    if setting.enum is not None and value not in setting.enum:
        raise NotWritten(
            "enum", key=setting.key, choices=", ".join(f"{raw}={name}" for raw, name in setting.enum.items())
        )
    unit = "" if setting.unit == "1" else setting.unit
    if setting.range and not setting.range[0] <= value <= setting.range[1]:
        raise NotWritten("range", key=setting.key, least=setting.range[0], most=setting.range[1], unit=unit)
    scaled = float(f"{value / setting.scale:.9g}")
    try:
        raw = scaled if setting.type == "f32" else _whole(setting, scaled)
        body = struct.pack((">" if setting.order in ("ABCD", "CDAB") else "<") + CODES[setting.type], raw)
    except struct.error:
        raise NotWritten("no_room", key=setting.key, value=value) from None
    words = struct.unpack(f">{len(body) // 2}H", body)
    return words[::-1] if setting.order in ("CDAB", "BADC") else words


def _whole(setting: Setting, scaled: float) -> int:
    if not scaled.is_integer():
        raise NotWritten("step", key=setting.key, step=setting.scale, unit=setting.unit)
    return int(scaled)


def value_of(setting: Setting, words: Sequence[int]) -> float:
    """The value that the registers hold."""
    ordered = words[::-1] if setting.order in ("CDAB", "BADC") else words
    body = struct.pack(f">{len(ordered)}H", *ordered)
    raw = struct.unpack((">" if setting.order in ("ABCD", "CDAB") else "<") + CODES[setting.type], body)[0]
    number = shortest_f32(raw) if setting.type == "f32" else raw
    return float(f"{number * setting.scale:.9g}")


def setting_of(settings: Sequence[Setting], name: str) -> Setting:
    """The writable register of that key or address. Raises NotWritten, which names those that there are."""
    for setting in settings:
        if name in (setting.key, str(setting.addr)):
            return setting
    raise NotWritten(
        "not_writable", name=name, names=", ".join(f"{each.addr} ({each.key})" for each in settings) or "–"
    )


def holds_address(setting: Setting, settings: Sequence[Setting]) -> bool:
    """Writing it would write a register of the device's address, by whatever name."""
    first, end = setting.addr, setting.addr + WORDS[setting.type]
    others = (each for each in settings if each.role == "address")
    return setting.role == "address" or any(each.addr < end and first < each.addr + WORDS[each.type] for each in others)


def role(settings: Sequence[Setting], wanted: str) -> Setting:
    """The setting with this role. Raises NotWritten where the profile has none."""
    for setting in settings:
        if setting.role == wanted:
            return setting
    raise NotWritten("no_address")


class Writer:
    """One setting of one device on a running bus."""

    def __init__(
        self, bus: ModbusBus, told: Bus, unit: int, setting: Setting, settings: Sequence[Setting] = ()
    ) -> None:
        """`setting` is one of the profile's `settings`."""
        self._bus, self._told, self.unit, self.setting = bus, told, unit, setting
        self._settings = settings

    async def write(self, value: float) -> Written:
        """Write it and read it back, also where no answer came; never the address. Raises NotWritten, guests.BusAway.

        Of a device whose address register is not known, every one that holds its unit number may be that.
        """
        if holds_address(self.setting, self._settings):
            raise NotWritten("guarded", key=self.setting.key, unit=self.unit)
        raw_of(self.setting, value)
        words = await self._words(self.unit)
        before = value_of(self.setting, words) if words else None
        unknown = self.setting.role is None and all(each.role != "address" for each in self._settings)
        if unknown and (before is None or self.unit in (before, *words)):
            raise NotWritten("may_be_address", key=self.setting.key, unit=self.unit)
        return await self._write(value, before)

    async def _write(self, value: float, before: float | None) -> Written:
        setting, words = self.setting, raw_of(self.setting, value)
        if setting.fc == WRITE_ONE and len(words) > 1:
            raise NotWritten("no_room", key=setting.key, value=value)
        answer = await self._bus.guest(WriteRequest(self.unit, setting.fc, setting.addr, words), self._told.timeout)
        after, at = await self._read_back(value)
        return Written(
            unit=self.unit,
            key=setting.key,
            addr=setting.addr,
            wanted=value,
            before=before,
            after=after,
            outcome=answer.outcome.value,
            code=answer.code,
            sent=answer.sent.hex(" "),
            heard=answer.heard.hex(" "),
            answers_at=at,
        )

    async def readdress(self, new: int, wait: float | None = None) -> AsyncIterator[Progress | Written]:
        """Give the device another unit number, once it is sure that it is alone on the line.

        Every address is asked first, `wait` seconds each: one device more, or garbled bytes, and nothing is written.
        Raises NotWritten, guests.BusAway.
        """
        units = self._told.units
        if new not in units:
            raise NotWritten("range", key=self.setting.key, least=units[0], most=units[-1], unit="")
        raw_of(self.setting, new)
        if new == self.unit:
            raise NotWritten("same_address", unit=new)
        if taken := next((device.id for device in self._told.devices if device.unit == new), None):
            raise NotWritten("address_taken", unit=new, device=taken)
        others: list[str] = []
        wanted = Wanted(units=ADDRESSES, wait=wait, models=False)
        async for event in scan(self._bus, self._told, wanted, {}):
            if isinstance(event, Progress):
                yield event
            elif isinstance(event, Found) and (event.unit != self.unit or event.answer == "garbled"):
                others.append(str(event.unit))
        if others:
            raise NotWritten("not_alone", units=", ".join(others))
        await self._listen_for_twins()
        yield await self._write(new, await self.read(self.unit))

    async def _listen_for_twins(self) -> None:
        """Two devices with one address answer at once and spoil each other's bytes, most times."""
        request = Request(self.unit, 3, self.setting.addr, WORDS[self.setting.type])
        for _ in range(REPEATED):
            answer = await self._bus.guest(request, self._told.timeout)
            if answer.outcome is Outcome.timeout:
                raise NotWritten("absent", unit=self.unit)
            if answer.outcome not in (Outcome.ok, Outcome.exception):
                raise NotWritten("not_alone", units=str(self.unit))

    async def _read_back(self, value: float) -> tuple[float | None, int]:
        """The setting as it is now, and the unit number that told it: the new one, or the new speed, comes first."""
        new_speed: Speed = _tuned(self.setting, value) if self._told.is_serial else (None, None)
        tries: list[tuple[int, Speed]]
        tries = [(int(value), (None, None))] if self.setting.role == "address" else [(self.unit, new_speed)]
        for unit, speed in dict.fromkeys([*tries, (self.unit, (None, None))]):
            if (found := await self.read(unit, *speed)) is not None:
                return found, unit
        return None, 0

    async def read(self, unit: int, baud: int | None = None, framing: str | None = None) -> float | None:
        """The setting as the device has it now; None where it does not say."""
        words = await self._words(unit, baud, framing)
        return value_of(self.setting, words) if words else None

    async def _words(self, unit: int, baud: int | None = None, framing: str | None = None) -> tuple[int, ...]:
        """Its registers; none where the device does not say."""
        request = Request(unit, 3, self.setting.addr, WORDS[self.setting.type])
        try:
            answer = await self._bus.guest(request, self._told.timeout, baud, framing)
        except OSError:
            return ()  # the port does not have this speed
        return struct.unpack(f">{request.count}H", answer.data) if answer.outcome is Outcome.ok else ()


def _tuned(setting: Setting, value: float) -> Speed:
    """Baud or framing that the device has after the write, as far as the profile tells."""
    name = setting.enum.get(int(value), "") if setting.enum else f"{value:.0f}"
    if setting.role == "baud" and name.isdigit():
        return int(name), None
    return None, FRAMINGS.get(name) if setting.role == "framing" else None
