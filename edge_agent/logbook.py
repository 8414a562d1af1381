"""The agent's own log lines, the newest in memory: repeats are folded into one line that counts.

Whoever follows asks for what came after a number; a line that is folded again gets a new number and so is told again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

import msgspec

MOST_LINES = 1_000
"""Lines in memory; past it the oldest is let go."""
MOST_LETTERS = 600
"""A longer line is cut."""
FOLD_S = 900.0
"""A line that comes again within so many seconds is folded into the one before."""


class LogLine(msgspec.Struct, frozen=True):
    """One line, or several alike (GET /log)."""

    number: int
    """Rises with every line and every repeat."""
    first: float
    last: float
    """Unix seconds."""
    level: str
    """info, warning, error."""
    source: str
    """`edge.modbus`"""
    text: str
    count: int = 1


class Logbook(logging.Handler):
    """Keeps what is logged under `edge`. One loop reads; any thread may log."""

    def __init__(self) -> None:
        """Empty."""
        super().__init__(logging.INFO)
        self._lines: OrderedDict[tuple[str, str, str], LogLine] = OrderedDict()
        self._last = 0
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self) -> None:
        """Begin to listen; inside the event loop."""
        self._loop = asyncio.get_running_loop()
        logging.getLogger("edge").addHandler(self)

    def detach(self) -> None:
        """End it."""
        logging.getLogger("edge").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler; called under its lock."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            text += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        text = text[:MOST_LETTERS]
        key = record.levelname.lower(), record.name, text
        self._last += 1
        before = self._lines.pop(key, None)
        if before and record.created - before.last < FOLD_S:
            line = LogLine(self._last, before.first, record.created, *key, count=before.count + 1)
        else:
            line = LogLine(self._last, record.created, record.created, *key)
        self._lines[key] = line
        if len(self._lines) > MOST_LINES:
            self._lines.popitem(last=False)
        if self._waiting and self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    def since(self, number: int, most: int = MOST_LINES) -> list[LogLine]:
        """The newest lines after `number`, oldest first."""
        self.acquire()
        lines = list(self._lines.values())
        self.release()
        return [line for line in lines if line.number > number][-most:]

    async def wait(self, number: int) -> list[LogLine]:
        """The lines after `number`, as soon as there are any."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            while not (lines := self.since(number)):
                await event.wait()
                event.clear()
            return lines
        finally:
            self._waiting.discard(event)
