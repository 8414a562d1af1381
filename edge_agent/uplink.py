"""The way of each sink: its last day as a bar, and the readings that it refused (GET /uplink).

The bar is the most that waited in each quarter of an hour. It is kept in the state folder, since it is a box that lost
power whose last day is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from drivers import files
from edge_agent.quarantined import Quarantined

if TYPE_CHECKING:
    from edge_agent.app import App

log = logging.getLogger("edge.uplink")

SLOT_S, SLOTS = 900, 96
"""Quarter hours of a day."""
EVERY = 15.0
"""Seconds between two looks."""
MOST_REFUSED = 20


class Uplink(msgspec.Struct, frozen=True):
    """One sink's last day."""

    id: str
    bar: list[int | None]
    """Most readings that waited in each of the last 96 quarter hours, the newest last; None: the agent did not run."""
    last_success_s: float | None
    """Seconds since it took something; None: not since the start."""
    room_days: float | None
    """Days for which the journal has room if it takes nothing more; None: not known yet."""
    refused: list[Quarantined]
    """The newest readings that it refused, newest first."""


class Backlog:
    """What waited for each sink, by quarter hour."""

    def __init__(self, state: Path, waiting: Callable[[], Mapping[str, int]]) -> None:
        """Take up what is on disk; `waiting`: readings by sink now."""
        self._file = state / "backlog.json"
        self._waiting = waiting
        self._slots = files.read(self._file, dict[str, dict[int, int]]) or {}
        self._saved = 0

    async def run(self) -> None:
        """Look every few seconds, for ever; at the first look of a quarter hour also write it down."""
        while True:
            if self.look(time.time()):
                await asyncio.to_thread(self.save)  # a card that stalls must hold nobody else up
            await asyncio.sleep(EVERY)

    def look(self, now: float) -> bool:
        """Note what waits now; True where it is to be saved."""
        slot = int(now // SLOT_S)
        for sink, count in self._waiting().items():
            bar = self._slots.setdefault(sink, {})
            bar[slot] = max(count, bar.get(slot, 0))
            for old in [each for each in bar if not slot - SLOTS < each <= slot]:
                del bar[old]  # also those of a clock that was wrong
        before, self._saved = self._saved, slot
        return slot != before

    def bar(self, sink: str, now: float) -> list[int | None]:
        """SLOTS quarter hours, the newest last."""
        slot, known = int(now // SLOT_S), self._slots.get(sink, {})
        return [known.get(slot - SLOTS + 1 + i) for i in range(SLOTS)]

    def save(self) -> None:
        """Write it down; nobody looks meanwhile."""
        try:
            files.replace(self._file, msgspec.json.encode(self._slots))
        except OSError as error:
            log.warning("backlog not saved error=%s", error.strerror)


async def uplinks(app: App) -> list[Uplink]:
    """Every sink that runs."""
    from edge_agent.gather import UNKNOWN_DAYS, room_days  # the terminal wants only the Structs of this module

    now = time.time()
    days = room_days(await app.journal.stat(), app.config.journal.max_bytes)
    return [
        Uplink(
            id=sink.id,
            bar=app.backlog.bar(sink.id, now),
            last_success_s=round(now - sink.last_success, 1) if sink.last_success else None,
            room_days=None if days == UNKNOWN_DAYS else days,
            refused=await app.journal.refused(sink.id, MOST_REFUSED) if sink.id in app.journal.states else [],
        )
        for sink in app.sinks()
    ]
