"""A room: who is in it, as what, who has the floor, and what each sees and hears.

Members come with a ticket and keep their seat for a while when the connection is lost. Nothing here touches packets:
the room asks the router who belongs in which slot and tells the members' clients to switch.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence

from conference import router
from conference.member import Member
from conference.messages import PAUSED, UNABLE, Asked, Members, Person, Quality, Seen, Slots, State
from conference.ports import UpTrack
from conference.router import Feed, Speakers, View
from conference.tickets import MAX_NAME, Refused, Ticket

GRACE = 30.0
"""Seconds a seat is kept after its connection was lost."""
_VOICES = 4
"""Audio slots of a client at most."""
_WEIGH = 5
"""Ticks over which the viewers are spread for weighing their layers."""
_STAGE_HEIGHT, _THUMB_HEIGHT = 720, 180
"""Lines assumed until the page tells how large it shows a slot."""


class Room:
    """The room. Calls come from the signalling and from the clock; both in the one event loop."""

    def __init__(self, name: str, *, waiting: bool = False, site_bitrate: int = 10**9, bitrate: int = 10**9) -> None:
        """`waiting`: nobody is seen or heard before the chair or the secretary is there."""
        self.name = name
        self.waiting = waiting
        self.members: dict[int, Member] = {}
        self.spotlight = 0
        self.floor = 0
        self.speakers = Speakers()
        self.sent_out: Callable[[Ticket], None] = lambda _ticket: None
        """Set by the meetings: the bearer does not come back in."""
        self._site_bitrate = site_bitrate
        self._bitrate = bitrate
        self._ids = self._hands = 0
        self._ranked: list[int] = []
        """Members to be heard, most important first."""
        self.dirty = True
        """Something changed: `settle` should not wait for the next `tick`."""
        self._announce = True

    # --- coming and going -------------------------------------------------------------------------------------------

    def join(self, ticket: Ticket, name: str, seat: str) -> Member:
        """A seat: the one kept, that of the same ticket (its old page is sent away), or a new one."""
        member = self._former(ticket, seat)
        if member is None:
            self._ids += 1
            member = Member(self._ids, ticket, (ticket.name or name or ticket.site)[:MAX_NAME])
            self.members[member.id] = member
        elif member.away_since is None:
            member.drop("taken_over")
            member.without_page()
        member.ticket = ticket
        member.away_since = None
        if member.leads:
            self.begin()
        self.changed()
        return member

    def begin(self) -> None:
        """Nobody waits any more: a leader is there, or the hour has come."""
        self.waiting = False
        self.changed()

    def keeps(self, ticket: Ticket, seat: str) -> bool:
        """Whether this is a seat here of someone with the same role and site."""
        member = next((m for m in self.members.values() if _same(m.seat, seat)), None)
        return member is not None and _fits(member, ticket)

    def holds(self, ticket: Ticket, seat: str) -> bool:
        """Whether the bearer has a place here: by the seat's own word, or by the ticket after the page was reloaded."""
        return self._former(ticket, seat) is not None

    def _former(self, ticket: Ticket, seat: str) -> Member | None:
        for member in self.members.values():
            if member.ticket.id == ticket.id or _same(member.seat, seat):
                return member if _fits(member, ticket) else None
        return None

    def lost(self, member: Member, now: float) -> None:
        """The page is gone; media ends, the seat is kept."""
        self._disconnect(member)
        member.away_since = now
        self.changed()

    def leave(self, member: Member) -> None:
        """The seat is given up."""
        if self.members.pop(member.id, None) is None:
            return
        self.speakers.forget(member.id)
        self.spotlight = 0 if self.spotlight == member.id else self.spotlight
        self.floor = 0 if self.floor == member.id else self.floor
        self._disconnect(member)
        self.changed()

    @staticmethod
    def _disconnect(member: Member) -> None:
        if member.client is not None:
            member.client.close()
            member.client = None

    def changed(self) -> None:
        """Something that others must see has changed: the next turn of the clock tells them."""
        self._announce = self.dirty = True

    # --- procedure --------------------------------------------------------------------------------------------------

    def set_state(self, member: Member, state: State) -> None:
        """The member switched something on or off."""
        member.state = state
        self.changed()

    def raise_hand(self, member: Member, *, up: bool) -> None:
        """Ask for the floor; the queue keeps the order."""
        if up and not member.hand:
            self._hands += 1
            member.hand = self._hands
        elif not up:
            member.hand = 0
        self.changed()

    def give_floor(self, by: Member, id: int) -> None:
        """One act: on every screen, asked to speak, all others silent but those who lead. 0 takes it back."""
        self._must_lead(by)
        self.floor = self.spotlight = id if id in self.members else 0
        for member in self.members.values():
            if member.id == self.floor:
                member.hand = 0
                self._let_speak(member)
            elif self.floor and not member.leads:
                member.hushed = member.hushed or (member.state.mic and not member.page)
                self._silence(member)
            elif member.hushed:
                self._let_speak(member)
        self.changed()

    def put_on_screens(self, by: Member, id: int) -> None:
        """Show a member on every screen; 0 for nobody."""
        self._must_lead(by)
        self.spotlight = id if id in self.members else 0
        self.changed()

    def mute(self, by: Member, id: int) -> None:
        """Silence a member, or with 0 all but those who lead."""
        self._must_lead(by)
        for member in self.members.values():
            if member.id == id or (id == 0 and not member.leads):
                self._silence(member)
        self.changed()

    def remove(self, by: Member, id: int) -> None:
        """Send a member out; the chair cannot be."""
        self._must_lead(by)
        member = self.members.get(id)
        if member is not None and member.ticket.role != "chair":
            member.drop("removed")
            self.sent_out(member.ticket)
            self.leave(member)

    def _silence(self, member: Member) -> None:
        if member.state.mic:
            member.state = State(mic=False, camera=member.state.camera, screen=member.state.screen)
            member.tell(Asked("mute"))

    @staticmethod
    def _let_speak(member: Member) -> None:
        """A page asks who sits before it; a standard client is switched on here."""
        member.tell(Asked("speak"))
        member.hushed = False
        if not member.page:
            member.state = State(mic=True, camera=member.state.camera, screen=member.state.screen)

    @staticmethod
    def _must_lead(member: Member) -> None:
        if not member.leads:
            raise Refused("not_allowed")

    # --- clock ------------------------------------------------------------------------------------------------------

    def tick(self, now: float, turn: int) -> None:
        """Ten times a second: seats, speaker, voices, pictures; the layers of each viewer twice a second."""
        for member in list(self.members.values()):
            if member.away_since is not None and now - member.away_since > GRACE:
                self.leave(member)
        levels = {m.id: self._level(m, now) for m in self.members.values() if m.client is not None}
        spoke = self.speakers.update(levels, now)
        self.dirty = self.dirty or spoke
        self.settle(now, turn)
        if spoke:
            for viewer in self._viewers():
                self._tell_slots(viewer)

    def settle(self, now: float, turn: int = 0) -> None:
        """Give every viewer what belongs in its slots now, and tell who was not told yet."""
        self._voices(now)
        viewers = self._viewers()
        due = viewers if self.dirty else viewers[turn % _WEIGH :: _WEIGH]
        self.dirty = False
        if due:
            self._pictures(due, viewers, now)
        if self._announce:
            self._announce = False
            self._tell_members()

    def _level(self, member: Member, now: float) -> int:
        track = member.track(audio=True)
        if track is None or not member.state.mic or not track.live(now):
            return 127
        return track.take_level()

    def _voices(self, now: float) -> None:
        """The loudest, and a chair that speaks always, into the audio slots of all others."""
        speaking = [m for m in self.members.values() if m.state.mic and not self.waiting and self._heard(m, now)]
        open_ids = {m.id for m in speaking}
        chairs = [m.id for m in speaking if m.ticket.role == "chair" and self.speakers.speaks(m.id)]
        ranked = self.speakers.loudest(chairs, self._ranked[:_VOICES])
        ranked = [id for id in ranked if id in open_ids][: _VOICES + 1]
        if ranked == self._ranked and not self.dirty:
            return
        self._ranked = ranked
        for viewer in self._viewers():
            self._let_hear(viewer, now)

    def _let_hear(self, viewer: Member, now: float) -> None:
        slots = viewer.client.audio if viewer.client is not None else ()
        wanted = [id for id in self._ranked if id != viewer.id][: len(slots)]
        placed = router.place_audio(viewer.voices, wanted, len(slots))
        for slot, id in zip(slots, placed, strict=True):
            track = self.members[id].track(audio=True) if id else None
            slot.switch(track.stream(0) if track is not None else None, now)
        if placed != viewer.voices:
            viewer.voices = placed
            self._tell_slots(viewer)

    @staticmethod
    def _heard(member: Member, now: float) -> bool:
        track = member.track(audio=True)
        return track is not None and track.live(now)

    def _pictures(self, due: Sequence[Member], viewers: Sequence[Member], now: float) -> None:
        feeds = [] if self.waiting else self._feeds(now)
        beside = Counter(viewer.ticket.site for viewer in viewers)
        for viewer in due:
            share = min(self._site_bitrate // beside[viewer.ticket.site], self._bitrate // len(viewers))
            self._show(viewer, feeds, share, now)

    def _feeds(self, now: float) -> list[Feed]:
        """Pictures being sent; those of seats that are kept stay, so they come back to the same slot."""
        feeds = []
        for member in self.members.values():
            for screen, on in ((False, member.state.camera), (True, member.state.screen)):
                track = member.track(screen=screen)
                live = track is not None and track.live(now)
                if on and (live or member.client is None):
                    feeds.append(Feed(member.id * 2 + screen, member.id, screen))
        return feeds

    def _show(self, viewer: Member, feeds: Sequence[Feed], share: int, now: float) -> None:
        """`share`: bits per second that the viewer may take of what its site and the room have."""
        slots = viewer.client.video if viewer.client is not None else ()
        wanted = router.wanted_feeds(viewer.id, feeds, self.spotlight or None, self.speakers.recent, len(slots))
        placed = router.place(viewer.pictures, [feed.id for feed in wanted], len(slots))
        tracks = [self._track_of(feed) for feed in placed]
        views = [View(self._height(viewer, at), t.layers(now) if t else ()) for at, t in enumerate(tracks)]
        budget = min(share, viewer.client.budget() if viewer.client is not None else 0)
        layers = router.choose_layers(budget, views, viewer.layers)
        streams = [
            t.stream(layer) if t and layer is not None else None for t, layer in zip(tracks, layers, strict=True)
        ]
        for slot, stream in zip(slots, streams, strict=True):
            slot.switch(stream, now)
        unable = {at for at, stream in enumerate(streams) if stream is not None and not slots[at].able(stream)}
        viewer.weak = any(
            layer is None and view.height and any(one.bitrate for one in view.layers)
            for layer, view in zip(layers, views, strict=True)
        )
        if (placed, layers, unable) != (viewer.pictures, viewer.layers, viewer.unable):
            viewer.pictures, viewer.layers, viewer.unable = placed, layers, unable
            self._tell_slots(viewer)

    def _track_of(self, feed: int | None) -> UpTrack | None:
        member = self.members.get(feed // 2) if feed is not None else None
        return member.track(screen=bool(feed & 1)) if member is not None and feed is not None else None

    @staticmethod
    def _height(viewer: Member, slot: int) -> int:
        if slot < len(viewer.heights):
            return viewer.heights[slot]
        return _THUMB_HEIGHT if slot else _STAGE_HEIGHT

    def _viewers(self) -> list[Member]:
        return [m for m in self.members.values() if m.client is not None and m.client.connected()]

    # --- telling ----------------------------------------------------------------------------------------------------

    def people(self) -> tuple[Person, ...]:
        """Members as others see them."""
        queue = sorted(m.hand for m in self.members.values() if m.hand)
        return tuple(
            Person(
                id=m.id,
                name=m.name,
                site=m.ticket.site,
                role=m.ticket.role,
                mic=m.state.mic,
                camera=m.state.camera,
                screen=m.state.screen,
                hand=queue.index(m.hand) + 1 if m.hand else 0,
                away=m.away_since is not None,
            )
            for m in self.members.values()
        )

    def _tell_members(self) -> None:
        message = Members(self.people(), self.spotlight, self.floor, self.waiting)
        for member in self.members.values():
            member.tell(message)

    def _tell_slots(self, viewer: Member) -> None:
        pictures = []
        for at, feed in enumerate(viewer.pictures):
            layer = viewer.layers[at] if at < len(viewer.layers) else None
            told = UNABLE if at in viewer.unable else PAUSED if layer is None else layer
            pictures.append(Seen((feed or 0) // 2, bool((feed or 0) & 1), told))
        speaker = self.speakers.recent[0] if self.speakers.recent else 0
        viewer.tell(Slots(tuple(pictures), tuple(voice or 0 for voice in viewer.voices), speaker))

    def tell_quality(self) -> None:
        """Every two seconds: each member's own line."""
        for member in self._viewers():
            if member.client is None:
                continue
            up, down, round_trip = member.client.quality()
            rate = sum(slot.bitrate for slot in (*member.client.video, *member.client.audio))
            budget = member.client.budget() // 1000
            member.tell(Quality(round(up, 3), round(down, 3), rate // 1000, budget, round_trip, member.weak))


def _same(seat: str, told: str) -> bool:
    return secrets.compare_digest(seat.encode(), told.encode())


def _fits(member: Member, ticket: Ticket) -> bool:
    return (member.ticket.role, member.ticket.site) == (ticket.role, ticket.site)
