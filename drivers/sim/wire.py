"""The two ways a Modbus request is framed: MBAP on TCP, and RTU on a serial line or in a TCP stream. No I/O.

Both are fed with bytes as they arrive and give whole requests; a request for a function that only a writing client
uses comes out with start and count 0, so that a unit can refuse it.
"""

from __future__ import annotations

import struct
from typing import Protocol

from drivers.register import READ_FUNCTIONS
from drivers.sim.unit import Reply, Request

WRITES_MANY = (15, 16)
LONGEST = 264
"""Most bytes of a request on a serial line, and a few."""
_read = struct.Struct(">BHH")
_mbap = struct.Struct(">2sHHB")


class Broken(ValueError):
    """The stream cannot be read any further: drop the connection."""


class Framing(Protocol):
    """Bytes to requests, replies to bytes."""

    def feed(self, data: bytes) -> list[Request]:
        """Take what arrived; give the requests that are whole. Raises Broken."""
        ...

    def frame(self, request: Request, reply: Reply) -> bytes:
        """Bytes of the reply."""
        ...


class Mbap:
    """Modbus TCP (Modbus messaging on TCP/IP 1.0b, 3.1.3)."""

    def __init__(self) -> None:
        """Nothing has arrived yet."""
        self.buffer = b""

    def feed(self, data: bytes) -> list[Request]:
        """Take what arrived; give the requests that are whole. Raises Broken."""
        self.buffer += data
        found: list[Request] = []
        while len(self.buffer) >= 8:
            tag, protocol, length, unit = _mbap.unpack_from(self.buffer)
            if protocol or not 2 <= length <= 254:
                raise Broken("not Modbus TCP")
            if len(self.buffer) < 6 + length:
                break
            found.append(_request(unit, self.buffer[7 : 6 + length], tag))
            self.buffer = self.buffer[6 + length :]
        return found

    def frame(self, request: Request, reply: Reply) -> bytes:
        """Bytes of the reply; a garbled one claims two bytes more than it has."""
        pdu = reply.pdu
        if reply.garbled:
            pdu = bytes((pdu[0], (pdu[1] + 2) % 256)) + pdu[2:]
        return _mbap.pack(request.tag, 0, len(pdu) + 1, reply.unit) + pdu


class Rtu:
    """Modbus RTU: unit, PDU, CRC. After noise the next request is found by its CRC."""

    def __init__(self) -> None:
        """Nothing has arrived yet."""
        self.buffer = b""

    def feed(self, data: bytes) -> list[Request]:
        """Take what arrived; give the requests that are whole."""
        self.buffer += data
        found: list[Request] = []
        at = 0
        while at <= len(self.buffer) - 8:
            if frame := _sound(self.buffer, at):
                found.append(_request(frame[0], frame[1:-2], b""))
                self.buffer, at = self.buffer[at + len(frame) :], 0
            else:
                at += 1
        self.buffer = self.buffer[-LONGEST:]
        return found

    def frame(self, request: Request, reply: Reply) -> bytes:
        """Bytes of the reply; a garbled one has a wrong CRC."""
        body = bytes((reply.unit,)) + reply.pdu
        return body + (crc(body) ^ (0x5A5A if reply.garbled else 0)).to_bytes(2, "little")


def _sound(data: bytes, at: int) -> bytes:
    """The whole sound request that begins at `at`; empty: none does."""
    size = 9 + data[at + 6] if data[at + 1] in WRITES_MANY else 8
    frame = data[at : at + size]
    return frame if len(frame) == size and crc(frame) == 0 else b""


def _request(unit: int, pdu: bytes, tag: bytes) -> Request:
    if pdu[0] not in READ_FUNCTIONS or len(pdu) != 5:
        return Request(unit, pdu[0], 0, 0, tag)
    fc, start, count = _read.unpack(pdu)
    return Request(unit, fc, start, count, tag)


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1  # noqa: PLW2901 - the shift register itself
        rows.append(byte)
    return tuple(rows)


CRC_ROWS = _table()


def crc(data: bytes) -> int:
    """CRC-16/MODBUS (Modbus over serial line 1.02, 6.2.2); 0 over a frame that ends with its own, low byte first."""
    register = 0xFFFF
    for byte in data:
        register = register >> 8 ^ CRC_ROWS[(register ^ byte) & 0xFF]
    return register
