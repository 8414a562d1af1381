"""What page and box say to each other over the WebSocket: JSON objects, each with its kind under `t`.

Described for people in docs/signalling.md; a test holds the two together. A message is at most 96 kB, a description at
most 64 kB; unknown kinds and wrong types end the connection, unknown keys are ignored, so a page may be newer.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

VERSION = 1
MAX_MESSAGE = 98_304
MESSAGES_PER_SECOND, BURST = 20, 60
"""Messages a client may send; beyond it the connection is closed."""


class _Message(msgspec.Struct, frozen=True, tag_field="t", tag=str.lower):
    pass


# --- page to box ------------------------------------------------------------------------------------------------------


class Hello(_Message, frozen=True):
    """First message: who wants in."""

    v: int
    ticket: str
    room: str
    name: str = ""
    """As others shall read it; kept from the ticket when that names a site."""
    seat: str = ""
    """Given by an earlier welcome: back to the same place after a lost connection."""


class Offer(_Message, frozen=True):
    """The browser's description. Sent again only for a new connection after a loss."""

    sdp: str
    screen: str = ""
    """Mid of the section kept for a shared screen."""


class View(_Message, frozen=True):
    """Lines of each video slot on screen, in order; 0: not visible."""

    heights: tuple[int, ...]


class State(_Message, frozen=True):
    """What the person has switched on."""

    mic: bool
    camera: bool
    screen: bool = False


class Hand(_Message, frozen=True):
    """Ask for the floor, or take the hand down."""

    up: bool


class Floor(_Message, frozen=True):
    """Chair or secretary: give the floor to a member (stage for all, others muted), or take it back with 0."""

    member: int


class Spotlight(_Message, frozen=True):
    """Chair or secretary: put a member on every screen, 0 for nobody."""

    member: int


class Mute(_Message, frozen=True):
    """Chair or secretary: silence a member, 0 for all but the chair. The member may switch on again when asked."""

    member: int


class Remove(_Message, frozen=True):
    """Chair or secretary: send a member out."""

    member: int


class Stats(_Message, frozen=True):
    """What the browser counts, every five seconds."""

    rtt_ms: int = 0
    freezes: int = 0
    frames: int = 0
    lost: int = 0
    by_slot: Annotated[tuple[int, ...], msgspec.Meta(max_length=32)] = ()
    """Freezes of each video slot, in order."""


class Leave(_Message, frozen=True):
    """Goodbye: the seat is not kept."""


FromPage = Hello | Offer | View | State | Hand | Floor | Spotlight | Mute | Remove | Stats | Leave


# --- box to page ------------------------------------------------------------------------------------------------------


class Welcome(_Message, frozen=True):
    """You are in."""

    v: int
    you: int
    seat: str
    room: str
    role: str
    name: str
    video_slots: int
    audio_slots: int
    max_kbit: int
    screen_kbit: int


class Renewed(_Message, frozen=True):
    """Your ticket with a fresh life, at the start and every two minutes: use it when you come back."""

    ticket: str


class Answer(_Message, frozen=True):
    """The box's description."""

    sdp: str


class Person(msgspec.Struct, frozen=True):
    """One member, as others see them."""

    id: int
    name: str
    site: str
    role: str
    mic: bool = False
    camera: bool = False
    screen: bool = False
    hand: int = 0
    """Place in the queue for the floor, from 1; 0: no hand."""
    away: bool = False
    """The connection is lost, the seat is kept."""


class Members(_Message, frozen=True):
    """Who is here, and who has the floor."""

    people: tuple[Person, ...]
    spotlight: int = 0
    floor: int = 0
    waiting: bool = False
    """The chair has not opened the meeting yet."""


PAUSED, UNABLE = -1, -2
"""Layers of a slot that gets nothing: the last picture stays; the client has not the picture's codec."""


class Seen(msgspec.Struct, frozen=True):
    """What a video slot shows."""

    member: int
    """0: nothing."""
    screen: bool = False
    layer: int = PAUSED
    """0 the smallest, or PAUSED or UNABLE."""


class Slots(_Message, frozen=True):
    """What each slot shows and lets hear, in the order of the description."""

    video: tuple[Seen, ...]
    audio: tuple[int, ...]
    """Members, 0 for nobody."""
    speaker: int = 0


class Asked(_Message, frozen=True):
    """The chair asks for something: `mute` (done at once), `speak` (please switch on your microphone)."""

    what: str


class Quality(_Message, frozen=True):
    """The line of this client, every two seconds."""

    up_loss: float
    down_loss: float
    """Share of packets lost, 0 to 1."""
    down_kbit: int
    budget_kbit: int
    rtt_ms: int
    weak: bool
    """Pictures are paused to keep the sound."""


class Refusal(_Message, frozen=True):
    """Not let in, or sent out; `reason` names a sentence of the text files."""

    reason: str
    retry: int = 0
    left: int = 0


ToPage = Welcome | Renewed | Answer | Members | Slots | Asked | Quality | Refusal

_decoder: msgspec.json.Decoder[FromPage] = msgspec.json.Decoder(FromPage)
_encoder = msgspec.json.Encoder()


def decode(raw: str | bytes) -> FromPage:
    """A message of the page. Raises msgspec.DecodeError."""
    return _decoder.decode(raw)


def encode(message: ToPage) -> str:
    """A message for the page."""
    return _encoder.encode(message).decode()
