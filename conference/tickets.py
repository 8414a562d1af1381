"""Tickets: who may enter which room as what.

A ticket is a signed token (JWT, HS256) for one room and one role, good for minutes; a device ticket of the room's PC
lives longer. It is checked at every join and rejoin, and can be revoked. The key and the list of tickets stand in the
state folder, so the command line and the running meeting share them. Codes, the other way in: codes.py.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import jwt
import msgspec

Role = Literal["chair", "secretary", "site", "guest"]
ROLES: tuple[Role, ...] = get_args(Role)

MAX_TOKEN = 2_048
MAX_NAME = 60
"""Letters of a name that others read."""
DEFAULT_LIFE = 15 * 60
"""Seconds a ticket is good for when nothing else is said."""
DEVICE_LIFE = 400 * 86_400
DEVICE_OUT = 12 * 3600
"""Seconds for which the room's PC that was sent out stays out: not this meeting, but the next day's."""


class Refused(Exception):
    """Not let in. `reason` names a sentence of the text files: expired, not_yet, revoked, wrong_room, invalid …"""

    def __init__(self, reason: str, retry: int = 0, left: int = 0) -> None:
        """`retry`: seconds until another try is worth it; `left`: tries left."""
        super().__init__(reason)
        self.reason = reason
        self.retry = retry
        self.left = left


class Ticket(msgspec.Struct, frozen=True):
    """The right to enter one room."""

    id: str
    room: str
    role: Role
    name: str
    """Who it was issued to, as others read it."""
    site: str
    issued: float
    expires: float
    """Unix seconds."""
    device: bool = False
    """For the room's own PC."""


class _Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    jti: str
    room: str
    role: Role
    name: str
    site: str
    iat: float
    exp: float
    nbf: float = 0.0
    """Not good before; ours have none."""
    device: bool = False


class SentOut(msgspec.Struct, frozen=True):
    """The bearer of a ticket was sent out of a room and stays out."""

    id: str
    until: float
    """Unix seconds."""


class _Line(msgspec.Struct, frozen=True):
    """One line of the list: a ticket was issued, the ticket `revoked` was revoked, or its bearer was sent out."""

    ticket: Ticket | None = None
    revoked: str | None = None
    sent_out: SentOut | None = None


