"""`edge ticket issue|list|revoke`: who may enter which room as what. Works beside the running meeting or without it.

The meeting and these commands share the files in its state folder. They belong to the meeting's user, so root acts as
that user here: a file of root's there could not be read by the meeting.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from pydantic import TypeAdapter, ValidationError

from conference.codes import Codes
from conference.tickets import DEVICE_LIFE, MAX_NAME, Role, Ticket, Tickets, invitation
from drivers.settings import Id
from edge_agent.commands import Wrong
from edge_agent.config import Config
from edge_agent.meet import meeting_of
from edge_agent.meeting_config import Meeting, settings_of
from edge_agent.show import table, terminal_width
from edge_agent.text import DAY, HOUR, MINUTE, Text

TERMINAL = "@terminal"
"""The place that a ticket for `edge tui --serve` opens; no room can be called so."""
USUAL_LIFE = 12 * HOUR
"""Seconds that an invitation is good for when nothing is said: it is sent in the morning for the afternoon."""
UNITS = {"m": MINUTE, "h": HOUR, "d": DAY}
MOST = 400 * DAY


class Issued(msgspec.Struct, frozen=True):
    """What `edge ticket issue` made."""

    room: str
    role: str
    expires: str
    id: str = ""
    link: str = ""
    code: str = ""


class Row(msgspec.Struct, frozen=True):
    """One ticket or code of the list."""

    id: str
    room: str
    role: str
    name: str
    site: str
    expires: str
    device: bool = False
    revoked: bool = False
    code: str = ""
    """A meeting code and no ticket."""


def issue(arguments: argparse.Namespace) -> int:
    """`edge ticket issue`: an invitation link with its QR code, a meeting code, or the ticket of the room's PC."""
    config, meeting, text = meeting_of(arguments)
    life = _life(arguments, text)
    if arguments.port is not None and not arguments.terminal:
        raise Wrong(text("ticket.port_alone"))
    if arguments.name and arguments.code:
        raise Wrong(text("ticket.name_of_code"))
    role: Role = arguments.role or ("guest" if arguments.code else "site")
    room = arguments.room or meeting.room
    rooms = settings_of(config, meeting).rooms()
    if arguments.terminal:
        room, role = TERMINAL, "guest"
    elif room not in rooms:
        raise Wrong(text("ticket.no_room", room=room, rooms=", ".join(sorted(rooms))))
    made = Issued(room, role, _when(time.time() + life, config))
    if arguments.code:
        with _folder(config, meeting, text) as folder:
            code = Codes(folder).issue(room, life, role)
        _tell(msgspec.structs.replace(made, id=code.id, code=code.code), arguments, text)
        return 0
    invited = meeting.url or invitation(*_door(meeting), "").removesuffix("/#t=")
    door = f"http://127.0.0.1:{arguments.port or arguments.serve_port}" if arguments.terminal else invited
    name, site = _bearer(arguments, config, text)
    with _folder(config, meeting, text) as folder:
        tickets = Tickets(folder)
        token = tickets.issue(room, role, name, site, life=life, device=arguments.device)
        id = tickets.read(token).id
    _tell(msgspec.structs.replace(made, id=id, link=f"{door}/#t={token}"), arguments, text)
    return 0


def _bearer(arguments: argparse.Namespace, config: Config, text: Text) -> tuple[str, str]:
    """Name and site that the others read. Raises Wrong where they could not be read in a list."""
    told = unicodedata.normalize("NFC", arguments.name.replace("\u00a0", " ")).strip()
    if not told.isprintable() or len(told) > MAX_NAME:
        raise Wrong(text("ticket.name", most=MAX_NAME))
    site = arguments.site or config.site
    try:
        TypeAdapter(Id).validate_python(site)
    except ValidationError:
        raise Wrong(text("config.identifier", value=site)) from None
    return told or (config.name or config.site)[:MAX_NAME], site


def _door(meeting: Meeting) -> tuple[str, int]:
    """The first address under which browsers reach the box, and the port."""
    from conference.addresses import own_addresses

    host, _, port = meeting.listen.rpartition(":")
    return (meeting.addresses or own_addresses(host.strip("[]")))[0], int(port)


