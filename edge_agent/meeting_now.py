"""What the control socket says of the meeting as it is now; apart, so that the terminal imports no more than this."""

from __future__ import annotations

import msgspec


class MemberNow(msgspec.Struct, frozen=True):
    """One who takes part: by site, never by the person's name."""

    id: int
    site: str
    role: str
    connected: bool
    away: bool
    """The line is lost, the seat kept."""
    weak: bool
    """Gets sound only, for the line carries no more."""
    voice: bool
    """The microphone is open."""
    picture: bool
    level: int
    """Loudness in dB below full scale; 127: silence."""
    speaks: bool
    up_kbit: int
    down_kbit: int
    loss_pct: float
    """The highest of what it is sent."""
    rtt_ms: int


class RoomNow(msgspec.Struct, frozen=True):
    """One room in which somebody is."""

    name: str
    waiting: bool
    """The chair has not opened it yet."""
    members: list[MemberNow]


class MeetingNow(msgspec.Struct, frozen=True):
    """GET /meeting."""

    state: str
    """off (not configured), down (its service does not answer), empty, live."""
    error: str = ""
    """Of `down`."""
    page: str = ""
    """Address of the page; empty where only the meeting's service could tell it."""
    rooms: list[RoomNow] = []
