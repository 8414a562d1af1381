"""RTCP: reading what clients send and writing what they need. Pure functions.

`parse` returns the messages it understands and skips the rest; a malformed part ends the datagram quietly. Every length
is checked before it is used: one bad report must not cost a call (RFC 3550 6, RFC 4585, RFC 5104, REMB draft).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import msgspec

SENDER = 1
"""SSRC under which the box speaks RTCP."""

SR, RR, SDES, BYE, FEEDBACK, PICTURE = 200, 201, 202, 203, 205, 206
_MAX_NACKS = 500
"""Sequence numbers taken from one feedback message; the rest is ignored."""
_NTP_EPOCH = 2208988800

_WORD = struct.Struct(">I")
_HEAD = struct.Struct(">BBH")
_PAIR = struct.Struct(">HH")
_BLOCK = struct.Struct(">IIIIII")
_SENDER_INFO = struct.Struct(">IQIII")
_TWO = struct.Struct(">II")


class Report(msgspec.Struct, frozen=True):
    """What a receiver says of one stream."""

    ssrc: int
    fraction: int
    """Lost since the last report, in 256ths."""
    lost: int
    """Lost since the start."""
    highest: int
    """Extended highest sequence number, 32 bits."""
    jitter: int
    """In units of the stream's clock."""
    last_sr: int = 0
    """Middle 32 bits of the NTP time of the last sender report."""
    delay: int = 0
    """Since that report, in 65536ths of a second."""


class SenderReport(msgspec.Struct, frozen=True):
    """What a sender says of its stream, and what it received."""

    ssrc: int
    ntp: int
    """64 bits of NTP time."""
    ts: int
    packets: int
    octets: int
    reports: tuple[Report, ...] = ()


class ReceiverReport(msgspec.Struct, frozen=True):
    """What a client received."""

    ssrc: int
    reports: tuple[Report, ...]


class Nack(msgspec.Struct, frozen=True):
    """Packets that did not arrive."""

    ssrc: int
    seqs: tuple[int, ...]


class KeyFrameRequest(msgspec.Struct, frozen=True):
    """PLI or FIR: the receiver cannot go on without a key frame."""

    ssrc: int


class Estimate(msgspec.Struct, frozen=True):
    """REMB: what the receiver believes its line carries, in bits per second."""

    bitrate: int


class Bye(msgspec.Struct, frozen=True):
    """These streams have ended."""

    ssrcs: tuple[int, ...]


Message = SenderReport | ReceiverReport | Nack | KeyFrameRequest | Estimate | Bye


