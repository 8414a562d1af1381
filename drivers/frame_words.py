"""Frames of a Modbus line in words: what was asked, what came, and the values of the points that lie in it. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import msgspec

from drivers.frames import EXCEPTION, WRITE_FUNCTIONS
from drivers.guests import Frame
from drivers.profile import Profile
from drivers.reading import Value
from drivers.register import BIT_FUNCTIONS, READ_FUNCTIONS, Block, Decoder, Register
from drivers.settings import Bus


class PointSeen(msgspec.Struct, frozen=True):
    """A value that an answer brings."""

    point: str
    value: Value | None
    unit: str


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """One frame, decoded (`GET /modbus/watch`)."""

    time_ms: int
    """Milliseconds since 1970 UTC."""
    gap_ms: float
    """Since the frame before; of an answer: since its request."""
    sent: bool
    data: str
    """Hexadecimal."""
    verdict: str
    """As guests.Frame: `request`, an outcome, `exception 2`, `stray`."""
    guest: bool
    unit: int | None = None
    device: str = ""
    fc: int | None = None
    start: int | None = None
    count: int | None = None
    code: int = 0
    points: tuple[PointSeen, ...] = ()


class Interpreter:
    """Decodes the frames of one bus as they come: an answer only says what it means together with its request."""

    def __init__(self, told: Bus, profiles: Mapping[str, Profile]) -> None:
        """`profiles` by id, as the devices name them."""
        self._rtu = told.is_serial or told.framer == "rtu"
        self._devices = {device.unit: device for device in told.devices}
        self._registers = {device.unit: profiles[device.profile].points(device.variant) for device in told.devices}
        self._decoders: dict[tuple[int, int, int, int], tuple[Sequence[Register], Decoder]] = {}
        self._asked: tuple[int, int, int, int] | None = None
        self._before = 0.0

    def read(self, frame: Frame, time_ms: int) -> Seen:
        """The frame in words."""
        gap = (frame.mono - self._before) * 1000 if self._before else 0.0
        self._before = frame.mono
        seen = Seen(time_ms, round(gap, 1), frame.sent, frame.data.hex(" "), frame.verdict, frame.guest)
        if frame.sent:
            return self._request(seen, self.body(frame.data))
        return self._answer(seen, frame) if self._asked and frame.verdict != "stray" else seen

    def body(self, data: bytes) -> bytes:
        """Unit, function and what follows, without header or check sum."""
        return data[:-2] if self._rtu else data[6:]

    def _request(self, seen: Seen, body: bytes) -> Seen:
        self._asked = None
        if len(body) < 6:
            return seen
        unit, fc, start, count = struct.unpack_from(">BBHH", body)
        if fc in WRITE_FUNCTIONS:
            return self._about(seen, unit, fc, start, None)
        self._asked = unit, fc, start, count
        return self._about(seen, unit, fc, start, count)

    def _answer(self, seen: Seen, frame: Frame) -> Seen:
        assert self._asked is not None
        unit, fc, start, count = self._asked
        code = int(frame.verdict.partition(" ")[2] or 0)
        seen = msgspec.structs.replace(self._about(seen, unit, fc, start, count), code=code)
        if frame.verdict != "ok" or fc not in READ_FUNCTIONS:
            return seen
        data = self._data(frame.data, unit, fc, count)
        return msgspec.structs.replace(seen, points=tuple(self._points(data, self._asked))) if data else seen

    def _data(self, heard: bytes, unit: int, fc: int, count: int) -> bytes:
        """The data of the good answer within what was heard, which may begin with an echo or noise."""
        size = (count + 7) // 8 if fc in BIT_FUNCTIONS else 2 * count
        at = heard.rfind(bytes((unit, fc, size)))
        data = heard[at + 3 : at + 3 + size]
        return data if at >= 0 and len(data) == size and fc < EXCEPTION else b""

    def _points(self, data: bytes, asked: tuple[int, int, int, int]) -> list[PointSeen]:
        if asked not in self._decoders:
            unit, fc, start, count = asked
            mine = [
                row
                for row in self._registers.get(unit, [])
                if row.fc == fc and start <= row.addr and row.end <= start + count
            ]
            block = Block(fc, start, count, tuple(sorted(mine, key=lambda row: (row.addr, -row.words))))
            self._decoders[asked] = block.registers, Decoder(block)
        rows, decoder = self._decoders[asked]
        if not rows:
            return []
        values, faults = decoder.decode_bytes(data)
        return [
            PointSeen(row.canonical or row.key, None if i in faults else value, row.unit)
            for i, (row, value) in enumerate(zip(rows, values, strict=True))
        ]

    def _about(self, seen: Seen, unit: int, fc: int, start: int, count: int | None) -> Seen:
        device = self._devices.get(unit)
        name = device.id if device else ""
        return msgspec.structs.replace(seen, unit=unit, device=name, fc=fc, start=start, count=count)
