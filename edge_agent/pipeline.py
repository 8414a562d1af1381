"""The first half of the data path: `collect` brings a driver's readings through the checks into the journal.

The second half is `delivery.py`. Between the two lies only the disk, so that neither ever waits for the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

from drivers.driver import Batch, Driver
from drivers.reading import Readings
from edge_agent.board import Board
from edge_agent.checks import Checks
from edge_agent.dating import Dating
from edge_agent.habits import Habits
from edge_agent.journal import Journal
from edge_agent.lines import Encoder


class Intake:
    """Everything between a driver and the journal."""

    def __init__(
        self, site: str, checks: Checks, dating: Dating, board: Board, journal: Journal, *, habits: Habits
    ) -> None:
        """Join the parts."""
        self.checks, self.habits = checks, habits
        self._dating = dating
        self._board = board
        self._journal = journal
        self._series = Encoder(site).series

    async def take(self, batch: Batch) -> None:
        """Check, stamp and show the readings, then put them into the journal; wait while it has no room."""
        await self._journal.room()
        await self._dating.admitted()
        self._journal.put(self._checked(batch.readings), batch.done)

    def _checked(self, batch: tuple[Readings, ...]) -> Iterator[Readings]:
        for readings in batch:
            stamped = self._dating.stamp(self._series(readings.source), readings)
            if stamped is None:
                continue
            checked = self.habits(self.checks(stamped))
            self._board.show(checked)
            yield checked


async def collect(driver: Driver, intake: Intake) -> None:
    """Bring everything that `driver` reads into the journal, for ever."""
    async with aclosing(driver.readings()) as batches:  # a port is free again before the part is started anew
        async for batch in batches:
            await intake.take(batch)