def ntp_time(wall: float) -> int:
    """Unix seconds as 64-bit NTP time."""
    return int((wall + _NTP_EPOCH) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram whose first byte says RTP or RTCP is RTCP (RFC 5761 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223


# --- reading --------------------------------------------------------------------------------------------------------


def parse(data: bytes) -> list[Message]:
    """The messages of a compound packet that are understood, in order."""
    found: list[Message] = []
    at = 0
    while at + 4 <= len(data):
        first, kind, words = _HEAD.unpack_from(data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            break
        body = data[at + 4 : end]
        if first & 0x20:
            body = _unpadded(body)
        found += _messages(kind, first & 31, body)
        at = end
    return found


def _unpadded(body: bytes) -> bytes:
    padding = body[-1] if body else 0
    return body[:-padding] if 0 < padding <= len(body) else b""


def _messages(kind: int, count: int, body: bytes) -> list[Message]:
    if kind == SR and len(body) >= 24:
        ssrc, ntp, ts, packets, octets = _SENDER_INFO.unpack_from(body)
        return [SenderReport(ssrc, ntp, ts, packets, octets, _reports(body, 24, count))]
    if kind == RR and len(body) >= 4:
        return [ReceiverReport(_WORD.unpack_from(body)[0], _reports(body, 4, count))]
    if kind == BYE:
        return [Bye(tuple(_WORD.unpack_from(body, 4 * i)[0] for i in range(min(count, len(body) // 4))))]
    if kind == FEEDBACK and count == 1 and len(body) >= 8:
        return [Nack(_WORD.unpack_from(body, 4)[0], _lost(body))]
    if kind == PICTURE and len(body) >= 8:
        return _picture_feedback(count, body)
    return []


def _reports(body: bytes, at: int, count: int) -> tuple[Report, ...]:
    reports = []
    for start in range(at, min(at + 24 * count, len(body) - 23), 24):
        ssrc, lost, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, start)
        reports.append(Report(ssrc, lost >> 24, _signed24(lost & 0xFFFFFF), highest, jitter, last_sr, delay))
    return tuple(reports)


def _signed24(value: int) -> int:
    return value - (1 << 24) if value >> 23 else value


def _lost(body: bytes) -> tuple[int, ...]:
    """Sequence numbers of a generic NACK (RFC 4585 6.2.1)."""
    seqs: list[int] = []
    for at in range(8, len(body) - 3, 4):
        first, mask = _PAIR.unpack_from(body, at)
        seqs.append(first)
        seqs += [(first + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1]
        if len(seqs) >= _MAX_NACKS:
            break
    return tuple(seqs[:_MAX_NACKS])


def _picture_feedback(kind: int, body: bytes) -> list[Message]:
    if kind == 1:
        return [KeyFrameRequest(_WORD.unpack_from(body, 4)[0])]
    if kind == 4:  # FIR names its streams in the items (RFC 5104 4.3.1)
        named = range(8, min(len(body) - 7, 136), 8)
        return [KeyFrameRequest(_WORD.unpack_from(body, at)[0]) for at in named]
    if kind == 15 and len(body) >= 16 and body[8:12] == b"REMB":
        word = _WORD.unpack_from(body, 12)[0]
        return [Estimate(min((word & 0x3FFFF) << (word >> 18 & 63), 10**12))]
    return []


# --- writing --------------------------------------------------------------------------------------------------------


def _packet(count: int, kind: int, body: bytes) -> bytes:
    return _HEAD.pack(0x80 | count, kind, len(body) // 4) + body


def _block(report: Report) -> bytes:
    lost = report.fraction << 24 | report.lost & 0xFFFFFF
    return _BLOCK.pack(report.ssrc, lost, report.highest, report.jitter, report.last_sr, report.delay)


def receiver_report(reports: Sequence[Report]) -> bytes:
    """RR packets, at most 31 reports each; one empty packet when there are none."""
    chunks = [reports[at : at + 31] for at in range(0, len(reports), 31)] or [()]
    return b"".join(_packet(len(some), RR, _WORD.pack(SENDER) + b"".join(map(_block, some))) for some in chunks)


def sender_report(ssrc: int, ntp: int, ts: int, packets: int, octets: int) -> bytes:
    """An SR packet without reports."""
    info = _SENDER_INFO.pack(ssrc, ntp, ts & 0xFFFFFFFF, packets & 0xFFFFFFFF, octets & 0xFFFFFFFF)
    return _packet(0, SR, info)


def description(ssrc: int, cname: str) -> bytes:
    """An SDES packet with the canonical name."""
    text = cname.encode()[:200]
    item = _WORD.pack(ssrc) + bytes((1, len(text))) + text
    return _packet(1, SDES, item + bytes(4 - len(item) % 4))


def nack(ssrc: int, seqs: Iterable[int]) -> bytes:
    """Ask for sequence numbers (16 bits, rising in the order of the stream)."""
    items: list[list[int]] = []
    for seq in seqs:
        distance = (seq - items[-1][0]) & 0xFFFF if items else 0
        if items and 1 <= distance <= 16:
            items[-1][1] |= 1 << (distance - 1)
        elif not items or distance:
            items.append([seq, 0])
    return _packet(1, FEEDBACK, _TWO.pack(SENDER, ssrc) + b"".join(_PAIR.pack(*item) for item in items))


def picture_loss(ssrc: int) -> bytes:
    """PLI: ask a sender for a key frame."""
    return _packet(1, PICTURE, _TWO.pack(SENDER, ssrc))


def estimate(bitrate: int, ssrcs: Sequence[int]) -> bytes:
    """REMB: tell a sender what it may send in all, in bits per second."""
    exponent = max(0, bitrate.bit_length() - 18)
    head = len(ssrcs) << 24 | exponent << 18 | bitrate >> exponent
    body = _TWO.pack(SENDER, 0) + b"REMB" + _WORD.pack(head)
    return _packet(15, PICTURE, body + b"".join(map(_WORD.pack, ssrcs)))
