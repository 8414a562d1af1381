"""Textual's driver with a watch on the line: how long does it take until the terminal has taken what we wrote?"""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App

FADES = 0.5
"""The memory of a slow flush halves at every look at the line: only a line that stays slow is called so."""


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
        self._file = self._measured  # type: ignore[assignment]  # only write, flush and fileno are asked of it

    def busy(self) -> float:
        """Seconds that the flush under way has taken; 0: none is."""
        began = self._measured.began
        return 0.0 if began is None else time.monotonic() - began

    def slowest(self) -> float:
        """Seconds of the slowest flush of late."""
        slowest = max(self._measured.slowest, self.busy())
        self._measured.slowest *= FADES
        return slowest
