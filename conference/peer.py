"""One browser: its description, its keys, the streams it sends and the slots it receives.

A peer is made from an offer; `run` lasts as long as its connection. Packets come in through `_media`: unprotected,
parsed and handed to their ingress. What the browser says of its slots comes back as RTCP and is answered here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

import msgspec
from aiortc import RTCCertificate

from conference import dtls, rtcp, rtp, sdp
from conference.addresses import Addresses
from conference.ingress import Ingress
from conference.messages import Stats
from conference.mux import CONSENT, Mux
from conference.router import Budget
from conference.slot import Slot
from conference.track import Track, tracks

CONNECT_TIME = 20.0
"""Seconds from the answer to the first signed check."""
_MAX_STREAMS = 12
"""Incoming streams of one client, with retransmissions; packets of further ones are not looked at."""
_REPORTS = 12
"""Sender reports in one datagram: together below 1,200 bytes."""
_STRESS = 2
"""Times that a packet is asked for once more."""
_VOICE_BITRATE = 256_000
"""Bit rate of a voice at most; Opus in a call takes 30 to 60 kbit/s."""

log = logging.getLogger(__name__)


class Box(msgspec.Struct, frozen=True):
    """What all peers of this machine share."""

    mux: Mux
    certificate: RTCCertificate
    addresses: Addresses
    """Own addresses, for the candidates."""
    codecs: tuple[str, ...]
    gcm: bool
    video_slots: int
    audio_slots: int
    camera_bitrate: int
    screen_bitrate: int
    viewer_bitrate: int


class Peer:
    """The browser."""

    def __init__(self, box: Box, offer: sdp.Offer, *, screen: str = "", watch: bool = False) -> None:
        """`screen` is the mid kept for a shared screen; `watch`: sections that could do both shall receive."""
        self._box = box
        self._offer = offer
        self.path = box.mux.path(self._media)
        self.up = tracks(offer, screen, box.codecs, watch)
        self._slots = _slots(offer, self.up, box)
        self.video = [slot for slot in self._slots.values() if slot.clock == 90_000]
        self.audio = [slot for slot in self._slots.values() if slot.clock == 48_000]
        self.answer = self._answer()
        self.changed: Callable[[], None] = lambda: None
        """Called when it is connected, and when a stream begins."""
        self.line = Budget(box.viewer_bitrate)
        self.round_trip = 0.0
        """Seconds."""
        self.stats = Counts()
        self._by_ssrc = {slot.ssrc: slot for slot in self._slots.values()}
        self._streams: dict[int, Ingress] = {}
        self._repairs: dict[int, Ingress] = {}
        self._unknown = 0
        self._srtp: dtls.Srtp | None = None

    async def run(self) -> None:
        """Connect and carry media until the client goes. Raises HandshakeFailed or TimeoutError if it never came."""
        tunnel = None
        try:
            async with asyncio.timeout(CONNECT_TIME):
                await self.path.reached.wait()
            tunnel = await dtls.connect(
                self.path,
                self._box.certificate,
                self._offer.fingerprints,
                client=self._offer.setup == "passive",
                gcm=self._box.gcm,
            )
            self._srtp = tunnel.srtp
            for slot in self._slots.values():
                slot.open(tunnel.srtp, self.path)
            self.changed()
            await tunnel.ended.wait()
        finally:
            self._srtp = None
            self._drop_streams()
            if tunnel is not None:
                await tunnel.close()
            self.path.close()

    def close(self) -> None:
        """Let `run` end."""
        self.path.close()

    def connected(self) -> bool:
        """Whether media can flow."""
        return self._srtp is not None

    def budget(self) -> int:
        """Bits per second that its line carries towards it."""
        return self.line.bitrate

    def quality(self) -> tuple[float, float, int]:
        """Share lost upwards and downwards, and the round trip in milliseconds."""
        up = max((stream.fraction for stream in self._streams.values()), default=0.0)
        down = max((slot.fraction for slot in self._slots.values() if slot.source is not None), default=0.0)
        return up, down, round(self.round_trip * 1000)

    def _answer(self) -> str:
        box = self._box
        local = sdp.Local(
            self.path.ufrag,
            self.path.pwd,
            dtls.fingerprints_of(box.certificate),
            tuple((address, box.mux.port) for address in box.addresses.now()),
            secrets.randbits(62),
        )
        slots = {mid: sdp.Slot(slot.ssrc, slot.label) for mid, slot in self._slots.items()}
        used = {track.section.mid for track in self.up} | set(slots)
        refused = [section.mid for section in self._offer.sections if section.mid not in used]
        return sdp.answer(self._offer, local, slots, refused, box.codecs)

    def _drop_streams(self) -> None:
        now = time.monotonic()
        for slot in self._slots.values():
            slot.switch(None, now)
        for stream in self._streams.values():
            for slot in stream.slots:
                slot.switch(None, now)
            stream.end()

    # --- incoming media ---------------------------------------------------------------------------------------------

    def _media(self, data: bytes, now: float) -> None:
        srtp = self._srtp
        if srtp is None:
            return
        if rtcp.is_rtcp(data):
            self._feedback(srtp.unprotect_rtcp(data), now)
            return
        plain = srtp.unprotect(data)
        packet = rtp.parse(plain) if plain else None
        if packet is None:
            self.stats.refused += 1
            return
        stream = self._streams.get(packet.ssrc)
        if stream is not None:
            stream.packet(packet, now)
        else:
            self._other(packet, now)

    def _other(self, packet: rtp.Packet, now: float) -> None:
        """A packet of a retransmission stream, or of a stream not seen before."""
        if packet.ssrc not in self._repairs:
            self._identify(packet, now)
        repaired = self._repairs.get(packet.ssrc)
        if repaired is not None and len(packet.payload) > 2:
            original = packet.payload[0] << 8 | packet.payload[1]
            pt = self._repaired_type(packet.pt)
            fresh = rtp.Packet(original, packet.ts, repaired.ssrc, pt, packet.marker, packet.payload[2:])
            repaired.repaired(fresh, now)

    def _repaired_type(self, pt: int) -> int:
        return next((track.repairs[pt] for track in self.up if pt in track.repairs), 0)

    def _identify(self, packet: rtp.Packet, now: float) -> None:
        """Find out by mid and layer name, or by what the offer declared, where an unknown stream belongs."""
        if len(self._streams) + len(self._repairs) >= _MAX_STREAMS:
            self.stats.refused += 1
            return
        track = self._track_of(packet)
        if track is None:
            self.stats.refused += 1
            return
        names = track.section.extensions
        if packet.pt in track.repairs:
            rid = rtp.name(packet.extensions, names.get(rtp.REPAIRED_RID, 0))
            self._add_repair(packet.ssrc, track, rid)
        elif packet.pt in track.codecs:
            rid = rtp.name(packet.extensions, names.get(rtp.RID, 0))
            self._add_stream(packet, track, rid, now)

    def _track_of(self, packet: rtp.Packet) -> Track | None:
        for track in self.up:
            mid = rtp.name(packet.extensions, track.section.extensions.get(rtp.MID, 0))
            if mid is not None:
                return next((other for other in self.up if other.section.mid == mid), None)
        declared = (track for track in self.up if packet.ssrc in track.section.ssrcs)
        fitting = (track for track in self.up if packet.pt in track.codecs and not track.section.ssrcs)
        return next(declared, None) or next(fitting, None)

    def _add_repair(self, ssrc: int, track: Track, rid: str | None) -> None:
        rids = track.section.rids
        layer = rids.index(rid) if rid in rids else 0 if not rids else -1
        stream = track.streams[layer] if layer >= 0 else None
        if stream is not None:
            self._repairs[ssrc] = stream

    def _add_stream(self, packet: rtp.Packet, track: Track, rid: str | None, now: float) -> None:
        rids = track.section.rids
        if rids and rid not in rids:
            return
        layer = rids.index(rid) if rid in rids else 0
        codec = track.codecs[packet.pt]
        level = track.section.extensions.get(rtp.AUDIO_LEVEL, 0) if track.audio else 0
        stream = Ingress(packet.ssrc, codec.name, codec.clock, level_id=level)
        stream.ask_key = lambda: self._send_rtcp(rtcp.receiver_report(()) + rtcp.picture_loss(stream.ssrc))
        stream.ask_again = lambda seqs: self._send_rtcp(rtcp.receiver_report(()) + rtcp.nack(stream.ssrc, seqs))
        former = track.streams[layer]
        if former is not None:
            self._streams.pop(former.ssrc, None)
            former.end()
            self._repairs = {ssrc: other for ssrc, other in self._repairs.items() if other is not former}
        track.streams[layer] = self._streams[packet.ssrc] = stream
        for repair, repaired in track.section.repairs.items():
            if repaired == packet.ssrc:
                self._repairs[repair] = stream
        stream.packet(packet, now)
        self.changed()

    # --- feedback ---------------------------------------------------------------------------------------------------

    def _feedback(self, plain: bytes, now: float) -> None:
        for message in rtcp.parse(plain):
            match message:
                case rtcp.SenderReport(ssrc=ssrc, ntp=ntp, reports=reports):
                    if ssrc in self._streams:
                        self._streams[ssrc].sender_report(ntp, now)
                    self._reported(reports, now)
                case rtcp.ReceiverReport(reports=reports):
                    self._reported(reports, now)
                case rtcp.Nack(ssrc=ssrc, seqs=seqs):
                    self.stats.nacks += 1
                    if ssrc in self._by_ssrc:
                        self._by_ssrc[ssrc].resend(seqs, now)
                case rtcp.KeyFrameRequest(ssrc=ssrc):
                    self.stats.key_requests += 1
                    slot = self._by_ssrc.get(ssrc)
                    if slot is not None and slot.source is not None:
                        slot.source.request_key(now)
                case rtcp.Estimate(bitrate=bitrate):
                    self.stats.estimate = bitrate
                    self.line.estimate(bitrate, self._sent_rate(), now)
                case rtcp.Bye():
                    pass  # a stream that ended shows by its silence

    def _reported(self, reports: tuple[rtcp.Report, ...], now: float) -> None:
        worst = -1.0
        for report in reports:
            slot = self._by_ssrc.get(report.ssrc)
            if slot is None:
                continue
            slot.fraction = report.fraction / 256
            if slot.clock == 90_000:
                worst = max(worst, slot.fraction)
            if report.last_sr:
                passed = (rtcp.ntp_time(time.time()) >> 16) - report.last_sr - report.delay & 0xFFFFFFFF
                self.round_trip = passed / 65536 if passed < 10 * 65536 else self.round_trip
        if worst >= 0:
            self.line.loss(worst, self._sent_rate(), now)

    def _sent_rate(self) -> int:
        return sum(slot.bitrate for slot in self._slots.values())

    def _send_rtcp(self, plain: bytes) -> None:
        if self._srtp is not None and plain:
            self.path.send(self._srtp.protect_rtcp(plain))

    # --- clock ------------------------------------------------------------------------------------------------------

    def fast(self, now: float) -> None:
        """Every 25 ms: ask again for what was lost, and for key frames that did not come."""
        for stream in self._streams.values():
            if stream.missing:
                seqs = stream.overdue(now)
                if seqs:  # asked for before, in vain: a line that lost one packet may lose the next
                    for _ in range(_STRESS):
                        self._send_rtcp(rtcp.receiver_report(()) + rtcp.nack(stream.ssrc, seqs))
            if stream.wants_key and stream.slots and stream.live(now):
                stream.request_key(now)

    def slow(self, now: float) -> None:
        """Every second: reports both ways, bit rates, and whether the client is still there."""
        if now - self.path.seen > CONSENT:
            self.close()
        if self._srtp is None:
            return
        self.line.rise(now)
        streams = [stream for stream in self._streams.values() if stream.live(now)]
        for stream in self._streams.values():
            stream.count(now)
        for slot in self._slots.values():
            slot.count(now)
        self._hold_to_caps(now)
        report = rtcp.receiver_report([stream.report(now) for stream in streams[:31]])
        pictures = [stream.ssrc for stream in streams if not stream.audio]
        if pictures:
            report += rtcp.estimate(self._allowed(now), pictures)
        self._send_rtcp(report)
        reports = [slot.sender_report(now) for slot in self._slots.values()]
        for at in range(0, len(reports), _REPORTS):
            self._send_rtcp(b"".join(reports[at : at + _REPORTS]))

    def _hold_to_caps(self, now: float) -> None:
        """A browser keeps to the estimate that it is told; what does not is not passed on."""
        for track in self.up:
            most = self._box.screen_bitrate if track.screen else self._box.camera_bitrate
            if track.hold_to(_VOICE_BITRATE if track.audio else most, now):
                log.info("bit rate over its cap layers=%d audio=%s screen=%s", track.allowed, track.audio, track.screen)
                self.changed()

    def _allowed(self, now: float) -> int:
        screen = any(track.screen and track.live(now) for track in self.up)
        return self._box.camera_bitrate + (self._box.screen_bitrate if screen else 0)


class Counts(msgspec.Struct):
    """What a client has asked for."""

    nacks: int = 0
    key_requests: int = 0
    refused: int = 0
    """Packets that were not its own, not well formed, or of a stream too many."""
    estimate: int = 0
    """Its last estimate of its line, bits per second."""
    page: Stats = Stats()
    """What its page counted last."""


def _slots(offer: sdp.Offer, up: list[Track], box: Box) -> dict[str, Slot]:
    """Mid -> slot, in the offer's order; no more than the settings allow."""
    sending = {track.section.mid for track in up}
    left = {"audio": box.audio_slots, "video": box.video_slots}
    slots: dict[str, Slot] = {}
    for section in offer.sections:
        codecs = sdp.usable(section, box.codecs)
        if not section.receives or section.mid in sending or not codecs or not left[section.kind]:
            continue
        label = f"{section.kind}-{sum(1 for slot in slots.values() if slot.label.startswith(section.kind))}"
        types = {codec.name: codec.pt for codec in codecs}
        time_id = section.extensions.get(rtp.SEND_TIME, 0)
        slots[section.mid] = Slot(secrets.randbits(31) | 1, label, codecs[0].clock, types, time_id)
        left[section.kind] -= 1
    return slots
