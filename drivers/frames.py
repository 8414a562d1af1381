"""Which bytes are the answer to a Modbus request: the one place that decides it. No I/O, no waiting.

A guard stands between pymodbus and the wire (its `trace_packet`): it sees every request leave and every byte come. An
answer counts only inside a sound frame and with the unit, function, byte count, register count and, on TCP, transaction
that were asked for. pymodbus alone takes another function's answer, too few or too many registers, transaction 0 and,
on RTU, the late answer to the request before. So it never sees an answer: it carries bytes, and the guard says when the
wait is over (which spares pymodbus's decoding, as dear as the rest of the transaction).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum

from pymodbus.framer import FramerRTU
from pymodbus.pdu import ModbusPDU

from drivers.register import BIT_FUNCTIONS, READ_FUNCTIONS

EXCEPTION = 0x80
"""Set in the function code of an exception answer (Modbus application protocol 1.1b3, 7)."""
WRITE_FUNCTIONS = (5, 6, 15, 16)
"""Write one coil, one register, several coils, several registers. Nothing here sends them but a guest's request."""
LONGEST = 254
"""Most bytes after the MBAP header's length field: unit, function, 252 of data (the same, 4.1)."""


class Outcome(Enum):
    """What became of one request. The names are those of the `link` counters."""

    ok = "ok"
    timeout = "timeout"
    """No byte came."""
    garbled = "garbled"
    """Bytes came, but no sound frame that fits in unit, function and transaction."""
    exception = "exception"
    """The device refused, with a code."""
    short = "short"
    """A sound frame with another number of registers than asked for."""
    lost = "lost"
    """The connection ended meanwhile."""


class Request(ModbusPDU):
    """One read request, as pymodbus sends it, and how the one right answer to it begins."""

    def __init__(self, unit: int, fc: int, start: int, count: int) -> None:
        """`count` in registers, or in bits for functions 1 and 2."""
        super().__init__(dev_id=unit, address=start, count=count)
        self.function_code = fc
        self.size = (count + 7) // 8 if fc in BIT_FUNCTIONS else 2 * count
        """Data bytes of the answer."""
        self.head = bytes((unit, fc, self.size))
        self.mbap = struct.pack(">H", 3 + self.size) + self.head
        """The same on TCP, from the length field on."""

    def encode(self) -> bytes:
        """Data of the request frame."""
        return struct.pack(">HH", self.address, self.count)


class WriteRequest(Request):
    """One write request: the right answer repeats its first six bytes (application protocol 6.5, 6.6, 6.11, 6.12)."""

    def __init__(self, unit: int, fc: int, start: int, values: Sequence[int]) -> None:
        """`values`: registers for functions 6 and 16, bits for 5 and 15; just one for 5 and 6."""
        super().__init__(unit, fc, start, len(values))
        self._data = struct.pack(">H", start) + _written(fc, values)
        self.size = 0
        self.head = bytes((unit, fc)) + self._data[:4]
        self.mbap = struct.pack(">H", len(self.head)) + self.head

    def encode(self) -> bytes:
        """Data of the request frame."""
        return self._data


