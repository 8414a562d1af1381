"""RTP packets: headers, header extensions, key frames, VP8 picture ids, audio level. Pure functions.

A packet is parsed once when it comes in and written once per viewer. What comes from the network is never trusted:
`parse` and the readers below return None (or an empty answer) for whatever is not well formed, and never raise.
"""

from __future__ import annotations

import struct

import msgspec

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"

PLAIN_HEADER = 12
TIMED_HEADER = 20
"""Bytes of an outgoing header without and with the send time."""

SILENCE = 127
"""Audio level of silence, in dB below full scale (RFC 6464)."""

_HEADER = struct.Struct(">BBHII")
_TIMED = struct.Struct(">BBHIIHHI")
_WIDE_PICTURE = struct.Struct(">HB")
_ONE_BYTE = 0xBEDE


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One RTP packet without padding, contributing sources and extension framing."""

    seq: int
    """Sequence number, 16 bits."""
    ts: int
    """Time stamp, 32 bits, in units of the codec's clock."""
    ssrc: int
    pt: int
    marker: bool
    payload: bytes
    extensions: bytes = b""
    """Body of a one-byte header extension (RFC 8285 4.2), without its four bytes of framing."""


class Picture(msgspec.Struct, frozen=True, gc=False):
    """What a video payload says about its picture."""

    key: bool
    """First packet of a key frame: a viewer can start here."""
    id_at: int = 0
    """Where the VP8 picture id stands in the payload; 0: none."""
    id: int = 0
    wide: bool = False
    """The picture id has 15 bits, not 7."""
    tl0_at: int = 0
    """Where the VP8 TL0PICIDX stands; 0: none."""
    tl0: int = 0


NO_PICTURE = Picture(key=False)
KEY_PICTURE = Picture(key=True)


def parse(data: bytes) -> Packet | None:
    """The packet in `data`, or None when it is not well formed."""
    size = len(data)
    if size < PLAIN_HEADER or data[0] >> 6 != 2:
        return None
    first, second, seq, ts, ssrc = _HEADER.unpack_from(data)
    at = PLAIN_HEADER + 4 * (first & 15)
    extensions = b""
    if first & 0x10:
        start = at + 4
        if start > size:
            return None
        at = start + 4 * (data[start - 2] << 8 | data[start - 1])
        if data[start - 4] << 8 | data[start - 3] == _ONE_BYTE:
            extensions = data[start:at]
    if first & 0x20:
        padding = data[-1]
        size -= padding
        if padding == 0:
            return None
    if at > size:
        return None
    return Packet(seq, ts, ssrc, second & 127, second > 127, data[at:size], extensions)


def element(extensions: bytes, wanted: int) -> bytes | None:
    """The header extension element with id `wanted` (1 to 14; 0 is nobody's), or None."""
    if not wanted:
        return None
    at, size = 0, len(extensions)
    while at < size:
        head = extensions[at]
        at += 1
        if head == 0:
            continue
        if head >> 4 == 15:
            return None
        end = at + (head & 15) + 1
        if head >> 4 == wanted:
            return extensions[at:end] if end <= size else None
        at = end
    return None


def audio_level(extensions: bytes, wanted: int) -> int | None:
    """Loudness in dB below full scale, 0 loudest, 127 silence (RFC 6464)."""
    found = element(extensions, wanted)
    return found[0] & 127 if found else None


def name(extensions: bytes, wanted: int) -> str | None:
    """A mid or rid element as text; None when absent or not ASCII."""
    found = element(extensions, wanted)
    return found.decode("ascii", "replace") if found else None


def write_plain(into: memoryview, kind: int, seq: int, ts: int, ssrc: int) -> None:
    """Write a 12-byte header at the start of `into`; `kind` is the payload type, plus 128 with the marker."""
    _HEADER.pack_into(into, 0, 0x80, kind, seq, ts, ssrc)


def write_timed(into: memoryview, kind: int, seq: int, ts: int, ssrc: int, stamp: int) -> None:  # noqa: PLR0917
    """Write a 20-byte header: `stamp` is a `time_word` with the time. By position: it runs per packet."""
    _TIMED.pack_into(into, 0, 0x90, kind, seq, ts, ssrc, _ONE_BYTE, 1, stamp)


def time_word(extension_id: int) -> int:
    """The extension word for `write_timed`, one element of three bytes, without the time in its low 24 bits."""
    return (extension_id << 4 | 2) << 24


def unwrap(seq: int, near: int, bits: int = 16) -> int:
    """The number with low `bits` equal to `seq` that lies nearest to `near`."""
    span = 1 << bits
    delta = (seq - near) & (span - 1)
    return near + (delta - span if delta >= span >> 1 else delta)


# --- pictures -------------------------------------------------------------------------------------------------------


def vp8_picture(payload: bytes) -> Picture:
    """Read the VP8 payload descriptor (RFC 7741 4.2)."""
    size = len(payload)
    if size < 2:
        return NO_PICTURE
    first = payload[0]
    at = 1
    id_at = number = tl0_at = tl0 = 0
    wide = False
    if first & 0x80:
        flags = payload[1]
        at = 2
        if flags & 0x80 and at < size:
            id_at = at
            wide = payload[at] > 127
            if at + wide >= size:
                return NO_PICTURE
            number = (payload[at] & 127) << 8 | payload[at + 1] if wide else payload[at]
            at += 1 + wide
        if flags & 0x40 and at < size:
            tl0_at, tl0 = at, payload[at]
            at += 1
        if flags & 0x30:
            at += 1
    starts = first & 0x17 == 0x10  # start of a partition, and that partition is the first
    key = starts and at < size and not payload[at] & 1
    return Picture(key, id_at, number, wide, tl0_at, tl0)


def h264_picture(payload: bytes) -> Picture:
    """Whether a viewer can start here: the packet carries a sequence parameter set (RFC 6184 5.2)."""
    if not payload:
        return NO_PICTURE
    kind = payload[0] & 31
    if kind == 28:  # FU-A: the type stands in its second byte, with the start bit
        return KEY_PICTURE if len(payload) > 1 and payload[1] & 0x9F == 0x87 else NO_PICTURE
    if kind == 24:  # STAP-A: several units, each after its 16-bit size
        return KEY_PICTURE if _aggregate_has_parameters(payload) else NO_PICTURE
    return KEY_PICTURE if kind == 7 else NO_PICTURE


def _aggregate_has_parameters(payload: bytes) -> bool:
    at = 1
    while at + 2 < len(payload):
        if payload[at + 2] & 31 == 7:
            return True
        at += 2 + (payload[at] << 8 | payload[at + 1])
    return False


def write_picture(into: memoryview, at: int, picture: Picture, number: int, tl0: int) -> None:
    """Replace picture id and TL0PICIDX of the payload that stands at `at` in `into`."""
    if picture.wide and picture.tl0_at == picture.id_at + 2:  # as browsers send it
        _WIDE_PICTURE.pack_into(into, at + picture.id_at, 0x8000 | number & 0x7FFF, tl0 & 255)
        return
    if picture.id_at:
        if picture.wide:
            into[at + picture.id_at] = 0x80 | number >> 8 & 127
            into[at + picture.id_at + 1] = number & 255
        else:
            into[at + picture.id_at] = number & 127
    if picture.tl0_at:
        into[at + picture.tl0_at] = tl0 & 255