def _tell(made: Issued, arguments: argparse.Namespace, text: Text) -> None:
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(made), indent=1).decode())
        return
    role = text(f"role.{made.role}")
    if made.code:
        print(text("ticket.code", room=made.room, role=role, until=made.expires))
        print(f"  {_spaced(made.code)}")
        print(text("ticket.revoke_by", id=made.id))
        return
    kind = "terminal" if arguments.terminal else "device" if arguments.device else "link"
    print(text(f"ticket.{kind}", room=made.room, role=role, until=made.expires))
    print(made.link)
    if sys.stdout.isatty() or arguments.qr:
        _draw(made.link)
    print(text("ticket.revoke_by", id=made.id))


def _draw(link: str) -> None:
    """The link as a QR code of half blocks; the lowest correction, since a screen has no scratches."""
    import segno

    segno.make(link, error="l", boost_error=False, micro=False).terminal(compact=True, border=2)


def listing(arguments: argparse.Namespace) -> int:
    """`edge ticket list`: the tickets and codes that were issued and have not expired."""
    config, meeting, text = meeting_of(arguments)
    with _folder(config, meeting, text) as folder:
        found, codes = Tickets(folder).all(), Codes(folder).all()
    rows = [_row(ticket, revoked, config) for ticket, revoked in found]
    rows += [Row(c.id, c.room, c.role, "", "", _when(c.expires, config), code=c.code) for c in codes]
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(rows), indent=1).decode())
    elif not rows:
        print(text("ticket.none"))
    else:
        head = [text(f"ticket.head.{name}") for name in ("id", "room", "role", "name", "site", "until", "state")]
        print(table(head, [_cells(row, text) for row in rows], most=terminal_width()))
    return 0


def _row(ticket: Ticket, revoked: bool, config: Config) -> Row:
    until = _when(ticket.expires, config)
    return Row(ticket.id, ticket.room, ticket.role, ticket.name, ticket.site, until, ticket.device, revoked)


def _cells(row: Row, text: Text) -> list[str]:
    state = "code" if row.code else "revoked" if row.revoked else "device" if row.device else "valid"
    role = text(f"role.{row.role}")
    return [row.id, row.room, role, row.name or _spaced(row.code), row.site, row.expires, text(f"ticket.state.{state}")]


def _spaced(code: str) -> str:
    return f"{code[:4]} {code[4:]}".strip()


def revoke(arguments: argparse.Namespace) -> int:
    """`edge ticket revoke`: the bearer, or whoever came by the code, is put out within seconds and stays out."""
    config, meeting, text = meeting_of(arguments)
    with _folder(config, meeting, text) as folder:
        tickets, codes = Tickets(folder), Codes(folder)
        known = {code.id for code in codes.all()}
        unknown = [
            id for id in arguments.id if id not in known and not tickets.knows(id) and not tickets.is_revoked(id)
        ]
        if unknown:
            raise Wrong(text("ticket.unknown", id=unknown[0]))
        new = [tickets.revoke(id) for id in arguments.id]
        for id in arguments.id:
            codes.withdraw(id)
    for id, ended in zip(arguments.id, new, strict=True):
        print(text("ticket.revoked" if ended else "ticket.revoked_before", id=id))
    return 0


# --- shared -----------------------------------------------------------------------------------------------------------


@contextmanager
def _folder(config: Config, meeting: Meeting, text: Text) -> Iterator[Path]:
    """The folder of tickets. While the block runs, root acts as the user it belongs to. Raises Wrong."""
    settings = settings_of(config, meeting)
    try:
        with _acting_as_owner(settings.state):
            settings.tickets.mkdir(parents=True, exist_ok=True)
            yield settings.tickets
    except OSError as error:
        reason = error.strerror or str(error)
        raise Wrong(text("ticket.cannot_write", folder=str(settings.tickets), error=reason)) from None


@contextmanager
def _acting_as_owner(state: Path) -> Iterator[None]:
    """For the block only: that user may not be able to read this program's own files."""
    if os.geteuid() != 0 or not state.exists():
        yield
        return
    owner, group = state.stat(), os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def _life(arguments: argparse.Namespace, text: Text) -> float:
    """Seconds: as told, else what is usual for the kind."""
    if arguments.life is None:
        return DEVICE_LIFE if arguments.device else USUAL_LIFE
    found = re.fullmatch(r"(\d{1,5})([mhd])", arguments.life)
    life = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < life <= MOST:
        raise Wrong(text("ticket.life", value=arguments.life))
    return life


def _when(moment: float, config: Config) -> str:
    """A time as RFC 3339 in the box's time zone, to the minute."""
    return datetime.fromtimestamp(moment, ZoneInfo(config.timezone)).isoformat(sep=" ", timespec="minutes")
