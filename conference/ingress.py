"""One incoming stream: one SSRC, one voice or one layer of a picture.

Every packet is put in order, kept for a while for those who miss it, and handed to the slots that show the stream.
Lost ones are asked for again here, once for all viewers; what a viewer lost is answered from the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from conference import rtcp, rtp
from conference.sdp import OPUS, VP8

if TYPE_CHECKING:
    from conference.slot import Slot

CACHE_VIDEO, CACHE_AUDIO = 512, 64
"""Packets kept for resending, a power of two; the oldest are overwritten."""
_MAX_JUMP = 1000
"""A larger step of the sequence number is a new beginning."""
_MAX_MISSING = 200
"""Packets asked for at once; past it the stream waits for a key frame instead."""
_RETRY, _TRIES, _GIVE_UP = 0.04, 8, 0.8
"""Seconds between asking for the same packet, times, and seconds after which it is too late."""
_KEY_INTERVAL = 0.4
"""Seconds between requests for a key frame."""
_ALIVE = 1.5
"""Seconds after its last packet that a stream counts as being sent."""


class Counts(msgspec.Struct):
    """What a stream has seen."""

    packets: int = 0
    octets: int = 0
    repaired: int = 0
    asked: int = 0
    keys: int = 0


class Ingress:
    """The stream."""

    def __init__(self, ssrc: int, codec: str, clock: int, *, level_id: int = 0) -> None:
        """`level_id` is the header extension with the audio level, 0 when there is none."""
        self.ssrc = ssrc
        self.codec = codec
        self.clock = clock
        self.audio = codec == OPUS
        self.slots: tuple[Slot, ...] = ()
        self.highest = -1
        """Extended sequence number, from 65,536 on."""
        self.bitrate = 0
        """Bits per second, over the last second."""
        self.fraction = 0.0
        """Share lost before repair, in the last report."""
        self.level = rtp.SILENCE
        self.last = 0.0
        """Monotonic time of the last packet."""
        self.wants_key = False
        self.ask_key: Callable[[], None] = lambda: None
        """Set by the peer: send a PLI."""
        self.ask_again: Callable[[Sequence[int]], None] = lambda _seqs: None
        """Set by the peer: send a NACK. What is lost is asked for at once: a frame has a quarter of a second until it
        is seen to stand still."""
        self.counts = Counts()
        self._level_id = level_id
        self._size = CACHE_AUDIO if self.audio else CACHE_VIDEO
        self._cache: list[rtp.Packet | None] = [None] * self._size
        self.missing: dict[int, tuple[float, float, int]] = {}
        """Extended sequence number -> missed since, asked last, times asked."""
        self._first = 0
        self._jitter = 0.0
        self._transit = 0.0
        self._last_key_request = 0.0
        self._last_sr = (0, 0.0)
        self._reported = (0, 0)
        self._counted = (0, 0.0)
        self._read = _no_picture if self.audio else rtp.vp8_picture if codec == VP8 else rtp.h264_picture

    # --- packets ----------------------------------------------------------------------------------------------------

    def packet(self, packet: rtp.Packet, now: float) -> None:
        """Take a packet as it came."""
        highest = self.highest
        number = rtp.unwrap(packet.seq, highest) if highest >= 0 else 65_536 + packet.seq
        step = number - highest
        if highest < 0 or not -_MAX_JUMP < step < _MAX_JUMP:
            number = self._begin(packet, number, now)
        elif step > 0:
            self.highest = number
            if step > 1 and not self.audio:
                self._miss(highest + 1, number, now)
        elif not self._late(number):
            return
        counts = self.counts
        counts.packets += 1
        counts.octets += len(packet.payload)
        self._measure(packet.ts, now)
        self._keep(packet, number, now)

    def repaired(self, packet: rtp.Packet, now: float) -> None:
        """Take a packet that was sent again over a retransmission stream; unasked ones are padding and dropped."""
        number = rtp.unwrap(packet.seq, self.highest)
        if self.missing.pop(number, None) is not None:
            self.counts.repaired += 1
            self._keep(packet, number, now)

    def cached(self, number: int) -> rtp.Packet | None:
        """The packet with this extended sequence number, if it is still kept."""
        packet = self._cache[number % self._size]
        return packet if packet is not None and packet.seq == number & 0xFFFF else None

    def _keep(self, packet: rtp.Packet, number: int, now: float) -> None:
        self._cache[number % self._size] = packet
        self.last = now
        picture = self._read(packet.payload)
        if self._level_id:
            level = rtp.audio_level(packet.extensions, self._level_id)
            if level is not None and level < self.level:
                self.level = level
        if picture.key:
            self.wants_key = False
            self.counts.keys += 1
        for slot in self.slots:
            slot.forward(self, packet, number, picture, now)

    def _begin(self, packet: rtp.Packet, number: int, now: float) -> int:
        """The first packet, or one far from those before: the sender began anew."""
        if self.highest >= 0:  # stay above what was forwarded, keep the low 16 bits
            number = (self.highest // 65_536 + 2) * 65_536 + packet.seq
            for slot in self.slots:
                slot.restart(self, now)
        self.highest = self._first = number
        self._reported = (number - 1, self.counts.packets)
        self._first -= self.counts.packets
        self.missing.clear()
        self._transit = 0.0
        return number

    def _miss(self, first: int, after: int, now: float) -> None:
        if after - first + len(self.missing) > _MAX_MISSING:
            self.missing.clear()
            self.request_key(now)
            return
        for number in range(first, after):
            self.missing[number] = (now, now, 1)
        self.counts.asked += after - first
        self.ask_again([number & 0xFFFF for number in range(first, after)])

    def _late(self, number: int) -> bool:
        """A packet behind the newest: True if it is new to us."""
        if self.audio:
            return self.cached(number) is None
        if self.missing.pop(number, None) is None:
            return False
        self.counts.repaired += 1
        return True

    def _measure(self, ts: int, now: float) -> None:
        """Interarrival jitter (RFC 3550 6.4.1), in units of the clock."""
        transit = now * self.clock - ts
        change = abs(transit - self._transit)
        self._transit = transit
        if change < self.clock:
            self._jitter += (change - self._jitter) / 16

    # --- feedback ---------------------------------------------------------------------------------------------------

    def request_key(self, now: float) -> None:
        """Someone needs a key frame: ask at once, but not more often than the interval."""
        self.wants_key = True
        if now - self._last_key_request >= _KEY_INTERVAL:
            self._last_key_request = now
            self.ask_key()

    def overdue(self, now: float) -> list[int]:
        """Sequence numbers to ask for now (16 bits, rising)."""
        asked = []
        for number, (since, last, times) in list(self.missing.items()):
            if now - since > _GIVE_UP or times >= _TRIES:
                del self.missing[number]
            elif now - last >= _RETRY:
                self.missing[number] = (since, now, times + 1)
                asked.append(number)
        self.counts.asked += len(asked)
        return [number & 0xFFFF for number in sorted(asked)]

    def sender_report(self, ntp: int, now: float) -> None:
        """The sender said what time it is."""
        self._last_sr = (ntp >> 16 & 0xFFFFFFFF, now)

    def report(self, now: float) -> rtcp.Report:
        """What we say of the stream, once a second."""
        before, received_before = self._reported
        received = self.counts.packets
        self._reported = (self.highest, received)
        expected = self.highest - before
        lost = max(0, expected - (received - received_before))
        self.fraction = lost / expected if expected > 0 else 0.0
        total = max(0, self.highest + 1 - self._first - received)
        middle, when = self._last_sr
        delay = int((now - when) * 65536) & 0xFFFFFFFF if middle else 0
        fraction = min(255, int(self.fraction * 256))
        return rtcp.Report(self.ssrc, fraction, total, self.highest & 0xFFFFFFFF, int(self._jitter), middle, delay)

    def count(self, now: float) -> None:
        """Work out the bit rate since the last call."""
        octets, when = self._counted
        if now > when and when:
            self.bitrate = int((self.counts.octets - octets) * 8 / (now - when))
        self._counted = (self.counts.octets, now)

    def live(self, now: float) -> bool:
        """Whether packets came of late."""
        return now - self.last < _ALIVE

    def end(self) -> None:
        """The sender is gone: slots that remember this stream hold on to nothing else."""
        self.ask_key = lambda: None
        self.ask_again = lambda _seqs: None
        self._cache = [None] * self._size

    def attach(self, slot: Slot) -> None:
        """Hand packets to a slot from now on."""
        if slot not in self.slots:
            self.slots = (*self.slots, slot)

    def detach(self, slot: Slot) -> None:
        """Hand it no more."""
        self.slots = tuple(other for other in self.slots if other is not slot)


def _no_picture(_payload: bytes) -> rtp.Picture:
    return rtp.NO_PICTURE
