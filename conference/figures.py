"""What the meeting says of itself in its status; metrics.py has the same for Prometheus. Neither names people."""

from __future__ import annotations

import time

import msgspec

from conference.codes import Guesses
from conference.ingress import Ingress
from conference.meetings import Load, Meetings
from conference.member import Member
from conference.messages import Stats
from conference.peer import Peer
from conference.room import Room
from conference.rtp import SILENCE
from conference.slot import Slot
from conference.tickets import page


class Up(msgspec.Struct, frozen=True):
    """One incoming stream."""

    kind: str
    layer: int
    codec: str
    kbit: int
    loss: float
    packets: int
    repaired: int
    keys: int


class Down(msgspec.Struct, frozen=True):
    """One slot."""

    label: str
    shows: int
    """Member, 0 for nobody."""
    layer: int
    kbit: int
    loss: float
    packets: int
    resent: int
    switches: int
    freezes: int
    """Of the picture, as the browser counted them."""


class Client(msgspec.Struct, frozen=True):
    """One member."""

    id: int
    site: str
    role: str
    connected: bool
    away: bool
    weak: bool
    rtt_ms: int
    budget_kbit: int
    nacks: int
    key_requests: int
    refused: int
    mic: bool
    camera: bool
    screen: bool
    hand: bool
    level: int
    """Smoothed loudness in dB below full scale, as the room follows it: 0 loudest, 127 silence."""
    up: tuple[Up, ...]
    down: tuple[Down, ...]
    page: Stats
    """What the browser counts."""


class RoomStatus(msgspec.Struct, frozen=True):
    """One room."""

    name: str
    waiting: bool
    speaker: int
    """Who speaks, or spoke last; 0: nobody yet."""
    spotlight: int
    """Who is on every screen; 0: nobody."""
    floor: int
    """Who was given the floor; 0: nobody."""
    members: tuple[Client, ...]


class Port(msgspec.Struct, frozen=True):
    """The UDP port, in datagrams since the start."""

    number: int
    received: int
    sent: int
    dropped: int
    strays: int


class Status(msgspec.Struct, frozen=True):
    """The whole."""

    load: Load
    pages: tuple[str, ...]
    """Where browsers find the page: one address for each of the box's own."""
    port: Port
    connections_refused: int
    admitting: bool
    """Newcomers are let in: the machine is not too busy for more."""
    turned_away: int
    """Newcomers for whom there was no place, since the start."""
    guesses: Guesses
    """At meeting codes."""
    rooms: tuple[RoomStatus, ...]


def status(meetings: Meetings, connections_refused: int) -> Status:
    """How things are now."""
    now = time.monotonic()
    port = meetings.mux
    rooms = tuple(_room(room, now) for room in meetings.rooms.values())
    return Status(
        load=meetings.load,
        pages=tuple(page(address, port.port) for address in meetings.addresses.now()),
        port=Port(port.port, port.received, port.sent, port.dropped, port.strays),
        connections_refused=connections_refused,
        admitting=meetings.admission.open,
        turned_away=meetings.admission.turned_away,
        guesses=meetings.codes.guesses(),
        rooms=rooms,
    )


def _room(room: Room, now: float) -> RoomStatus:
    loudness = room.speakers.loudness
    members = tuple(_client(m, round(SILENCE - loudness.get(m.id, 0.0)), now) for m in room.members.values())
    speaker = room.speakers.recent[0] if room.speakers.recent else 0
    return RoomStatus(room.name, room.waiting, speaker, room.spotlight, room.floor, members)


def _client(member: Member, level: int, now: float) -> Client:
    peer = member.client if isinstance(member.client, Peer) else None
    counts = peer.stats if peer else None
    return Client(
        id=member.id,
        site=member.ticket.site,
        role=member.ticket.role,
        connected=peer is not None and peer.connected(),
        away=member.away_since is not None,
        weak=member.weak,
        rtt_ms=round(peer.round_trip * 1000) if peer else 0,
        budget_kbit=peer.budget() // 1000 if peer else 0,
        nacks=counts.nacks if counts else 0,
        key_requests=counts.key_requests if counts else 0,
        refused=counts.refused if counts else 0,
        mic=member.state.mic,
        camera=member.state.camera,
        screen=member.state.screen,
        hand=member.hand > 0,
        level=level,
        up=_ups(peer, now) if peer else (),
        down=_downs(peer, member) if peer else (),
        page=counts.page if counts else Stats(),
    )


def _ups(peer: Peer, now: float) -> tuple[Up, ...]:
    found = []
    for track in peer.up:
        kind = "voice" if track.audio else "screen" if track.screen else "camera"
        found += [_up(kind, at, s) for at, s in enumerate(track.streams) if s is not None and s.live(now)]
    return tuple(found)


def _up(kind: str, layer: int, stream: Ingress) -> Up:
    counts = stream.counts
    rate, loss = stream.bitrate // 1000, round(stream.fraction, 3)
    return Up(kind, layer, stream.codec, rate, loss, counts.packets, counts.repaired, counts.keys)


def _downs(peer: Peer, member: Member) -> tuple[Down, ...]:
    found, freezes = [], peer.stats.page.by_slot
    for at, slot in enumerate(peer.video):
        feed = member.pictures[at] if at < len(member.pictures) else None
        layer = member.layers[at] if at < len(member.layers) else None
        frozen = freezes[at] if at < len(freezes) else 0
        found.append(_down(slot, (feed or 0) // 2, -1 if layer is None else layer, frozen))
    for at, slot in enumerate(peer.audio):
        found.append(_down(slot, (member.voices[at] if at < len(member.voices) else 0) or 0, 0, 0))
    return tuple(found)


def _down(slot: Slot, shows: int, layer: int, freezes: int) -> Down:
    loss = round(slot.fraction, 3)
    rate = slot.bitrate // 1000
    return Down(slot.label, shows, layer, rate, loss, slot.packets, slot.resent, slot.switches, freezes)
