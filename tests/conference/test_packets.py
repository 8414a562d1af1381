"""RTP, RTCP and STUN: what is written can be read, and nothing the network sends raises."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conference import rtcp, rtp, stun

KEY = b"a-password-of-24-letters"
CHECK = stun.request("ours:theirs", KEY, bytes(range(12)))


def packet(payload: bytes = b"x", first: int = 0x80, extra: bytes = b"") -> bytes:
    return struct.pack(">BBHII", first, 0x80 | 96, 7, 1000, 42) + extra + payload


@given(st.binary(max_size=400))
def test_garbage_raises_nowhere(data: bytes) -> None:
    """Any bytes give an answer or None from every reader."""
    for start in (b"", b"\x80\x60", b"\x90\x60", b"\x80\xc8", b"\x81\xce", b"\x8f\xce", b"\x00\x01"):
        raw = start + data
        found = rtp.parse(raw)
        if found:
            rtp.vp8_picture(found.payload)
            rtp.h264_picture(found.payload)
            rtp.audio_level(found.extensions, 1)
            rtp.name(found.extensions, 3)
        rtp.vp8_picture(raw)
        rtp.h264_picture(raw)
        rtp.element(raw, 5)
        rtcp.parse(raw)
        stun.parse_request(raw)


@given(st.binary(max_size=60), st.booleans(), st.integers(0, 65535), st.integers(0, 2**32 - 1), st.integers(0, 127))
def test_written_header_is_read_back(payload: bytes, marker: bool, seq: int, ts: int, pt: int) -> None:
    """Both outgoing headers are well formed RTP with the same fields."""
    room = bytearray(200)
    view = memoryview(room)
    rtp.write_plain(view, pt + 128 * marker, seq, ts, 99)
    assert rtp.parse(bytes(room[:12]) + payload) == rtp.Packet(seq, ts, 99, pt, marker, payload)
    rtp.write_timed(view, pt + 128 * marker, seq, ts, 99, rtp.time_word(3) | 0x320000)
    timed = rtp.parse(bytes(room[:20]) + payload)
    assert timed is not None
    assert (timed.seq, timed.ts, timed.payload, timed.marker) == (seq, ts, payload, marker)
    assert rtp.element(timed.extensions, 3) == bytes.fromhex("320000")


def test_padding_csrc_and_extension_are_taken_off() -> None:
    """The payload of a packet is its media alone."""
    extension = b"\xbe\xde\x00\x01" + bytes((0x10, 0x85, 0, 0))
    raw = packet(b"media" + b"\0\0\3", first=0xB2, extra=b"CSR1CSR2" + extension)
    found = rtp.parse(raw)
    assert found is not None
    assert found.payload == b"media"
    assert rtp.audio_level(found.extensions, 1) == 5
    assert rtp.audio_level(found.extensions, 2) is None


@pytest.mark.parametrize("raw", [packet(b"", 0xA0, b"\0"), packet(b"ab\xff", 0xA0), packet(b"", 0x9F), b"", b"\x80"])
def test_malformed_packets_are_none(raw: bytes) -> None:
    """Padding beyond the packet, missing parts and no bytes at all are refused."""
    assert rtp.parse(raw) is None


@given(st.integers(0, 2**20), st.integers(-30000, 30000))
def test_unwrap_finds_the_nearest(near: int, step: int) -> None:
    """A 16-bit number is extended to the nearest one."""
    wanted = near + step
    assert rtp.unwrap(wanted & 0xFFFF, near) == wanted


@given(st.booleans(), st.integers(0, 0x7FFF), st.integers(0, 255), st.integers(0, 0x7FFF))
def test_vp8_picture_id_is_replaced(key: bool, number: int, tl0: int, fresh: int) -> None:
    """A 15-bit picture id and the TL0PICIDX can be read, replaced and read again; the rest stays."""
    payload = bytes((0x90, 0xE0, 0x80 | number >> 8, number & 255, tl0, 0x20)) + bytes((0 if key else 1, 5, 6))
    picture = rtp.vp8_picture(payload)
    assert picture == rtp.Picture(key, 2, number, True, 4, tl0)
    room = bytearray(50)
    room[20 : 20 + len(payload)] = payload
    rtp.write_picture(memoryview(room), 20, picture, fresh, 77)
    again = rtp.vp8_picture(bytes(room[20 : 20 + len(payload)]))
    assert again == rtp.Picture(key, 2, fresh, True, 4, 77)
    assert room[26:29] == payload[6:]


def test_vp8_key_frame_only_at_its_first_packet() -> None:
    """Later packets of a key frame are no place to start."""
    assert rtp.vp8_picture(b"\x10\x00\x00").key
    assert not rtp.vp8_picture(b"\x00\x00\x00").key
    assert not rtp.vp8_picture(b"\x11\x00\x00").key
    assert not rtp.vp8_picture(b"\x10\x01\x00").key


def test_h264_starts_where_parameters_stand() -> None:
    """A single parameter set, one in an aggregate and the start of a fragmented one are places to start."""
    assert rtp.h264_picture(b"\x67abc").key
    assert rtp.h264_picture(b"\x78\x00\x02\x09\x10\x00\x03\x67ab").key
    assert rtp.h264_picture(b"\x7c\x87abc").key
    for other in (b"\x65abc", b"\x7c\x85abc", b"\x7c\x07abc", b"\x78\x00\x02\x68\x10", b"\x41"):
        assert not rtp.h264_picture(other).key


REPORT = rtcp.Report(ssrc=5, fraction=12, lost=-3, highest=70000, jitter=9, last_sr=1, delay=2)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(0, 65535))
def test_nack_names_every_packet(steps: list[int], start: int) -> None:
    """Asking for any rising run of packets, over the wrap as well, names exactly these."""
    seqs = [start]
    for step in steps:
        seqs.append((seqs[-1] + step) & 0xFFFF)
    found = rtcp.parse(rtcp.nack(42, seqs))
    assert isinstance(found[0], rtcp.Nack)
    assert found[0].ssrc == 42
    assert set(found[0].seqs) == set(seqs)


def test_compound_is_read_back() -> None:
    """What is written is read: reports, sender report, requests, estimate, goodbye; the description is skipped."""
    raw = b"".join(
        (
            rtcp.receiver_report([REPORT] * 33),
            rtcp.sender_report(7, rtcp.ntp_time(1e9), 2**32 + 5, 3, 4),
            rtcp.description(7, "edge"),
            rtcp.picture_loss(8),
            rtcp.estimate(1_500_000, [8, 9]),
            bytes.fromhex("81cb000100000007"),  # BYE of 7
        )
    )
    first, second, sender, request, line, bye = rtcp.parse(raw)
    assert isinstance(first, rtcp.ReceiverReport)
    assert isinstance(second, rtcp.ReceiverReport)
    assert first.reports + second.reports == (REPORT,) * 33
    assert isinstance(sender, rtcp.SenderReport)
    assert (sender.ts, sender.packets) == (5, 3)
    assert request == rtcp.KeyFrameRequest(8)
    assert isinstance(line, rtcp.Estimate)
    assert 1_490_000 <= line.bitrate <= 1_500_000
    assert bye == rtcp.Bye((7,))


def test_truncated_feedback_changes_nothing() -> None:
    """A short REMB, a transport-wide report and a half compound bring no message and no error."""
    short_remb = struct.pack(">BBHII4sB", 0x8F, 206, 3, 1, 0, b"REMB", 1) + b"\0\0\0"
    assert rtcp.parse(short_remb[:16] + b"") == []
    assert rtcp.parse(struct.pack(">BBHIII", 0x8F, 205, 3, 1, 2, 3)) == []
    assert rtcp.parse(rtcp.picture_loss(8) + b"\x80\xc9\xff\xff") == [rtcp.KeyFrameRequest(8)]


def test_check_is_answered_only_with_the_password() -> None:
    """A signed check is understood; another password or one changed byte is not."""
    check = stun.parse_request(CHECK)
    assert check is not None
    assert check.username == "ours:theirs"
    assert check.nominated
    assert stun.signed_by(CHECK, check, KEY)
    assert not stun.signed_by(CHECK, check, b"another")
    answer = stun.answer(check, KEY, ("10.0.0.1", 5000))
    assert stun.is_success(answer, check.transaction)
    assert stun.answer(check, KEY, ("::ffff:10.0.0.1", 5000)) == answer
    assert len(stun.answer(check, KEY, ("fe80::1%eth0", 5000))) == len(answer) + 12


def test_changed_checks_are_refused() -> None:
    """20,000 checks with changed bytes: none raises, none is signed unless its signed part is unchanged."""
    rng = random.Random(1)
    for _ in range(20_000):
        raw = bytearray(CHECK)
        for _ in range(rng.randint(1, 6)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        data = bytes(raw[: rng.randint(0, len(raw))]) if rng.random() < 0.3 else bytes(raw)
        check = stun.parse_request(data)
        assert check is None or data[:84] == CHECK[:84] or not stun.signed_by(data, check, KEY)
