"""A Modbus slave for tests: honest until told to lie, over TCP, RTU over TCP or RTU on a pty.

Every register holds a number made from unit, function and address, so that a value that belongs to another question
is recognised whatever way it came.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
import tty
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from drivers.frames import crc

Chunks = list[tuple[float, bytes]]
"""Bytes to send, each after so many seconds from the request."""
CLOSE, HALF_CLOSE = b"close", b"half close"
"""Stand for closing the connection, and for sending no more on it."""


class Ask(NamedTuple):
    """A request as the slave got it."""

    tid: int
    unit: int
    fc: int
    start: int
    number: int
    at: float


class Slave:
    """Answers requests; each lie in `lies` is used for one request, `always` for those after."""

    def __init__(self, rtu: bool = False) -> None:
        self.rtu = rtu
        self.asked: list[Ask] = []
        self.lies: deque[Lie] = deque()
        self.always: Lie = honest
        self.closed = 0
        """Connections that the other side has closed."""
        self._links: set[asyncio.StreamWriter] = set()
        self._last = b""

    # --- contents ---

    def value(self, unit: int, fc: int, address: int) -> int:
        """What the register holds: 0..65535."""
        return (unit * 40_000 + fc * 10_000 + address * 7) & 0xFFFF

    def data(self, ask: Ask) -> bytes:
        """Data of the right answer."""
        values = [self.value(ask.unit, ask.fc, ask.start + i) for i in range(ask.number)]
        if ask.fc > 2:
            return struct.pack(f">{ask.number}H", *values)
        bits = sum((value & 1) << i for i, value in enumerate(values))
        return bits.to_bytes((ask.number + 7) // 8, "little")

    def answer(self, ask: Ask, pdu: bytes | None = None, unit: int | None = None, tid: int | None = None) -> bytes:
        """A whole frame; `pdu` (function and data) is the right one unless given."""
        data = self.data(ask)
        pdu = bytes((ask.fc, len(data))) + data if pdu is None else pdu
        body = bytes((ask.unit if unit is None else unit,)) + pdu
        if self.rtu:
            return body + crc(body)
        return struct.pack(">HHH", ask.tid if tid is None else tid, 0, len(body)) + body

    # --- the wire ---

    @asynccontextmanager
    async def on_tcp(self, port: int = 0) -> AsyncIterator[int]:
        """Serve on a TCP port of loopback, and give it. Leaving takes no more connections."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        buffer = b""
        with suppress(ConnectionResetError, asyncio.CancelledError):
            while data := await reader.read(4096):
                ends: dict[bytes, Callable[[], object]] = {CLOSE: writer.close, HALF_CLOSE: partial(_write_eof, writer)}
                buffer = self._take(buffer + data, partial(_write, writer), ends)
        self._links.discard(writer)
        self.closed += 1
        writer.close()

    def say(self, data: bytes) -> None:
        """Bytes that nobody asked for, on all connections."""
        for writer in self._links:
            _write(writer, data)

    def hang_up(self) -> None:
        """Close all connections, as an idle device does."""
        for writer in self._links:
            writer.close()

    def _take(
        self, buffer: bytes, write: Callable[[bytes], object], ends: Mapping[bytes, Callable[[], object]]
    ) -> bytes:
        size = 8 if self.rtu else 12
        while len(buffer) >= size:
            frame, buffer = buffer[:size], buffer[size:]
            tid = 0 if self.rtu else int.from_bytes(frame[:2], "big")
            unit, fc, start, number = struct.unpack(">BBHH", frame[:6] if self.rtu else frame[6:])
            ask = Ask(tid, unit, fc, start, number, time.monotonic())
            self.asked.append(ask)
            lie = self.lies.popleft() if self.lies else self.always
            loop = asyncio.get_running_loop()
            for delay, chunk in lie(self, ask):
                action = ends.get(chunk) or partial(write, chunk)
                loop.call_later(delay, action) if delay else action()
        return buffer

    @contextmanager
    def on_a_pty(self, link: Path | None = None) -> Iterator[str]:
        """Serve on a pty; the name of its other end, or `link` to it. Leaving unplugs it."""
        loop = asyncio.get_running_loop()
        master, end = os.openpty()
        tty.setraw(master)
        tty.setraw(end)
        name = os.ttyname(end)
        if link:
            link.symlink_to(name)
        buffer, plugged = b"", True

        def write(data: bytes) -> None:
            if plugged:  # an answer that is late even for the test: the number may be another file's by then
                os.write(master, data)

        def readable() -> None:
            nonlocal buffer
            buffer = self._take(buffer + os.read(master, 4096), write, {})

        loop.add_reader(master, readable)
        try:
            yield str(link or name)
        finally:
            plugged = False
            loop.remove_reader(master)
            os.close(master)
            os.close(end)
            if link:
                link.unlink()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


