"""WHIP in (RFC 9725) and WHEP out: standard clients send to a room and watch it, with the same tickets.

A session is a member without a page: its offer comes by POST, its end by DELETE or when the media stops. The box is
ICE-lite, so a client's candidates do not matter, and there is no ICE restart: a client begins anew with its ticket.
"""

from __future__ import annotations

import asyncio
import re
import secrets

import msgspec
from aiohttp import web

from conference import sdp
from conference.meetings import Meetings
from conference.member import Member
from conference.messages import State
from conference.ports import Client
from conference.room import Room
from conference.tickets import Refused

BODY_TIME = 8.0
_TYPE = "application/sdp"
_FRAGMENT = "application/trickle-ice-sdpfrag"
_UFRAG = re.compile(rb"^a=ice-ufrag:(\S+)", re.MULTILINE)
STATUS = {"full": 503, "busy": 503, "no_room": 404, "closing": 503}
"""HTTP status of a refusal; all others are 403, a bad ticket 401."""


class Session(msgspec.Struct, frozen=True, eq=False):
    """One standard client."""

    room: Room
    member: Member
    client: Client | None
    """Its media. When the member has another, this session was taken over and may end nothing."""
    ufrag: str
    """Of its offer."""

    @property
    def over(self) -> bool:
        """Its media has ended, or somebody else has the seat."""
        return self.member.client is not self.client or self.client is None

    def leave(self) -> None:
        """Give up the seat, if it is still this session's."""
        if not self.member.page and self.member.client in (self.client, None):
            self.room.leave(self.member)


class Standard:
    """The HTTP side of WHIP and WHEP."""

    def __init__(self, meetings: Meetings) -> None:
        """No sessions yet."""
        self._meetings = meetings
        self._sessions: dict[str, Session] = {}

    def routes(self) -> list[web.RouteDef]:
        """Where it is reached."""
        return [
            web.post("/whip/{room}", self._whip),
            web.post("/whep/{room}", self._whep),
            web.options("/whip/{room}", self._options),
            web.options("/whep/{room}", self._options),
            web.patch("/session/{id}", self._patch),
            web.delete("/session/{id}", self._delete),
        ]

    async def _whip(self, request: web.Request) -> web.Response:
        return await self._begin(request, watch=False)

    async def _whep(self, request: web.Request) -> web.Response:
        return await self._begin(request, watch=True)

    async def _begin(self, request: web.Request, *, watch: bool) -> web.Response:
        if request.content_type != _TYPE:
            return web.Response(status=415, text="application/sdp is needed")
        text = (await body(request)).decode("utf-8", "replace")
        self._forget_ended()
        try:
            room, member = self._meetings.admit(_bearer(request), request.match_info["room"])
            answer = self._answered(room, member, text, watch=watch)
        except Refused as refused:
            status = 401 if refused.reason == "invalid" else STATUS.get(refused.reason, 403)
            return web.Response(status=status, text=refused.reason, headers=_retry(refused))
        except sdp.BadOffer as error:
            return web.Response(status=400, text=f"bad offer: {error}")
        id = secrets.token_urlsafe(16)
        self._sessions[id] = Session(room, member, member.client, sdp.parse(text).ufrag)
        return web.Response(status=201, text=answer, content_type=_TYPE, headers={"Location": f"/session/{id}"})

    def _answered(self, room: Room, member: Member, text: str, *, watch: bool) -> str:
        try:
            answer = self._meetings.connect(room, member, text, watch=watch)
        except sdp.BadOffer:
            room.leave(member)
            raise
        room.set_state(member, State(mic=not watch, camera=not watch))
        return answer

    async def _options(self, _request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"Accept-Post": _TYPE})

    async def _patch(self, request: web.Request) -> web.Response:
        """Candidates are not needed; an ICE restart is not supported (RFC 9725 4.3.1): 422."""
        session = self._sessions.get(request.match_info["id"])
        if session is None:
            return web.Response(status=404)
        if request.content_type != _FRAGMENT:
            return web.Response(status=415, text=f"{_FRAGMENT} is needed")
        told = _UFRAG.findall(await body(request))
        restart = any(ufrag != session.ufrag.encode() for ufrag in told)
        return web.Response(status=422 if restart else 204)

    async def _delete(self, request: web.Request) -> web.Response:
        session = self._sessions.pop(request.match_info["id"], None)
        if session is None:
            return web.Response(status=404)
        session.leave()
        return web.Response(status=200)

    def _forget_ended(self) -> None:
        """Sessions whose media has ended give up their seat."""
        for id, session in list(self._sessions.items()):
            if session.over:
                del self._sessions[id]
                session.leave()


async def body(request: web.Request) -> bytes:
    """A request's body; one that does not come in time ends the connection with 408."""
    try:
        async with asyncio.timeout(BODY_TIME):
            return await request.read()
    except TimeoutError:
        late = web.HTTPRequestTimeout()
        late.force_close()
        raise late from None


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused("invalid")
    return token.strip()


def _retry(refused: Refused) -> dict[str, str]:
    return {"Retry-After": str(refused.retry)} if refused.retry else {}
