"""What one section of a client's offer brings: a voice, or a picture in one to three layers, held to its cap."""

from __future__ import annotations

import itertools

from conference import rtp, sdp
from conference.ingress import Ingress
from conference.router import Layer
from conference.sdp import Codec, Section

_HEIGHTS = {1: (720,), 2: (360, 720), 3: (180, 360, 720)}
_SCREEN_HEIGHT = 1080
_LEEWAY, _PATIENCE, _HOLD = 1.3, 2, 5
"""Times its cap that a sender may take (key frames come in bursts); seconds above it before, and below it after."""
_GUESSES = (150_000, 450_000, 1_200_000)
"""Bit rate of a layer in its first second, before it was measured."""


class Track:
    """What a section of the offer brings: a voice, or a picture in one to three layers."""

    def __init__(self, section: Section, codecs: tuple[Codec, ...], *, screen: bool = False) -> None:
        """Nothing has come yet."""
        self.section = section
        self.audio = section.kind == "audio"
        self.screen = screen
        self.codecs = {codec.pt: codec for codec in codecs}
        self.repairs = sdp.repair_types(section, codecs)
        self.streams: list[Ingress | None] = [None] * max(1, len(section.rids))
        self.allowed = len(self.streams)
        """Layers that may be passed on; fewer while the sender takes more than it was allowed."""
        self._over = self._held = 0

    def stream(self, layer: int) -> Ingress | None:
        """The packets of a layer."""
        return self.streams[layer] if layer < len(self.streams) else None

    def layers(self, now: float) -> tuple[Layer, ...]:
        """Qualities, lowest first; a layer that is not being sent has no bit rate."""
        heights = (_SCREEN_HEIGHT,) if self.screen else _HEIGHTS[len(self.streams)]
        rates = [self._rate(at, stream, now) for at, stream in enumerate(self.streams[: self.allowed])]
        rates += [0] * (len(self.streams) - len(rates))
        return tuple(Layer(rate, height) for rate, height in zip(rates, heights, strict=False))

    def _rate(self, at: int, stream: Ingress | None, now: float) -> int:
        if stream is None or not stream.live(now):
            return 0
        return stream.bitrate or _GUESSES[at if len(self.streams) > 1 else 1]

    def live(self, now: float) -> bool:
        """Whether packets came of late that may be passed on."""
        return any(stream is not None and stream.live(now) for stream in self.streams[: self.allowed])

    def hold_to(self, most: int, now: float) -> bool:
        """Once a second: who sends more than `most` bits per second for two seconds is heard and seen in fewer layers,
        or not at all, until it has kept within them for five. True when that changed."""
        sums = itertools.accumulate(s.bitrate if s is not None and s.live(now) else 0 for s in self.streams)
        within = sum(1 for total in sums if total <= most * _LEEWAY)
        if within < self.allowed:
            self._over, self._held = self._over + 1, _HOLD
        else:
            self._over, self._held = 0, max(0, self._held - 1) if within > self.allowed else self._held
        before = self.allowed
        if self._over >= _PATIENCE:
            self.allowed, self._over = within, 0
        elif not self._held:
            self.allowed = len(self.streams)
        return self.allowed != before

    def take_level(self) -> int:
        """Loudest level since the last call."""
        stream = self.streams[0]
        if stream is None:
            return rtp.SILENCE
        level, stream.level = stream.level, rtp.SILENCE
        return level


def tracks(offer: sdp.Offer, screen: str, codecs: tuple[str, ...], watch: bool) -> list[Track]:
    """One voice, one camera and one shared screen at most."""
    sending = [s for s in offer.sections if s.sends and not (watch and s.receives) and sdp.usable(s, codecs)]
    voices = [s for s in sending if s.kind == "audio"][:1]
    screens = [s for s in sending if s.kind == "video" and s.mid == screen]
    cameras = [s for s in sending if s.kind == "video" and s.mid != screen][:1]
    tracks = [Track(s, sdp.usable(s, codecs)) for s in (*voices, *cameras)]
    return tracks + [Track(s, sdp.usable(s, codecs), screen=True) for s in screens]
