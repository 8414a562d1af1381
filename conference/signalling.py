"""The conversation with one page over its WebSocket. What may be said is in messages.py.

Each kind of message to the page is a whole state, so of each kind only the latest waits to be sent: a slow page gets
fewer messages, never old ones, and nothing grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from conference import messages, sdp
from conference.meetings import Meetings
from conference.member import Member
from conference.messages import ToPage
from conference.peer import Peer
from conference.room import Room
from conference.tickets import Refused

HELLO_TIME = 8.0
"""Seconds in which a page must say hello."""
_SEND_TIME = 10.0
"""Seconds after which a page that takes nothing is given up."""

log = logging.getLogger(__name__)


class Outbox:
    """What waits to be sent to one page: at most one message of each kind, a newer one replaces it."""

    def __init__(self) -> None:
        """Empty."""
        self._waiting: dict[type, ToPage] = {}
        self._some = asyncio.Event()

    def put(self, message: ToPage) -> None:
        """Send soon."""
        self._waiting.pop(type(message), None)
        self._waiting[type(message)] = message
        self._some.set()

    async def take(self) -> list[ToPage]:
        """All that waits, oldest first."""
        await self._some.wait()
        self._some.clear()
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken


class Conversation:
    """One page."""

    def __init__(
        self, meetings: Meetings, socket: web.WebSocketResponse, entered: Callable[[], None] = lambda: None
    ) -> None:
        """`socket` is open; `entered` is called when its page has a seat."""
        self._meetings = meetings
        self._socket = socket
        self._outbox = Outbox()
        self._room: Room | None = None
        self._member: Member | None = None
        self._credit = float(messages.BURST)
        self._credit_at = time.monotonic()
        self._tell = self._outbox.put
        self._entered = entered

    async def run(self) -> None:
        """Talk until the page goes or is sent away."""
        try:
            async with asyncio.timeout(HELLO_TIME):
                first = await self._receive()
            if isinstance(first, messages.Hello):
                self._enter(first)
                await self._talk()
        except (Refused, sdp.BadOffer, msgspec.DecodeError, TimeoutError) as error:
            await self._refuse(error)
        finally:
            if self._room is not None and self._member is not None:
                self._meetings.on_page_lost(self._room, self._member, self._tell)
            await self._socket.close(code=WSCloseCode.GOING_AWAY)

    def _enter(self, hello: messages.Hello) -> None:
        settings = self._meetings.settings
        if hello.v != messages.VERSION:
            raise Refused("version")
        room, member = self._meetings.admit(hello.ticket, hello.room, hello.name.strip()[:60], hello.seat)
        self._room, self._member = room, member
        member.page = True
        member.tell = self._tell
        member.drop = lambda reason: self._outbox.put(messages.Refusal(reason))
        self._outbox.put(
            messages.Welcome(
                v=messages.VERSION,
                you=member.id,
                seat=member.seat,
                room=room.name,
                role=member.ticket.role,
                name=member.name,
                video_slots=settings.video_slots,
                audio_slots=settings.audio_slots,
                max_kbit=settings.limits.client_kbit,
                screen_kbit=settings.limits.screen_kbit,
            )
        )
        self._entered()
        self._outbox.put(messages.Renewed(self._meetings.tickets.renewed(member.ticket)))

    async def _talk(self) -> None:
        """Read and write until one of them ends."""
        reading = asyncio.create_task(self._read(), name="page reader")
        writing = asyncio.create_task(self._write(), name="page writer")
        try:
            done, _ = await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _read(self) -> None:
        while (message := await self._receive()) is not None:
            self._pay()
            if not self._handle(message):
                return

    async def _write(self) -> None:
        while True:
            for message in await self._outbox.take():
                async with asyncio.timeout(_SEND_TIME):
                    await self._socket.send_str(messages.encode(message))
                if isinstance(message, messages.Refusal):
                    return

    async def _receive(self) -> messages.FromPage | None:
        """The next message; None when the page has gone. Raises msgspec.DecodeError."""
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            return messages.decode(message.data)
        if message.type is WSMsgType.BINARY:
            raise msgspec.DecodeError("binary message")
        return None

    def _pay(self) -> None:
        """One message of the allowance. Raises Refused when it is used up."""
        now = time.monotonic()
        self._credit = min(messages.BURST, self._credit + (now - self._credit_at) * messages.MESSAGES_PER_SECOND)
        self._credit_at = now
        self._credit -= 1
        if self._credit < 0:
            raise Refused("too_fast")

    def _handle(self, message: messages.FromPage) -> bool:
        """Do what the page asks. False: it said goodbye. What it may not do is refused and changes nothing."""
        room, member = self._room, self._member
        if room is None or member is None or member.tell is not self._tell or member.id not in room.members:
            return False
        try:
            return self._act(room, member, message)
        except Refused as refused:
            if refused.reason != "not_allowed":
                raise
            log.info("not allowed room=%s member=%d message=%s", room.name, member.id, type(message).__name__)
            return True

    def _act(self, room: Room, member: Member, message: messages.FromPage) -> bool:
        match message:
            case messages.Offer(sdp=text, screen=screen):
                self._outbox.put(messages.Answer(self._meetings.connect(room, member, text, screen=screen)))
            case messages.View(heights=heights):
                member.heights = tuple(min(max(height, 0), 4320) for height in heights[:16])
                room.dirty = True
            case messages.State():
                room.set_state(member, message)
            case messages.Hand(up=up):
                room.raise_hand(member, up=up)
            case messages.Floor(member=id):
                room.give_floor(member, id)
            case messages.Spotlight(member=id):
                room.put_on_screens(member, id)
            case messages.Mute(member=id):
                room.mute(member, id)
            case messages.Remove(member=id):
                room.remove(member, id)
            case messages.Stats():
                if isinstance(member.client, Peer):
                    member.client.stats.page = message
            case messages.Leave():
                self._meetings.put_out(room, member, "left")
                return False
            case messages.Hello():
                raise Refused("version")
        return True

    async def _refuse(self, error: Exception) -> None:
        refusal = messages.Refusal("bad_message")
        if isinstance(error, Refused):
            refusal = messages.Refusal(error.reason, error.retry, error.left)
        elif isinstance(error, sdp.BadOffer):
            refusal = messages.Refusal("bad_offer")
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_SEND_TIME):
                await self._socket.send_str(messages.encode(refusal))
