"""What passes between one browser and its peer beside media: repairs, reports, requests, consent. Without a network."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conference import dtls, mux, rtcp, rtp, sdp
from conference.addresses import Addresses
from conference.ingress import Ingress
from conference.peer import Box, Peer
from tests.conference.test_streams import vp8

OFFER = (Path(__file__).parent / "offer-chromium.sdp").read_text()
SCREEN, SCREEN_REPAIR = 2182407178, 693840273
"""Streams that the offer declares for the shared screen."""
VP8_TYPE, RTX_TYPE = 96, 97


class Clear:
    """The keys' part: nothing is encrypted."""

    def protect(self, size: int) -> int:
        return size

    def protect_rtcp(self, plain: bytes) -> bytes:
        return plain

    def unprotect(self, data: bytes) -> bytes:
        return data

    unprotect_rtcp = unprotect


class Browser:
    """The far end of a peer that is connected: gives it packets, keeps what it sends."""

    def __init__(self, port: mux.Mux) -> None:
        box = Box(
            mux=port,
            certificate=dtls.new_certificate(),
            addresses=Addresses("127.0.0.1"),
            codecs=("VP8", "H264"),
            gcm=True,
            video_slots=2,
            audio_slots=1,
            camera_bitrate=2_000_000,
            screen_bitrate=2_000_000,
            viewer_bitrate=4_000_000,
        )
        self.sent: list[bytes] = []
        self.peer = Peer(box, sdp.parse(OFFER), screen="2")
        self.peer.path.address = ("127.0.0.1", 9)
        self.peer.path.send_to = lambda data, address: self.sent.append(bytes(data))
        keys: Any = Clear()
        self.peer._srtp = keys
        for slot in (*self.peer.video, *self.peer.audio):
            slot.open(keys, self.peer.path)

    def gives(self, packet: rtp.Packet, now: float = 1.0) -> None:
        """One packet, as on the wire."""
        extended = bool(packet.extensions)
        head = struct.pack(">BBHII", 0x80 | extended << 4, packet.pt | 128, packet.seq, packet.ts, packet.ssrc)
        words = len(packet.extensions) // 4
        more = struct.pack(">HH", 0xBEDE, words) + packet.extensions if extended else b""
        self.peer.path.media(head + more + packet.payload, now)

    def says(self, plain: bytes, now: float = 1.0) -> None:
        self.peer.path.media(plain, now)

    def told(self) -> list[rtcp.Message]:
        """Feedback and reports that came since the last call."""
        found = [message for data in self.sent if rtcp.is_rtcp(data) for message in rtcp.parse(data)]
        self.sent.clear()
        return found


@pytest.fixture
def browser() -> Iterator[Browser]:
    port = mux.bind("127.0.0.1", 0)
    yield Browser(mux.Mux(port))
    port.close()


def named(pairs: dict[int, str]) -> bytes:
    """A header extension of short texts, filled up to whole words."""
    body = b"".join(bytes((id << 4 | len(text) - 1,)) + text.encode() for id, text in pairs.items())
    return body + bytes(-len(body) % 4)


def again(lost: rtp.Packet, ssrc: int, extensions: bytes = b"") -> rtp.Packet:
    """The packet over a retransmission stream (RFC 4588 4)."""
    return rtp.Packet(7, lost.ts, ssrc, RTX_TYPE, lost.marker, lost.seq.to_bytes(2, "big") + lost.payload, extensions)


def test_retransmission_of_a_declared_stream(browser: Browser) -> None:
    """What a browser sends again over the stream that its offer named fills the gap."""
    for number in (1, 3):
        browser.gives(vp8(number, key=number == 1, ssrc=SCREEN))
    assert browser.told() == [rtcp.ReceiverReport(1, ()), rtcp.Nack(SCREEN, (2,))]
    browser.gives(again(vp8(2), SCREEN_REPAIR))
    stream = browser.peer._streams[SCREEN]
    assert stream.counts.repaired == 1
    kept = stream.cached(65_536 + 2)
    assert kept is not None
    assert (kept.payload, kept.pt) == (vp8(2).payload, VP8_TYPE)
    assert not stream.missing


def test_retransmission_of_a_layer(browser: Browser) -> None:
    """What repairs a layer is known from its first packet on by the name in its header, and repairs no other."""
    names = browser.peer._offer.sections[1].extensions
    layers = {rid: {names[rtp.MID]: "1", names[rtp.RID]: rid} for rid in "lm"}
    for ssrc, rid in ((11, "l"), (12, "m")):
        for number in (1, 3):
            packet = vp8(number, key=number == 1, ssrc=ssrc)
            browser.gives(msgspec.structs.replace(packet, extensions=named(layers[rid])))
    repair = {names[rtp.MID]: "1", names[rtp.REPAIRED_RID]: "m"}
    browser.gives(again(vp8(2), 99, named(repair)))
    assert [browser.peer._streams[ssrc].counts.repaired for ssrc in (11, 12)] == [0, 1]