class Tickets:
    """Issues, checks, lists and revokes tickets."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """`folder` is made if needed; the signing key is made at first use."""
        folder.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._key = _secret(folder / "ticket.key")
        self._list = folder / "tickets.jsonl"
        self._stamp: tuple[int, int] = (0, 0)
        self._issued: dict[str, Ticket] = {}
        self._revoked: set[str] = set()
        self._out: dict[str, float] = {}

    def issue(
        self, room: str, role: Role, name: str, site: str, *, life: float = DEFAULT_LIFE, device: bool = False
    ) -> str:
        """A new token, entered in the list. Raises ValueError, and lists nothing, where it would not be taken back."""
        now = self._clock()
        ticket = Ticket(secrets.token_urlsafe(9), room, role, name, site, now, now + life, device)
        token = self._token(ticket)
        if len(token) > MAX_TOKEN:
            raise ValueError("too long for a ticket")
        self._append(_Line(ticket=ticket))
        return token

    def passing(self, room: str, role: Role, name: str, site: str, by: str = "") -> str:
        """A token that is not listed: for someone who came by the code with the id `by`, or through an open door."""
        now = self._clock()
        id = f"{by}.{secrets.token_urlsafe(9)}"
        return self._token(Ticket(id, room, role, name, site, now, now + DEFAULT_LIFE))

    def renewed(self, ticket: Ticket) -> str:
        """The same ticket with a fresh life, for someone inside: a restart of the box must not put them out."""
        expires = max(ticket.expires, self._clock() + DEFAULT_LIFE)
        return self._token(msgspec.structs.replace(ticket, expires=expires))

    def read(self, token: str, room: str | None = None, *, seated: bool = False) -> Ticket:
        """The ticket in `token`; `room` is where its bearer wants in. Raises Refused.

        `seated`: the bearer comes back to a seat that is kept, so the ticket may have expired meanwhile, nothing else.
        """
        if len(token) > MAX_TOKEN:
            raise Refused("invalid")
        try:
            raw = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                options={"require": ["exp", "jti"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            claims = msgspec.convert(raw, _Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError) as error:
            raise Refused("invalid") from error
        return self._accepted(claims, room, seated)

    def _accepted(self, claims: _Claims, room: str | None, seated: bool) -> Ticket:
        now = self._clock()
        if max(claims.iat, claims.nbf) > now + 60:
            raise Refused("not_yet")
        if claims.exp <= now and not seated:
            raise Refused("expired")
        if room is not None and claims.room != room:
            raise Refused("wrong_room")
        if self.is_revoked(claims.jti):
            raise Refused("revoked")
        if self._out.get(claims.jti, 0.0) > now:
            raise Refused("removed")
        return Ticket(
            claims.jti, claims.room, claims.role, claims.name, claims.site, claims.iat, claims.exp, claims.device
        )

    def knows(self, id: str) -> bool:
        """Whether a ticket was issued under this id, expired or not: a fresh one may have been given inside."""
        self._refresh()
        return id in self._issued

    def revoke(self, id: str) -> bool:
        """End a ticket by its id, or all that came by the code of this id. False when it was revoked already."""
        if id in self._revocations():
            return False
        self._append(_Line(revoked=id))
        return True

    def is_revoked(self, id: str) -> bool:
        """Whether the ticket was revoked, or the code that its bearer came by; asked for those inside as well."""
        revoked = self._revocations()
        return id in revoked or id.partition(".")[0] in revoked

    def send_out(self, ticket: Ticket) -> SentOut:
        """Refuse the ticket from now on, and every fresh life that it was given. `keep` makes it outlast a restart."""
        now = self._clock()
        until = now + DEVICE_OUT if ticket.device else max(ticket.expires, now + DEFAULT_LIFE)
        self._out[ticket.id] = until
        return SentOut(ticket.id, until)

    def keep(self, sent_out: SentOut) -> None:
        """Write it down; waits for the disk. Raises OSError."""
        self._append(_Line(sent_out=sent_out))

    def all(self) -> list[tuple[Ticket, bool]]:
        """Tickets that were issued and have not expired, with whether each is revoked; latest first."""
        self._refresh()
        now = self._clock()
        live = [ticket for ticket in self._issued.values() if ticket.expires > now]
        return [(ticket, ticket.id in self._revoked) for ticket in sorted(live, key=lambda t: -t.issued)]

    def _token(self, ticket: Ticket) -> str:
        claims = _Claims(
            ticket.id,
            ticket.room,
            ticket.role,
            ticket.name,
            ticket.site,
            ticket.issued,
            ticket.expires,
            device=ticket.device,
        )
        return jwt.encode(msgspec.to_builtins(claims), self._key, algorithm="HS256")

    def _append(self, line: _Line) -> None:
        with self._list.open("ab") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _revocations(self) -> set[str]:
        self._refresh()
        return self._revoked

    def _refresh(self) -> None:
        """Read the list again if another process changed it. A torn last line is skipped."""
        try:
            state = self._list.stat()
        except FileNotFoundError:
            return
        if (state.st_mtime_ns, state.st_size) == self._stamp:
            return
        self._stamp = (state.st_mtime_ns, state.st_size)
        for raw in self._list.read_bytes().splitlines():
            try:
                line = msgspec.json.decode(raw, type=_Line)
            except msgspec.DecodeError:
                continue
            if line.ticket:
                self._issued[line.ticket.id] = line.ticket
            if line.revoked:
                self._revoked.add(line.revoked)
            if line.sent_out:
                self._out[line.sent_out.id] = line.sent_out.until


def page(address: str, port: int) -> str:
    """Where a browser finds the page of the box that has this address."""
    host = f"[{address}]" if ":" in address else address
    return f"https://{host}:{port}/"


def invitation(address: str, port: int, token: str) -> str:
    """The link that carries a ticket; what follows the # is seen by no server."""
    return f"{page(address, port)}#t={token}"


def _secret(path: Path) -> bytes:
    """The key in `path`, made if it is missing or damaged (a damaged one ends all tickets)."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != 32:
        key = secrets.token_bytes(32)
        replace(path, key)
    return key


def replace(path: Path, content: bytes) -> None:
    """Write a private file so that a power cut leaves the old or the new one."""
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