def _written(fc: int, values: Sequence[int]) -> bytes:
    """What follows the address."""
    if fc == 5:
        return b"\xff\0" if values[0] else b"\0\0"
    if fc == 6:
        return struct.pack(">H", values[0])
    if fc == 15:
        packed = sum((value & 1) << i for i, value in enumerate(values)).to_bytes((len(values) + 7) // 8, "little")
    else:
        packed = struct.pack(f">{len(values)}H", *values)
    return struct.pack(">HB", len(values), len(packed)) + packed


def judge(request: Request, answer: bytes) -> tuple[Outcome, bytes, int]:
    """Outcome, data and exception code of a sound frame's content: unit, function and what follows."""
    if len(answer) < 3 or answer[0] != request.dev_id:
        return Outcome.garbled, b"", 0
    if answer[1] == request.function_code | EXCEPTION and len(answer) == 3:
        return Outcome.exception, b"", answer[2]
    if answer.startswith(request.head) and len(answer) == len(request.head) + request.size:
        return Outcome.ok, answer[len(request.head) :], 0
    sound = answer[1] == request.function_code and answer[1] in READ_FUNCTIONS and len(answer) == 3 + answer[2]
    return Outcome.short if sound else Outcome.garbled, b"", 0


def crc(frame: bytes) -> bytes:
    """Check sum of an RTU frame, as it goes on the wire (Modbus over serial line 1.02, 2.5.1.2)."""
    return FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def rtu_frame(data: bytes, at: int) -> bytes:
    """The whole sound answer frame that begins at `at`; empty: none does."""
    function = data[at + 1]
    if function in READ_FUNCTIONS:
        length = 5 + data[at + 2]
    else:
        length = 5 if function & EXCEPTION else 8 if function in WRITE_FUNCTIONS else 0
    frame = data[at : at + length]
    return frame if length and len(frame) == length and crc(frame[:-2]) == frame[-2:] else b""


class Guard:
    """Listens for the answer to one request at a time. `trace` of the subclasses is pymodbus's `trace_packet`."""

    def __init__(self, late: Callable[[int], bool]) -> None:
        """`late` is told of each whole answer that nobody waits for, and says whether somebody once did.

        Its number is the transaction on TCP, the unit on RTU.
        """
        self._late = late
        self.over: Callable[[], None] = lambda: None
        """Called when nothing more is waited for."""
        self._request: Request | None = None
        self._unclear = False
        self.outcome = Outcome.timeout
        self.body = b""
        """Data of the answer, where the outcome is ok."""
        self.code = 0
        """Exception code, where the outcome is exception."""
        self.transaction = 0
        """Number of the last request; 0 on RTU."""
        self.broken = False
        """The stream has lost its framing: only a new connection helps. Never on RTU, which finds the next frame."""
        self.stray = False
        """Bytes came while no request was under way."""
        self.heard_at = 0.0
        """`time.monotonic()` of the last byte (RTU only)."""
        self.foreign = 0
        """RTU: the last other unit whose sound answer came, though none of its own was missing; 0: none."""
        self.strays = 0
        """RTU: bytes that came while no request was under way, since the start."""
        self.spoilt = False
        """RTU: an answer of the right unit, function and length came, with a wrong check sum."""
        self.sent = self.heard = b""
        """The last request as it went out, and all bytes that came since, for whoever listens in."""

    def expect(self, request: Request) -> None:
        """The next packet out is `request`."""
        self._unclear = self.spoilt = False
        self.foreign = 0
        self._end(Outcome.timeout)
        self._request = request

    @property
    def waits(self) -> bool:
        """No answer has come yet that is to be taken."""
        return self._request is not None

    def expire(self) -> None:
        """The time for an answer is over."""
        if self._request and (self._unclear or self.foreign):
            self.outcome = Outcome.garbled
        self._request = None

    def trace(self, sending: bool, data: bytes) -> bytes:
        """What pymodbus shall send, or see, instead of `data`: all bytes since the last request went out.

        It never sees any.
        """
        raise NotImplementedError

    def _end(self, outcome: Outcome, body: bytes = b"", code: int = 0) -> None:
        self.outcome, self.body, self.code = outcome, body, code
        self._request = None


class TcpGuard(Guard):
    """Modbus TCP: frames with an MBAP header (transaction, protocol 0, length), one after the other."""

    def __init__(self, late: Callable[[int], bool]) -> None:
        """See Guard."""
        super().__init__(late)
        self._expected = b""
        """How the right answer begins, up to its data."""
        self._length = self._data_at = 0
        self._at = 0
        """Bytes already looked at."""
        self._whole = True
        """pymodbus still shows all bytes since the request, so it is known where a frame begins."""
        self._foreign = self._part = False

    def trace(self, sending: bool, data: bytes) -> bytes:
        """See Guard.trace."""
        request = self._request
        if sending and request:
            self._leave(data, request)
            return data
        self.heard = data
        if request and len(data) == self._length and data.startswith(self._expected):
            self._end(Outcome.ok, data[self._data_at :])
            self._over()
        else:
            self._sift(data, request)
        return b""

    def expire(self) -> None:
        """A frame cut off by the time-out would be taken for the head of the next: the stream is broken."""
        super().expire()
        self.broken = self.broken or self._part

    def _leave(self, packet: bytes, request: Request) -> None:
        self._expected = packet[:4] + request.mbap
        self.sent, self.heard = packet, b""
        self._data_at = len(self._expected)
        self._length = self._data_at + request.size
        self._at, self._whole, self._foreign, self._part = 0, True, False, False
        self.transaction = packet[0] << 8 | packet[1]

    def _over(self) -> None:
        self._whole = False
        self.over()

    def _sift(self, data: bytes, request: Request | None) -> None:
        """Go through the frames until the one that was asked for; late and foreign ones are passed over."""
        if not self._whole:
            self.stray = True
            return
        at = self._at if self._at <= len(data) else 0
        while len(data) - at >= 7:
            length = int.from_bytes(data[at + 4 : at + 6], "big")
            if data[at + 2 : at + 4] != b"\0\0" or not 2 <= length <= LONGEST:
                self.broken = True
                self._end(Outcome.garbled)
                if request:
                    self._over()
                return
            if len(data) - at < 6 + length:
                break
            frame = data[at : at + 6 + length]
            at = self._at = at + len(frame)
            if request and frame[:2] == self._expected[:2]:
                self._end(*judge(request, frame[6:]))
                self._over()
                return
            known = self._late(int.from_bytes(frame[:2], "big"))
            self._foreign = self._foreign or not known
        self._part = len(data) > at
        self._unclear = self._foreign or self._part


class RtuGuard(Guard):
    """Modbus RTU: frames are found by their length and check sum, noise and other units' frames passed over."""

    def __init__(self, late: Callable[[int], bool]) -> None:
        """See Guard."""
        super().__init__(late)
        self.echo = self._after_echo = False
        """The adapter hears itself: the last answer came after the request's own bytes."""
        self.hears_itself = False
        """The same, also where no answer followed."""
        self._at = self._stray_at = 0
        """End of the last sound frame that was passed over; where what nobody had asked for begins."""

    def trace(self, sending: bool, data: bytes) -> bytes:
        """See Guard.trace."""
        if sending:
            self.sent, self.heard, self._at, self._after_echo = data, b"", 0, False
            return data
        new = len(data) - len(self.heard) if data.startswith(self.heard) else len(data)
        self.heard, self.heard_at = data, time.monotonic()
        request = self._request
        if not request:
            if not self.stray:
                self._stray_at = len(data) - new
            self.strays += new
            self.stray = True
            return b""
        if data.startswith(request.head) and len(data) < len(request.head) + request.size + 2:
            self._unclear = True  # the answer is on its way: what its data look like is no frame
            return b""
        self._hunt(data, request)
        return b""

    def stray_units(self) -> Iterator[int]:
        """Unit numbers of the sound frames that came while no request was under way."""
        at = self._stray_at
        while len(self.heard) - at >= 5:
            frame = rtu_frame(self.heard, at)
            if frame:
                yield frame[0]
            at += len(frame) or 1

    def _hunt(self, data: bytes, request: Request) -> None:
        at = self._at if self._at <= len(data) else 0
        while len(data) - at >= 5:
            if data.startswith(self.sent, at) and not self._after_echo and self._is_echo(request):
                frame = self.sent
                self._after_echo = self.hears_itself = True
            elif not (frame := rtu_frame(data, at)):
                at += 1
                continue
            elif frame[0] == request.dev_id:
                self._end(*judge(request, frame[:-2]))
                self.echo = self.hears_itself = self._after_echo
                self.over()
                return
            elif not self._late(frame[0]):
                self.foreign = frame[0]
            at = self._at = at + len(frame)
        self._unclear = len(data) > self._at

    def expire(self) -> None:
        """See Guard.expire."""
        request = self._request
        super().expire()
        whole = request is not None and len(self.heard) >= len(request.head) + request.size + 2
        self.spoilt = request is not None and whole and self.heard.startswith(request.head)

    def _is_echo(self, request: Request) -> bool:
        """Own bytes are no answer; but the answer to a write of one register looks the same where none is heard."""
        return request.size > 0 or len(self.sent) != len(request.head) + 2 or self.echo
