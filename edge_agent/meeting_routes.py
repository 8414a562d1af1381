"""The part of the control socket that asks the meeting's own socket: a technician sees who is in and who speaks.

What goes into the journal comes every half minute from `drivers/meeting.py`; a microphone wants a look a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from conference.router import Speakers
from conference.rtp import SILENCE
from drivers.http import aiohttp, web
from edge_agent.changes import Refusal, holder, whole
from edge_agent.meeting_config import control_of
from edge_agent.meeting_now import MeetingNow, MemberNow, RoomNow

if TYPE_CHECKING:
    from edge_agent.app import App

PATIENCE = 2.0
"""Seconds for the meeting's answer; the terminal waits four for ours."""
FAULTS = (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError)


class _Up(msgspec.Struct):
    kbit: int


class _Down(msgspec.Struct):
    kbit: int
    loss: float


class _Client(msgspec.Struct):
    id: int
    site: str
    role: str
    connected: bool
    away: bool
    weak: bool
    rtt_ms: int
    up: Sequence[_Up]
    down: Sequence[_Down]
    mic: bool = False
    camera: bool = False
    screen: bool = False
    level: int = SILENCE


class _Room(msgspec.Struct):
    name: str
    waiting: bool
    members: Sequence[_Client]


class _Told(msgspec.Struct):
    rooms: Sequence[_Room]
    pages: Sequence[str] = ()


def routes(app: App) -> list[web.RouteDef]:
    """Its question, and its service started anew."""

    async def of_meeting(_: web.Request) -> web.Response:
        return _json(await meeting_now(app))

    async def restart(request: web.Request) -> web.Response:
        by = holder(app, request)
        refusal = await _restart(app)
        await app.audit.note(by.name, by.user, "restart", "edge-meet", refusal.what if refusal else "done")
        return _json(refusal, 409) if refusal else _json(app.lock.now())

    return whole([web.get("/meeting", of_meeting), web.post("/meeting/restart", restart)])


async def meeting_now(app: App) -> MeetingNow:
    """What goes on, or why nobody can tell."""
    meeting = app.config.meeting
    if meeting is None:
        return MeetingNow("off")
    page = meeting.url or ""
    try:
        async with _asking(control_of(app.config, meeting)) as session, session.get("http://meeting/status") as answer:
            answer.raise_for_status()
            told = msgspec.json.decode(await answer.read(), type=_Told)
    except FAULTS as error:
        return MeetingNow("down", _why(error), page)
    rooms = [RoomNow(room.name, room.waiting, [_member(one) for one in room.members]) for room in told.rooms]
    found = [room for room in rooms if room.members]
    return MeetingNow("live" if found else "empty", "", page or next(iter(told.pages), "").rstrip("/"), found)


def _asking(control: Path) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(str(control), force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE))


def _member(one: _Client) -> MemberNow:
    return MemberNow(
        id=one.id,
        site=one.site,
        role=one.role,
        connected=one.connected,
        away=one.away,
        weak=one.weak,
        voice=one.mic,
        picture=one.camera or one.screen,
        level=one.level,
        speaks=one.mic and one.level <= Speakers.FLOOR,
        up_kbit=sum(stream.kbit for stream in one.up),
        down_kbit=sum(slot.kbit for slot in one.down),
        loss_pct=round(100 * max((slot.loss for slot in one.down), default=0.0), 1),
        rtt_ms=one.rtt_ms,
    )


async def _restart(app: App) -> Refusal | None:
    """Have the meeting end itself, for systemd to start it again; why not, where it does not."""
    if app.config.meeting is None:
        return Refusal("meeting_off", app.text("meet.not_configured", file=str(app.config.file)))
    control = control_of(app.config, app.config.meeting)
    try:
        async with _asking(control) as session, session.post("http://meeting/restart") as answer:
            if answer.status == web.HTTPConflict.status_code:
                return Refusal("unsupervised", app.text("restart.unsupervised", service="edge-meet"))
            answer.raise_for_status()
    except FAULTS as error:
        return Refusal("meeting_down", app.text("restart.meeting_down", error=_why(error)))
    return None


def _why(error: Exception) -> str:
    """In the system's words where it is the system's: aiohttp's own speak of TLS on a socket that has none."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _json(found: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(found), status=status, content_type="application/json")
