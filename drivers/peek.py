"""One look at registers of a running bus, with one address more on either side, as a guest of its polling."""

from __future__ import annotations

import struct

import msgspec

from drivers.frames import Outcome, Request
from drivers.guests import Answer
from drivers.modbus import ModbusBus
from drivers.register import BIT_FUNCTIONS, MAX_BITS, MAX_REGISTERS

HIGHEST = 65535


class Look(msgspec.Struct, frozen=True):
    """What came of it (`GET /modbus/read`)."""

    unit: int
    fc: int
    addr: int
    count: int
    outcome: str
    """Of the request for just what was asked: a frames.Outcome."""
    code: int
    ms: float
    sent: str
    heard: str
    """Whole frames, hexadecimal."""
    words: dict[int, int]
    """Contents by address, the neighbours' too; bits for functions 1 and 2."""


def most(fc: int) -> int:
    """How many registers or bits one request may ask for."""
    return MAX_BITS if fc in BIT_FUNCTIONS else MAX_REGISTERS


async def look(bus: ModbusBus, request: Request, timeout: float, beside: bool = False) -> Look:
    """Ask for the registers; with `beside` also for their neighbours, where the device has them.

    Raises guests.BusAway.
    """
    answer = await bus.guest(request, timeout)
    words = contents(request, answer)
    if beside and answer.outcome in (Outcome.ok, Outcome.exception):
        words = await _neighbours(bus, request, timeout) | words
    return Look(
        unit=request.dev_id,
        fc=request.function_code,
        addr=request.address,
        count=request.count,
        outcome=answer.outcome.value,
        code=answer.code,
        ms=round(answer.seconds * 1000, 1),
        sent=answer.sent.hex(" "),
        heard=answer.heard.hex(" "),
        words=words,
    )


async def _neighbours(bus: ModbusBus, request: Request, timeout: float) -> dict[int, int]:
    """The same and one address more on each side: together, else the side that there is."""
    unit, fc, first, last = request.dev_id, request.function_code, request.address, request.address + request.count - 1
    taken = _taken(bus, unit, fc)
    low, high = max(first - 1, 0), min(last + 1, HIGHEST)
    low, high = (first if low in taken else low), (last if high in taken else high)
    for start, end in dict.fromkeys([(low, high), (first, high), (low, last), (low, low), (high, high)]):
        if end - start < most(fc):
            wider = Request(unit, fc, start, end - start + 1)
            if words := contents(wider, await bus.guest(wider, timeout)):
                return words
    return {}


def _taken(bus: ModbusBus, number: int, fc: int) -> set[int]:
    """Addresses whose content a look would take away from the polls."""
    polled = (row for unit in bus.units() if unit.device.unit == number for row in unit.map.registers)
    return {at for row in polled if row.once and row.fc == fc for at in range(row.addr, row.end)}


def contents(request: Request, answer: Answer) -> dict[int, int]:
    """Registers or bits of a good answer, by address."""
    if answer.outcome is not Outcome.ok:
        return {}
    if request.function_code in BIT_FUNCTIONS:
        bits = (answer.data[i >> 3] >> (i & 7) & 1 for i in range(request.count))
        return {request.address + i: bit for i, bit in enumerate(bits)}
    words = struct.unpack(f">{request.count}H", answer.data)
    return {request.address + i: word for i, word in enumerate(words)}
