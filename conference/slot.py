"""One outgoing stream of one viewer. Who is seen in it changes; the stream does not.

Sequence numbers, time stamps and VP8 picture ids are shifted so that the streams shown one after another look like one.
A new picture begins with a key frame; until it comes the old one goes on. Voices change at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from conference import rtcp, rtp
from conference.dtls import MAX_PLAIN, Srtp, scratch
from conference.ingress import Ingress
from conference.sdp import VP8

if TYPE_CHECKING:
    from conference.mux import Path

_STRETCHES = 4
"""Stretches remembered for answering losses; what was lost before them is not sent again."""
_MAX_PAYLOAD = MAX_PLAIN - rtp.TIMED_HEADER
_REMEMBERED = 32
"""Packets sent again of late."""
_RESENDS = 400
"""Packets sent again per second at most; past it losses are not answered."""


class Stretch:
    """A run of packets of one source, and how their numbers are shifted."""

    __slots__ = ("first", "first_out", "kind", "picture", "seq", "source", "tl0", "ts", "vp8")

    def __init__(self, source: Ingress | None, kind: int, first: int, first_out: int) -> None:
        """`first`: extended number of its first packet, `first_out`: the same as sent."""
        self.source = source
        self.kind = kind
        self.first = first
        self.first_out = first_out
        self.seq = first_out - first
        self.ts = self.picture = self.tl0 = 0
        self.vp8 = source is not None and source.codec == VP8


class Slot:
    """The stream."""

    def __init__(self, ssrc: int, label: str, clock: int, types: dict[str, int], time_id: int) -> None:
        """`types`: codec name -> payload type; `time_id`: header extension for the send time, 0 for none."""
        self.ssrc = ssrc
        self.label = label
        self.clock = clock
        self.types = types
        self.wanted: Ingress | None = None
        self.packets = self.octets = self.resent = 0
        self.switches = 0
        self.bitrate = 0
        self.fraction = 0.0
        """Share lost, by the viewer's last report."""
        self._time_word = rtp.time_word(time_id) if time_id else 0
        self._now: Stretch = Stretch(None, 0, 0, 0)
        self._before: deque[Stretch] = deque(maxlen=_STRETCHES)
        self._out = 1000
        """Highest extended sequence number sent."""
        self._ts = self._picture = self._tl0 = 0
        self._last = 0.0
        self._srtp: Srtp | None = None
        self._path: Path | None = None
        self._credit, self._credit_at = float(_RESENDS), 0.0
        self._again: deque[int] = deque(maxlen=_REMEMBERED)
        self._counted = (0, 0.0)

    def open(self, srtp: Srtp, path: Path) -> None:
        """The viewer is connected: packets can go out."""
        self._srtp, self._path = srtp, path

    @property
    def source(self) -> Ingress | None:
        """The stream being forwarded."""
        return self._now.source

    # --- what is shown ----------------------------------------------------------------------------------------------

    def able(self, source: Ingress) -> bool:
        """Whether the viewer takes the stream's codec."""
        return source.codec in self.types

    def switch(self, source: Ingress | None, now: float) -> None:
        """Show another stream, from its next key frame on; None pauses at once."""
        if source is not None and not self.able(source):
            source = None
        if source is self.wanted:
            return
        pending, self.wanted = self.wanted, source
        if pending is not None and pending is not self.source:
            pending.detach(self)
        if source is None:
            self._end()
        elif source is not self.source:
            source.attach(self)
            if not source.audio:
                source.request_key(now)

    def restart(self, source: Ingress, now: float) -> None:
        """The sender began anew: wait for a key frame again."""
        if source is not self.source:
            return
        self._end()
        if source is self.wanted:
            source.attach(self)
            source.request_key(now)

    def _end(self) -> None:
        if self.source is not None:
            self.source.detach(self)
        self._before.appendleft(self._now)
        self._now = Stretch(None, 0, 0, self._out + 1)

    def _begin(self, source: Ingress, packet: rtp.Packet, number: int, picture: rtp.Picture, now: float) -> Stretch:
        if self.source is not None:
            self.source.detach(self)
        self._before.appendleft(self._now)
        stretch = Stretch(source, self.types[source.codec], number, self._out + 1)
        elapsed = max(1, int((now - self._last) * self.clock)) if self._last else 0
        stretch.ts = self._ts + elapsed - packet.ts
        stretch.picture = self._picture + 1 - picture.id
        stretch.tl0 = self._tl0 + 1 - picture.tl0
        self._now = stretch
        self.switches += 1
        return stretch

    # --- packets ----------------------------------------------------------------------------------------------------

    def forward(self, source: Ingress, packet: rtp.Packet, number: int, picture: rtp.Picture, now: float) -> None:
        """Take a packet of a stream this slot is attached to."""
        stretch = self._now
        if source is not stretch.source:
            if source is not self.wanted or not (picture.key or source.audio) or self._srtp is None:
                return
            stretch = self._begin(source, packet, number, picture, now)
        elif number < stretch.first:
            return
        self._send(stretch, packet, number, picture, now)
        if number + stretch.seq > self._out:
            self._out = number + stretch.seq
            self._ts = packet.ts + stretch.ts
            self._last = now
            if picture.id_at or picture.tl0_at:
                self._picture = picture.id + stretch.picture
                self._tl0 = picture.tl0 + stretch.tl0

    def resend(self, seqs: Iterable[int], now: float) -> None:
        """Answer a loss report from the cache of the stream that was shown then."""
        self._credit = min(_RESENDS, self._credit + (now - self._credit_at) * _RESENDS)
        self._credit_at = now
        for seq in seqs:
            if self._credit < 1:
                return
            out = rtp.unwrap(seq, self._out)
            stretch = next((s for s in (self._now, *self._before) if out >= s.first_out), None)
            packet = stretch.source.cached(out - stretch.seq) if stretch and stretch.source else None
            if stretch is not None and packet is not None and out <= self._out:
                self._credit -= 1
                self.resent += 1
                picture = rtp.vp8_picture(packet.payload) if stretch.vp8 else rtp.NO_PICTURE
                for _ in range(1 + (out in self._again)):  # asked for twice: the first copy was lost as well
                    self._send(stretch, packet, out - stretch.seq, picture, now)
                self._again.append(out)

    def _send(self, stretch: Stretch, packet: rtp.Packet, number: int, picture: rtp.Picture, now: float) -> None:
        """Write the packet with this viewer's numbers, encrypt it in place, send it. The dearest lines of all."""
        srtp, path, payload = self._srtp, self._path, packet.payload
        if srtp is None or path is None or path.address is None or len(payload) > _MAX_PAYLOAD:
            return
        kind = stretch.kind | 0x80 if packet.marker else stretch.kind
        seq, ts = number + stretch.seq & 0xFFFF, packet.ts + stretch.ts & 0xFFFFFFFF
        if self._time_word:
            at = rtp.TIMED_HEADER
            rtp.write_timed(scratch, kind, seq, ts, self.ssrc, self._time_word | int(now * 262144) & 0xFFFFFF)
        else:
            at = rtp.PLAIN_HEADER
            rtp.write_plain(scratch, kind, seq, ts, self.ssrc)
        size = at + len(payload)
        scratch[at:size] = payload
        if stretch.vp8:
            rtp.write_picture(scratch, at, picture, picture.id + stretch.picture, picture.tl0 + stretch.tl0)
        path.send_to(scratch[: srtp.protect(size)], path.address)
        self.packets += 1
        self.octets += len(payload)

    # --- reports ----------------------------------------------------------------------------------------------------

    def sender_report(self, now: float) -> bytes:
        """An SR with the present time in the slot's own clock; empty when nothing is being shown."""
        if self.source is None or not self._last:
            return b""
        ts = self._ts + int((now - self._last) * self.clock)
        report = rtcp.sender_report(self.ssrc, rtcp.ntp_time(time.time()), ts, self.packets, self.octets)
        return report + rtcp.description(self.ssrc, self.label)

    def count(self, now: float) -> None:
        """Work out the bit rate since the last call."""
        octets, when = self._counted
        if when and now > when:
            self.bitrate = int((self.octets - octets) * 8 / (now - when))
        self._counted = (self.octets, now)