@pytest.mark.parametrize("kind", ["pli", "fir"])
def test_viewer_who_needs_a_key_frame(kind: str, browser: Browser) -> None:
    """PLI and FIR (RFC 5104 4.3.1) are both carried on to whoever is shown in that slot."""
    asked: list[str] = []
    shown, slot = Ingress(5, "VP8", 90_000), browser.peer.video[1]
    slot.switch(shown, 1.0)
    shown.packet(vp8(1, key=True), 1.0)
    shown.ask_key = lambda: asked.append(kind)
    body = struct.pack(">IIIB3x", 3, 0, slot.ssrc, 1)
    fir = struct.pack(">BBH", 0x84, rtcp.PICTURE, len(body) // 4) + body
    browser.says(rtcp.picture_loss(slot.ssrc) if kind == "pli" else fir, 2.0)
    assert asked == [kind]


def test_sender_reports_of_each_slot(browser: Browser) -> None:
    """Each slot that shows something says its own time, numbers and counts once a second; the others say nothing."""
    shown, slot = Ingress(5, "VP8", 90_000), browser.peer.video[1]
    slot.switch(shown, 1.0)
    for number in range(3):
        shown.packet(vp8(number, key=number == 0), 1.0 + number / 15)
    last = rtp.parse([data for data in browser.sent if not rtcp.is_rtcp(data)][-1])
    assert last is not None
    browser.peer.path.seen = now = 1.0 + 2 / 15 + 0.5
    before = rtcp.ntp_time(time.time())
    browser.peer.slow(now)
    [report] = [message for message in browser.told() if isinstance(message, rtcp.SenderReport)]
    assert (report.ssrc, report.packets, report.octets) == (slot.ssrc, 3, 3 * len(vp8(0).payload))
    assert abs((report.ts - last.ts & 0xFFFFFFFF) - 45_000) <= 1
    assert 0 <= report.ntp - before < 60 << 32


def test_receiver_reports_to_the_sender(browser: Browser) -> None:
    """A browser hears once a second how its stream arrives: what is lost, how far, and when its own report came."""
    for number in (1, 2, 4, 5):
        browser.gives(vp8(number, key=number == 1, ssrc=SCREEN), 1.0)
    ntp = 0x1122334455667788
    browser.says(rtcp.sender_report(SCREEN, ntp, 0, 4, 400), 1.5)
    browser.peer.path.seen = 2.0
    browser.peer.slow(2.0)
    found = [message for message in browser.told() if isinstance(message, rtcp.ReceiverReport) and message.reports]
    [report] = found[0].reports
    assert (report.ssrc, report.fraction, report.lost, report.highest & 0xFFFF) == (SCREEN, 256 // 5, 1, 5)
    assert (report.last_sr, report.delay) == (0x33445566, 32_768)


def test_lossy_reports_step_down(browser: Browser) -> None:
    """Two reports in a row that lose a third lower what the viewer is given; one, or those of a voice, do not."""
    peer = browser.peer

    def reports(slot_ssrc: int) -> None:
        browser.says(rtcp.receiver_report([rtcp.Report(slot_ssrc, 85, 10, 100, 0)]))

    for _ in range(3):
        reports(peer.audio[0].ssrc)
    reports(peer.video[0].ssrc)
    assert peer.budget() == 4_000_000
    reports(peer.video[0].ssrc)
    assert peer.budget() < 3_500_000
    assert peer.quality()[1] == 0.0
    assert peer.video[0].fraction == pytest.approx(1 / 3, abs=0.01)


def test_round_trip_by_the_viewers_report(browser: Browser) -> None:
    """Worked out from the time of our report and the viewer's delay (RFC 3550 6.4.1); nonsense changes nothing."""
    middle = rtcp.ntp_time(time.time() - 0.5) >> 16 & 0xFFFFFFFF
    ssrc = browser.peer.video[0].ssrc
    browser.says(rtcp.receiver_report([rtcp.Report(ssrc, 0, 0, 100, 0, middle, 26_214)]))  # 0.4 s
    assert 0.09 < browser.peer.round_trip < 5
    before = browser.peer.round_trip
    browser.says(rtcp.receiver_report([rtcp.Report(ssrc, 0, 0, 100, 0, middle, 0x7FFF_0000)]))
    assert browser.peer.round_trip == before


def test_consent_that_is_not_renewed(browser: Browser) -> None:
    """Twenty seconds after the last signed check a client is gone, and what it sends is a stray (RFC 7675 5.1)."""
    peer, port = browser.peer, browser.peer._box.mux
    assert mux.CONSENT == 20
    start = peer.path.seen
    peer.slow(start + mux.CONSENT)
    assert port._by_ufrag == {peer.path.ufrag: peer.path}
    peer.slow(start + mux.CONSENT + 0.1)
    assert port._by_ufrag == {}
    assert peer.path.address is None
