"""What a room needs of those in it, so that a browser and the room's own camera and microphone can both be members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from conference.ingress import Ingress
from conference.router import Layer


class UpTrack(Protocol):
    """What a client sends: one voice or one picture, in one or more layers."""

    audio: bool
    screen: bool

    def layers(self, now: float) -> tuple[Layer, ...]:
        """Qualities on offer, lowest first; one not sent has no bit rate."""
        ...

    def stream(self, layer: int) -> Ingress | None:
        """Packets of one layer."""
        ...

    def live(self, now: float) -> bool:
        """Whether anything came of late."""
        ...

    def take_level(self) -> int:
        """Loudest level since the last call, in dB below full scale; 127 for silence or a picture."""
        ...


class DownTrack(Protocol):
    """What a client receives: one slot."""

    bitrate: int

    @property
    def source(self) -> Ingress | None:
        """The stream that is being forwarded."""
        ...

    def able(self, source: Ingress) -> bool:
        """Whether the client takes the stream's codec."""
        ...

    def switch(self, source: Ingress | None, now: float) -> None:
        """Show another stream from its next key frame on; None pauses, the last picture stays."""
        ...


class Client(Protocol):
    """A member's media."""

    @property
    def up(self) -> Sequence[UpTrack]:
        """What it sends."""
        ...

    @property
    def video(self) -> Sequence[DownTrack]:
        """Slots for pictures, the stage first."""
        ...

    @property
    def audio(self) -> Sequence[DownTrack]:
        """Slots for voices."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...

    def connected(self) -> bool:
        """Whether media can flow."""
        ...

    def budget(self) -> int:
        """Bits per second that its line carries towards it."""
        ...

    def quality(self) -> tuple[float, float, int]:
        """Share lost upwards and downwards, and the round trip in milliseconds."""
        ...
