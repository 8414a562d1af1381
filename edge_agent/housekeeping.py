"""What a journal does now and then beside its work: count, delete old history, look at what the card is written."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import TYPE_CHECKING

from edge_agent.ledger import HOUR_MS

if TYPE_CHECKING:
    from edge_agent.journal import Journal

HOUSEKEEPING = 30.0
"""Seconds between two rounds."""


async def keep_house(journal: Journal) -> None:
    """Fold the ledger, delete what is too old, look at what was written."""
    journal.wear.note()
    while True:
        await asyncio.sleep(HOUSEKEEPING)
        journal.wear.note()
        oldest, opened = time.time_ns() // 1_000_000 - journal.keep_ms, journal.store.openings
        try:
            await journal.call(journal.store.count_unsaved)
            while await journal.call(journal.store.fold):
                await asyncio.sleep(0)
            if journal.clock_doubtful:
                continue
            while await journal.call(journal.store.trim, oldest, tuple(journal.states)):
                await asyncio.sleep(0)
            await journal.call(journal.store.ledger.forget, oldest // HOUR_MS)
        except sqlite3.Error as error:
            await journal.recovery.mend(error, opened)
