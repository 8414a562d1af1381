"""What counts as an answer: the guards alone, fed with every kind of bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.frames import Guard, Outcome, Request, RtuGuard, TcpGuard, crc

UNIT, COUNT = 17, 4
DATA = bytes(range(100, 100 + 2 * COUNT))
ASKED = bytes((UNIT, 3, 0, 0, 0, COUNT))
ANSWER = bytes((UNIT, 3, 2 * COUNT)) + DATA
KINDS = ["tcp", "rtu"]


def framed(kind: str, content: bytes, tid: int = 7) -> bytes:
    return content + crc(content) if kind == "rtu" else struct.pack(">HHH", tid, 0, len(content)) + content


def hear(kind: str, *pieces: bytes, late: list[int] | None = None) -> Guard:
    """A guard that asked for four registers and got `pieces`, then the time-out; pymodbus shows all bytes each time."""

    def known(number: int) -> bool:
        if late is not None:
            late.append(number)
        return number == 6

    guard: Guard = RtuGuard(known) if kind == "rtu" else TcpGuard(known)
    guard.expect(Request(UNIT, 3, 0, COUNT))
    guard.trace(True, framed(kind, ASKED))
    seen = b""
    for piece in pieces:
        seen += piece
        assert guard.trace(False, seen) == b""
        if not guard.waits:
            return guard
    guard.expire()
    return guard


@pytest.mark.parametrize("kind", KINDS)
@given(cuts=st.lists(st.integers(0, 18), max_size=5))
def test_an_answer_in_pieces(kind: str, cuts: list[int]) -> None:
    """However the bytes are split, the answer is found when its last byte has come."""
    frame = framed(kind, ANSWER)
    ends = sorted({*cuts, len(frame)})
    guard = hear(kind, *(frame[a:b] for a, b in zip([0, *ends], ends, strict=False)))
    assert (guard.outcome, guard.body) == (Outcome.ok, DATA)


@given(st.integers(0, 8), st.integers(1, 255))
def test_a_changed_byte_in_a_tcp_header(at: int, change: int) -> None:
    """Transaction, protocol, length, unit, function, byte count: none may differ in a single bit."""
    frame = bytearray(framed("tcp", ANSWER))
    frame[at] ^= change
    assert hear("tcp", bytes(frame)).outcome is not Outcome.ok


@settings(max_examples=300)
@given(st.integers(0, len(ANSWER)), st.integers(1, 0xFFFF))
def test_two_changed_bytes_on_a_serial_line(at: int, change: int) -> None:
    """A burst of up to 16 bits is always found by the check sum: no value comes of it."""
    frame = int.from_bytes(framed("rtu", ANSWER), "big") ^ (change << 8 * at)
    assert hear("rtu", frame.to_bytes(len(ANSWER) + 2, "big")).outcome is not Outcome.ok


@settings(max_examples=300)
@given(st.binary(max_size=12).filter(lambda noise: noise[:3] != ANSWER[:3]), st.binary(max_size=12))
def test_noise_around_an_answer_on_a_serial_line(before: bytes, after: bytes) -> None:
    """Whatever comes before or after, the answer is found, and with its own data."""
    guard = hear("rtu", before + framed("rtu", ANSWER) + after)
    assert guard.outcome is Outcome.ok
    assert guard.body == DATA


@settings(max_examples=300)
@given(st.binary(max_size=40), st.sampled_from(KINDS))
def test_any_bytes_at_all(noise: bytes, kind: str) -> None:
    """Random bytes are no answer; nothing at all is a time-out and not garbage."""
    guard = hear(kind, noise)
    assert guard.outcome is (Outcome.garbled if noise else Outcome.timeout)


def test_another_units_answer_on_a_serial_line() -> None:
    """It is passed over, told as late by its unit, and the right answer behind it is taken."""
    other = framed("rtu", bytes((UNIT + 1,)) + ANSWER[1:])
    late: list[int] = []
    guard = hear("rtu", other, framed("rtu", ANSWER), late=late)
    assert (guard.outcome, guard.body, late) == (Outcome.ok, DATA, [UNIT + 1])
    alone = hear("rtu", other)
    assert (alone.outcome, alone.foreign) == (Outcome.garbled, UNIT + 1)


def test_a_late_answer_over_tcp() -> None:
    """A transaction that has timed out is passed over; one that was never sent is foreign."""
    before, never = framed("tcp", ANSWER, tid=6), framed("tcp", ANSWER, tid=9)
    assert hear("tcp", before + framed("tcp", ANSWER)).body == DATA
    assert hear("tcp", before).outcome is Outcome.timeout
    assert hear("tcp", never).outcome is Outcome.garbled


def test_a_stream_that_lost_its_framing() -> None:
    """A bad header, or a frame cut off by the time-out, leaves a stream that only a new connection heals."""
    assert hear("tcp", b"\0\7\0\1\0\3garbage").broken
    assert hear("tcp", framed("tcp", ANSWER)[:-1]).broken
    assert not hear("tcp", framed("tcp", ANSWER, tid=9)).broken
    assert not hear("rtu", framed("rtu", ANSWER)[:-1]).broken
