"""All meetings of the box: rooms, those who may enter, their connections and the clock that drives them.

One port, one certificate, one task per connection and one clock. Newcomers are turned away before the machine is full;
those inside keep their seat.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from conference import dtls, mux, sdp
from conference.addresses import Addresses
from conference.admission import Admission
from conference.codes import Codes
from conference.member import Member
from conference.messages import Renewed
from conference.peer import Box, Peer
from conference.room import Room
from conference.settings import Settings
from conference.tickets import Refused, SentOut, Ticket, Tickets

TICK = 0.025
"""Seconds between turns of the clock."""
_ROOM_TURNS, _SECOND_TURNS, _QUALITY_TURNS, _RENEW_TURNS = 4, 40, 80, 4800

log = logging.getLogger(__name__)


class Load(msgspec.Struct):
    """How busy the machine is."""

    packets_per_second: int = 0
    """Sent."""
    received_per_second: int = 0
    lag_ms: float = 0.0
    """99th percentile of the last ten seconds."""


class Meetings:
    """The rooms."""

    def __init__(self, settings: Settings, addresses: Addresses, port: socket.socket) -> None:
        """`port` is the bound UDP socket; `addresses` are told to browsers."""
        limits = settings.limits
        self.settings = settings
        self.addresses = addresses
        self.tickets = Tickets(settings.tickets)
        self.codes = Codes(settings.tickets)
        self.mux = mux.Mux(port)
        self.rooms: dict[str, Room] = {}
        self.peers: list[Peer] = []
        self.load = Load()
        self.admission = Admission(limits.packets_per_second)
        self._box = Box(
            mux=self.mux,
            certificate=dtls.new_certificate(),
            addresses=addresses,
            codecs=settings.video_codecs,
            gcm=settings.srtp == "gcm",
            video_slots=settings.video_slots,
            audio_slots=settings.audio_slots,
            camera_bitrate=limits.client_kbit * 1000,
            screen_bitrate=limits.screen_kbit * 1000,
            viewer_bitrate=limits.viewer_kbit * 1000,
        )
        self.beat: Callable[[], None] = lambda: None
        """Called once a second while the clock runs: for a watchdog."""
        self._tasks: asyncio.TaskGroup | None = None
        self._lags: deque[float] = deque(maxlen=400)
        self._counted = (0, 0)

    async def run(self) -> None:
        """Carry media until cancelled."""
        self.mux.start()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._clock(), name="meeting clock")
        finally:
            self._tasks = None
            self.mux.close()

    # --- coming in --------------------------------------------------------------------------------------------------

    def admit(self, token: str, room_name: str, name: str = "", seat: str = "") -> tuple[Room, Member]:
        """A seat for the bearer of a ticket. Raises Refused."""
        room = self.rooms.get(room_name)
        ticket = self.tickets.read(token, room_name, seated=True)
        kept = room is not None and room.keeps(ticket, seat)
        if not kept:
            ticket = self.tickets.read(token, room_name)
        if room_name not in self.settings.rooms():
            raise Refused("no_room")
        if room is None or not room.holds(ticket, seat):
            self._must_have_place()
        if room is None:
            limits = self.settings.limits
            room = self.rooms[room_name] = Room(
                room_name,
                waiting=self._waits(room_name),
                site_bitrate=limits.site_kbit * 1000,
                bitrate=limits.room_kbit * 1000,
            )
            room.sent_out = self._keep_out
        member = room.join(ticket, name, seat)
        log.info("member in room=%s member=%d role=%s site=%s", room_name, member.id, ticket.role, ticket.site)
        return room, member

    def _keep_out(self, ticket: Ticket) -> None:
        """Who was sent out stays out, also when the room was empty meanwhile or the box started anew."""
        sent_out = self.tickets.send_out(ticket)
        if self._tasks is not None:
            self._tasks.create_task(self._write(sent_out), name=f"sent out {ticket.id}")

    async def _write(self, sent_out: SentOut) -> None:
        """The disk may be slow: media goes on meanwhile."""
        try:
            await asyncio.to_thread(self.tickets.keep, sent_out)
        except OSError as error:
            log.warning("sent out until a restart only ticket=%s error=%s", sent_out.id, error)

    def _must_have_place(self) -> None:
        inside = sum(len(room.members) for room in self.rooms.values())
        full = inside >= self.settings.limits.clients
        if full or not self.admission.open:
            self.admission.turned_away += 1
            raise Refused("full" if full else "busy", retry=30)

    def _waits(self, room: str) -> bool:
        """A planned meeting that has not begun waits for its chair."""
        now = datetime.now(UTC)
        coming = self.settings.next_meeting(now)
        return coming is not None and coming.room == room and coming.start > now

    def connect(self, room: Room, member: Member, text: str, *, screen: str = "", watch: bool = False) -> str:
        """Answer an offer: media flows as soon as the client has dialled. Raises sdp.BadOffer or Refused."""
        if self._tasks is None:
            raise Refused("closing")
        if screen and member.ticket.role == "guest":
            screen = ""
        former = member.client
        peer = Peer(self._box, sdp.parse(text), screen=screen, watch=watch)
        if former is not None:
            former.close()
        peer.changed = room.changed
        member.client = peer
        self.peers.append(peer)
        self._tasks.create_task(self._carry(room, member, peer), name=f"peer {room.name}/{member.id}")
        room.changed()
        return peer.answer

    async def _carry(self, room: Room, member: Member, peer: Peer) -> None:
        """One connection from its offer to its end."""
        try:
            await peer.run()
        except (dtls.HandshakeFailed, TimeoutError) as error:
            log.info("client not reached room=%s member=%d error=%s", room.name, member.id, error or "no answer")
        finally:
            self.peers.remove(peer)
            if member.client is peer:
                member.client = None
                if not member.page and member.id in room.members:
                    room.lost(member, time.monotonic())
            room.changed()

    # --- clock ------------------------------------------------------------------------------------------------------

    async def _clock(self) -> None:
        turn, due = 0, time.monotonic()
        while True:
            due += TICK
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            self._lags.append(now - due)
            if now - due > 1:
                due = now
            turn += 1
            self._turn(turn, now)

    def _turn(self, turn: int, now: float) -> None:
        for at, peer in enumerate(self.peers):
            peer.fast(now)
            if (turn + at) % _SECOND_TURNS == 0:
                peer.slow(now)
        for room in self.rooms.values():
            if turn % _ROOM_TURNS == 0:
                room.tick(now, turn // _ROOM_TURNS)
            elif room.dirty:
                room.settle(now)
        if turn % _SECOND_TURNS == 0:
            self._measure()
            self.beat()
        if turn % _QUALITY_TURNS == 0:
            self._inspect()
        if turn % _RENEW_TURNS == 0:
            self._renew()

    def _renew(self) -> None:
        """Fresh tickets for those inside."""
        for room in self.rooms.values():
            for member in room.members.values():
                member.tell(Renewed(self.tickets.renewed(member.ticket)))

    def _measure(self) -> None:
        sent, received = self.mux.sent, self.mux.received
        self.load.packets_per_second = sent - self._counted[0]
        self.load.received_per_second = received - self._counted[1]
        self._counted = (sent, received)
        ordered = sorted(self._lags)
        self.load.lag_ms = round(1000 * ordered[int(len(ordered) * 0.99)], 1) if ordered else 0.0
        self.admission.measure(self.load.packets_per_second, self.load.lag_ms)

    def _inspect(self) -> None:
        """Tell everyone their line; put out those whose ticket was revoked; forget empty rooms."""
        for name, room in list(self.rooms.items()):
            room.tell_quality()
            if room.waiting and not self._waits(name):
                room.begin()
            for member in list(room.members.values()):
                if self.tickets.is_revoked(member.ticket.id):
                    self.put_out(room, member, "revoked")
            if not room.members:
                del self.rooms[name]

    def put_out(self, room: Room, member: Member, reason: str) -> None:
        """End a member's stay."""
        log.info("member out room=%s member=%d reason=%s", room.name, member.id, reason)
        member.drop(reason)
        room.leave(member)

    def on_page_lost(self, room: Room, member: Member, tell: Callable[..., None]) -> None:
        """The page of a member is gone without a goodbye: media ends, the seat is kept."""
        if member.tell is tell and member.id in room.members:
            log.info("member lost room=%s member=%d", room.name, member.id)
            room.lost(member, time.monotonic())