def _write_eof(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        writer.write_eof()


Lie = Callable[[Slave, Ask], Chunks]


def honest(slave: Slave, ask: Ask) -> Chunks:
    return [(0, slave.answer(ask))]


def paced(baud: int, turnaround: float) -> Lie:
    """Honest on a line of that speed: request, the silence that ends it, turnaround and answer take their time."""
    character = 10 / baud

    def lie(slave: Slave, ask: Ask) -> Chunks:
        answer = slave.answer(ask)
        return [((8 + 3.5 + len(answer)) * character + turnaround, answer)]

    return lie


def after(seconds: float, lie: Lie = honest) -> Lie:
    return lambda slave, ask: [(seconds + delay, chunk) for delay, chunk in lie(slave, ask)]


def silence(slave: Slave, ask: Ask) -> Chunks:
    return []


def close(slave: Slave, ask: Ask) -> Chunks:
    return [(0, CLOSE)]


def half_close(slave: Slave, ask: Ask) -> Chunks:
    return [(0, HALF_CLOSE)]


def wrong_unit(slave: Slave, ask: Ask) -> Chunks:
    return [(0, slave.answer(ask, unit=ask.unit + 1))]


def wrong_function(slave: Slave, ask: Ask) -> Chunks:
    return [
        (
            0,
            slave.answer(
                ask, slave.answer(ask._replace(fc=7 - ask.fc))[1 if slave.rtu else 7 : -2 if slave.rtu else None]
            ),
        )
    ]


def other_count(difference: int) -> Lie:
    """A sound answer with more or fewer registers."""

    def lie(slave: Slave, ask: Ask) -> Chunks:
        data = slave.data(ask._replace(number=ask.number + difference))
        return [(0, slave.answer(ask, bytes((ask.fc, len(data))) + data))]

    return lie


def byte_count(difference: int) -> Lie:
    """The byte count says something else than what follows."""

    def lie(slave: Slave, ask: Ask) -> Chunks:
        data = slave.data(ask)
        return [(0, slave.answer(ask, bytes((ask.fc, len(data) + difference)) + data))]

    return lie


def transaction(change: Callable[[int], int]) -> Lie:
    return lambda slave, ask: [(0, slave.answer(ask, tid=change(ask.tid)))]


def exception(code: int) -> Lie:
    return lambda slave, ask: [(0, slave.answer(ask, bytes((ask.fc | 0x80, code))))]


def raw(data: bytes) -> Lie:
    return lambda slave, ask: [(0, data)]


def header_length(length: int) -> Lie:
    """TCP: another length in the MBAP header."""

    def lie(slave: Slave, ask: Ask) -> Chunks:
        frame = slave.answer(ask)
        return [(0, frame[:4] + struct.pack(">H", length) + frame[6:])]

    return lie


def in_pieces(slave: Slave, ask: Ask) -> Chunks:
    return [(0.002 * i, bytes((byte,))) for i, byte in enumerate(slave.answer(ask))]


def byte_by_byte(seconds: float) -> Lie:
    """One byte in so many seconds."""
    return lambda slave, ask: [(seconds * i, bytes((byte,))) for i, byte in enumerate(slave.answer(ask))]


def babble(seconds: float) -> Lie:
    """Never falls silent for so long."""
    return lambda slave, ask: [(0.004 * i, b"\xa5\x5a") for i in range(int(seconds / 0.004))]


def cut_short(slave: Slave, ask: Ask) -> Chunks:
    return [(0, slave.answer(ask)[:-3])]


def twice(slave: Slave, ask: Ask) -> Chunks:
    return [(0, slave.answer(ask) * 2)]


def bad_check_sum(slave: Slave, ask: Ask) -> Chunks:
    return [(0, slave.answer(ask)[:-1] + b"\xa5")]


def preceded_by(noise: bytes) -> Lie:
    return lambda slave, ask: [(0, noise), (0.01, slave.answer(ask))]


def echoed(slave: Slave, ask: Ask) -> Chunks:
    request = struct.pack(">BBHH", ask.unit, ask.fc, ask.start, ask.number)
    echo = request + crc(request)
    return [(0, echo[:3]), (0.005, echo[3:] + slave.answer(ask)[:4]), (0.01, slave.answer(ask)[4:])]


def another_first(slave: Slave, ask: Ask) -> Chunks:
    """RTU: a sound answer of another unit comes before the right one."""
    return [(0, slave.answer(ask._replace(unit=ask.unit + 1))), (0.01, slave.answer(ask))]
