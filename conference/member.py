"""Someone in a room: the seat, what speaks for it, and what it sees and hears."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from conference.messages import State, ToPage
from conference.ports import Client, UpTrack
from conference.tickets import Role, Ticket

_LEADERS: tuple[Role, ...] = ("chair", "secretary")


class Member:
    """Someone with a seat."""

    def __init__(self, id: int, ticket: Ticket, name: str) -> None:
        """A fresh seat; `id` counts from 1 in each room."""
        self.id = id
        self.ticket = ticket
        self.name = name
        self.seat = secrets.token_urlsafe(12)
        self.client: Client | None = None
        self.page = False
        """Has a page; a standard client has none."""
        self.tell: Callable[[ToPage], None] = lambda _message: None
        """Gives a message to the member's page."""
        self.drop: Callable[[str], None] = lambda _reason: None
        """Closes the member's page and media; the reason goes to the page."""
        self.state = State(mic=False, camera=False)
        self.hand = 0
        """When the hand went up, counted per room; 0: down."""
        self.away_since: float | None = None
        self.heights: tuple[int, ...] = ()
        self.pictures: list[int | None] = []
        """Feed in each video slot."""
        self.layers: list[int | None] = []
        self.unable: set[int] = set()
        """Video slots whose picture the client has no codec for."""
        self.voices: list[int | None] = []
        """Member in each audio slot."""
        self.weak = False
        self.hushed = False
        """A standard client that was silenced for another's floor: nobody at its end could switch it on again."""

    def without_page(self) -> None:
        """No page speaks for the seat any more; a standard client may."""
        self.page = False
        self.tell = lambda _message: None
        self.drop = lambda _reason: None

    @property
    def leads(self) -> bool:
        """Whether the member may give the floor, mute and remove."""
        return self.ticket.role in _LEADERS

    def track(self, *, audio: bool = False, screen: bool = False) -> UpTrack | None:
        """What the member sends of one kind."""
        tracks = self.client.up if self.client is not None else ()
        return next((t for t in tracks if t.audio is audio and t.screen is screen), None)
