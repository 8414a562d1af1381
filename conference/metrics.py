"""The status as Prometheus' text format 0.0.4: tables of figures, and the loops that write them out.

Series are bounded: one of each figure for a member (at most `limits.clients`), its streams (five) and its slots. What
is on and off, and who sees whom, is the status' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from conference.figures import Client, Down, RoomStatus, Status, Up

Number = int | float
T = TypeVar("T")

_BOX: tuple[tuple[str, Callable[[Status], Number]], ...] = (
    ("packets_per_second", lambda s: s.load.packets_per_second),
    ("loop_lag_seconds", lambda s: s.load.lag_ms / 1000),
    ("datagrams_sent_total", lambda s: s.port.sent),
    ("datagrams_received_total", lambda s: s.port.received),
    ("datagrams_dropped_total", lambda s: s.port.dropped),
    ("datagrams_stray_total", lambda s: s.port.strays),
    ("connections_refused_total", lambda s: s.connections_refused),
    ("admitting", lambda s: int(s.admitting)),
    ("turned_away_total", lambda s: s.turned_away),
    ("wrong_codes_total", lambda s: s.guesses.wrong),
    ("code_tries_turned_away_total", lambda s: s.guesses.turned_away),
    ("code_locks_total", lambda s: s.guesses.locks),
    ("code_locks", lambda s: len(s.guesses.addresses) + len(s.guesses.rooms)),
)
_ROOM: tuple[tuple[str, Callable[[RoomStatus], Number]], ...] = (("members", lambda room: len(room.members)),)
_MEMBER: tuple[tuple[str, Callable[[Client], Number]], ...] = (
    ("round_trip_seconds", lambda c: c.rtt_ms / 1000),
    ("down_kbit", lambda c: sum(slot.kbit for slot in c.down)),
    ("up_kbit", lambda c: sum(stream.kbit for stream in c.up)),
    ("budget_kbit", lambda c: c.budget_kbit),
    ("weak", lambda c: int(c.weak)),
    ("connected", lambda c: int(c.connected)),
    ("nacks_total", lambda c: c.nacks),
    ("key_requests_total", lambda c: c.key_requests),
    ("packets_refused_total", lambda c: c.refused),
    ("freezes_total", lambda c: c.page.freezes),
)
_STREAM: tuple[tuple[str, Callable[[Up], Number]], ...] = (
    ("stream_kbit", lambda up: up.kbit),
    ("stream_loss_ratio", lambda up: up.loss),
    ("stream_packets_total", lambda up: up.packets),
    ("stream_repaired_total", lambda up: up.repaired),
    ("stream_key_frames_total", lambda up: up.keys),
)
_SLOT: tuple[tuple[str, Callable[[Down], Number]], ...] = (
    ("slot_kbit", lambda down: down.kbit),
    ("slot_loss_ratio", lambda down: down.loss),
    ("slot_layer", lambda down: down.layer),
    ("slot_packets_total", lambda down: down.packets),
    ("slot_repeated_total", lambda down: down.resent),
    ("slot_switches_total", lambda down: down.switches),
    ("slot_freezes_total", lambda down: down.freezes),
)


def prometheus(found: Status) -> str:
    """Every figure with its series in one group, as the format wants it."""
    rooms = [(f'room="{room.name}"', room) for room in found.rooms]
    members = [(f'{labels},member="{c.id}"', c) for labels, room in rooms for c in room.members]
    streams = [(f'{labels},kind="{up.kind}",layer="{up.layer}"', up) for labels, c in members for up in c.up]
    slots = [(f'{labels},slot="{down.label}"', down) for labels, c in members for down in c.down]
    lines = [
        *_written(_BOX, [("", found)]),
        *_written(_ROOM, rooms),
        *_written(_MEMBER, members),
        *_written(_STREAM, streams),
        *_written(_SLOT, slots),
    ]
    return "\n".join(lines) + "\n"


def _written(table: tuple[tuple[str, Callable[[T], Number]], ...], series: list[tuple[str, T]]) -> Iterator[str]:
    for name, figure in table:
        if series:
            yield f"# TYPE edge_meeting_{name} {'counter' if name.endswith('_total') else 'gauge'}"
        for labels, one in series:
            yield f"edge_meeting_{name}{f'{{{labels}}}' if labels else ''} {figure(one)}"
