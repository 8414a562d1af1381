"""Meeting codes of 8 digits, the way in without a link, and the limits on guessing them.

A typed code names no room, so a wrong one counts against the address it came from and against every room whose code it
was compared with. Past either limit nothing is compared for a while; tickets are not touched by that. The codes stand
in the state folder, so the command line and the running meeting share them; who guessed is forgotten at a restart.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from conference.tickets import Refused, Role, replace

DIGITS = 8
TRIES_PER_ADDRESS, ADDRESS_WINDOW = 5, 15 * 60
TRIES_PER_ROOM, ROOM_WINDOW = 30, 3600
"""Wrong codes within so many seconds."""
_MAX_ADDRESSES = 10_000
"""Addresses whose wrong codes are remembered; past it the oldest is forgotten."""
_NO_ROOM = ""
"""Counts the tries made while no room has a code, so that those are answered like all others."""

log = logging.getLogger(__name__)


class Code(msgspec.Struct, frozen=True):
    """One room's code."""

    room: str
    code: str
    expires: float
    role: Role = "guest"
    id: str = ""
    """What it is revoked by, with all who came in by it."""


class Guesses(msgspec.Struct, frozen=True):
    """What guessing there was, for people."""

    wrong: int = 0
    """Wrong codes since the start."""
    turned_away: int = 0
    """Tries that were not looked at any more, since the start."""
    locks: int = 0
    """How often an address or a room came to its limit, since the start."""
    addresses: tuple[str, ...] = ()
    """Whose tries are not looked at now; an IPv6 address stands for its network of 64 bits."""
    rooms: tuple[str, ...] = ()
    """Rooms whose code is not looked at now."""
    last_address: str = ""
    """Who gave the wrong code that led to the latest lock."""
    last_lock: float | None = None
    """Unix seconds."""


class Codes:
    """The codes, and who tried too often."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """`folder` is the one of the tickets."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "codes.json"
        self._clock = clock
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()
        self._by_room: dict[str, deque[float]] = {}
        self._told = Guesses()

    def issue(self, room: str, life: float, role: Role = "guest") -> Code:
        """A new code for `room`, in place of the one it had."""
        kept = [code for code in self._read() if code.room != room]
        code = "".join(secrets.choice("0123456789") for _ in range(DIGITS))
        made = Code(room, code, self._clock() + life, role, secrets.token_urlsafe(6))
        replace(self._path, msgspec.json.encode([*kept, made]))
        return made

    def all(self) -> list[Code]:
        """The codes that are good now."""
        now = self._clock()
        return [code for code in self._read() if code.expires > now]

    def withdraw(self, id: str) -> bool:
        """End a code. False: there is none of this id."""
        found = self._read()
        kept = [code for code in found if code.id != id]
        if len(kept) < len(found):
            replace(self._path, msgspec.json.encode(kept))
        return len(kept) < len(found)

    def enter(self, typed: str, address: str) -> Code:
        """The typed code, for someone at `address`. Raises Refused."""
        now = self._clock()
        origin = network(address)
        wrong = self._of_address(origin, now)
        if len(wrong) >= TRIES_PER_ADDRESS:
            raise self._turned_away(wrong[0] + ADDRESS_WINDOW - now)
        live = self.all()
        rooms = self._of_rooms({code.room for code in live} or {_NO_ROOM}, now)
        open_rooms = {room: tries for room, tries in rooms.items() if len(tries) < TRIES_PER_ROOM}
        if not open_rooms:
            raise self._turned_away(min(tries[0] for tries in rooms.values()) + ROOM_WINDOW - now)
        if found := _match(typed, (code for code in live if code.room in open_rooms)):
            return found
        self._count(origin, wrong, open_rooms, now)
        raise Refused("wrong_code", left=TRIES_PER_ADDRESS - len(wrong))

    def guesses(self) -> Guesses:
        """How things are now."""
        now = self._clock()
        addresses = [a for a, tries in self._by_address.items() if _recent(tries, now - ADDRESS_WINDOW)]
        rooms = [room for room, tries in self._by_room.items() if _recent(tries, now - ROOM_WINDOW)]
        return msgspec.structs.replace(
            self._told,
            addresses=tuple(a for a in addresses if len(self._by_address[a]) >= TRIES_PER_ADDRESS),
            rooms=tuple(sorted(r for r in rooms if r and len(self._by_room[r]) >= TRIES_PER_ROOM)),
        )

    def _count(self, origin: str, wrong: deque[float], rooms: dict[str, deque[float]], now: float) -> None:
        """One wrong code. A lock is one line in the log; the tries behind it are none."""
        wrong.append(now)
        for tries in rooms.values():
            tries.append(now)
        full = [room for room, tries in rooms.items() if len(tries) >= TRIES_PER_ROOM]
        self._told = msgspec.structs.replace(self._told, wrong=self._told.wrong + 1)
        if len(wrong) >= TRIES_PER_ADDRESS:
            self._locked(origin, now)
            log.warning("codes guessed address=%s wrong=%d locked_s=%d", origin, len(wrong), ADDRESS_WINDOW)
        for room in full:
            self._locked(origin, now)
            log.warning("codes guessed room=%s wrong=%d locked_s=%d", room or "-", TRIES_PER_ROOM, ROOM_WINDOW)

    def _locked(self, origin: str, now: float) -> None:
        self._told = msgspec.structs.replace(self._told, locks=self._told.locks + 1, last_address=origin, last_lock=now)

    def _turned_away(self, wait: float) -> Refused:
        self._told = msgspec.structs.replace(self._told, turned_away=self._told.turned_away + 1)
        return Refused("too_many", retry=int(wait) + 1)

    def _of_address(self, origin: str, now: float) -> deque[float]:
        wrong = self._by_address.setdefault(origin, deque())
        self._by_address.move_to_end(origin)
        if len(self._by_address) > _MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        return _recent(wrong, now - ADDRESS_WINDOW)

    def _of_rooms(self, rooms: Iterable[str], now: float) -> dict[str, deque[float]]:
        for gone in [room for room, tries in self._by_room.items() if not _recent(tries, now - ROOM_WINDOW)]:
            del self._by_room[gone]
        return {room: self._by_room.setdefault(room, deque()) for room in rooms}

    def _read(self) -> list[Code]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Code])
        except (FileNotFoundError, msgspec.DecodeError):
            return []


def network(address: str) -> str:
    """What counts as one address: of IPv6 the network that one subscriber has, but each neighbour on the same cable."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address) or found.is_link_local:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found), 64), strict=False))


def _match(typed: str, codes: Iterable[Code]) -> Code | None:
    """The one that was typed, with spaces or not. All are compared: the time does not tell which digits were right."""
    digits = "".join(c for c in typed[:40] if c in "0123456789")
    found = None
    for code in codes:
        if hmac.compare_digest(code.code.encode(), digits.encode()):
            found = code
    return found


def _recent(tries: deque[float], since: float) -> deque[float]:
    """The same, without those up to `since`."""
    while tries and tries[0] <= since:
        tries.popleft()
    return tries
