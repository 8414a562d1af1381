"""Textual's driver with a watch on the line: how long does it take until the terminal has taken what we wrote?"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import IO, TYPE_CHECKING

from textual import events
from textual.drivers.linux_driver import LinuxDriver

from edge_agent.tui.echo import QUESTION, Echo

if TYPE_CHECKING:
    from textual.app import App
    from textual.message import Message

FADES = 0.5
"""The memory of a slow flush halves at every look at the line: only a line that stays slow is called so."""
SETTLE = 8
"""Twentieths of a second: `q` must be quick on any line."""


class Measured:
    """A file that knows how long its flushes take. Written to by Textual's output thread only."""

    def __init__(self, file: IO[str]) -> None:
        """Around the terminal."""
        self._file = file
        self.began: float | None = None
        """Monotonic seconds since when a flush is under way."""
        self.slowest = 0.0

    def write(self, text: str) -> int:
        """Into the buffer; a long text reaches the line at once."""
        return self._timed(lambda: self._file.write(text))

    def flush(self) -> None:
        """Onto the line."""
        self._timed(lambda: (self._file.flush(), 0)[1])

    def fileno(self) -> int:
        """The terminal's."""
        return self._file.fileno()

    def _timed(self, do: object) -> int:
        assert callable(do)
        self.began = time.monotonic()
        try:
            written: int = do()
        finally:
            self.slowest = max(self.slowest, time.monotonic() - self.began)
            self.began = None
        return written


class MeasuredDriver(LinuxDriver):
    """For lines of unknown speed, such as SSH over a phone: there the nominal speed says nothing."""

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ):
        """As Textual's own."""
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        assert sys.__stderr__ is not None
        self._measured = Measured(sys.__stderr__)
        self._echo = Echo()
        self._file = self._measured  # type: ignore[assignment]  # only write, flush and fileno are asked of it

    def start_application_mode(self) -> None:
        """As Textual's own; the first question goes before the first picture, to know the line's round trip."""
        super().start_application_mode()  # type: ignore[no-untyped-call]  # of Textual
        self.ask()

    def process_message(self, message: Message) -> None:
        """The terminal's answers are ours; all else goes its way. In the thread that reads."""
        if isinstance(message, events.CursorPosition):
            self._echo.came(time.monotonic())
        else:
            super().process_message(message)

    def ask(self) -> None:
        """Have the terminal answer when it has shown what was sent so far."""
        if self._echo.asks(time.monotonic()):
            self.write(QUESTION)

    def behind(self) -> float:
        """Seconds by which the terminal is behind what was sent, as far as it can be known; 0: it is not."""
        now, began = time.monotonic(), self._measured.began
        return max(self._echo.behind(now), 0.0 if began is None else now - began)

    async def settle(self) -> None:
        """Wait a little for an answer that is under way: it would stand on the shell's line after we have left."""
        for _ in range(SETTLE):
            if not self._echo.under_way:
                return
            await asyncio.sleep(0.05)

    def slowest(self) -> float:
        """Seconds of the slowest flush of late, or by which the terminal was behind."""
        slowest = max(self._measured.slowest, self.behind(), self._echo.late(time.monotonic()))
        self._measured.slowest *= FADES
        return slowest
