"""How the demonstration reaches people: as a picture drawn over itself on a terminal, once a second, else as a line now
and then. Whatever the output's character set lacks is spelled with what it has.
"""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import unicodedata
from collections.abc import Sequence
from typing import Protocol

import msgspec

from edge_agent.demo.picture import Picture, bar, fit, frame, minutes
from edge_agent.demo.watch import Event, Moment
from edge_agent.text import Text

LINE_EVERY = 3.0
"""Seconds between two lines where there is no terminal."""

_SIGNS = str.maketrans("▁▂▃▄▅▆▇█░─━●▲✖✔…·–", "_..--=##.-=+!x+~--")
_SPELLED = str.maketrans({"đ": "d", "Đ": "D", "µ": "u", "°": " ", "“": '"', "”": '"', "≠": "!="})


def writable(words: str) -> str:
    """The words as the output can show them: its character set, and the few signs of a text console."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        "ặ█●".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        plain = unicodedata.normalize("NFKD", words.translate(_SIGNS).translate(_SPELLED))
        return "".join(letter for letter in plain if letter.isascii())
    return words.translate(_SIGNS) if os.environ.get("TERM") == "linux" else words


class Display(Protocol):
    """Where the demonstration is seen."""

    def show(self, picture: Picture) -> None:
        """A second has passed."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Lines:
    """No terminal: each event at once, and a line of figures now and then."""

    def __init__(self, text: Text) -> None:
        """In the language of `text`."""
        self._text = text
        self._told: Event | None = None
        self._next = 0.0

    def show(self, picture: Picture) -> None:
        """See Display."""
        for event in self._news(picture.events):
            say(f"{minutes(event.at):>5}  {event.sentence}")
        if picture.now and picture.elapsed >= self._next:
            self._next = picture.elapsed + LINE_EVERY
            say(f"{minutes(picture.elapsed):>5}  {self._figures(picture.now)}")

    def _news(self, events: Sequence[Event]) -> list[Event]:
        found = list(events)
        if self._told in found:
            found = found[found.index(self._told) + 1 :]
        self._told = found[-1] if found else self._told
        return found

    def _figures(self, now: Moment) -> str:
        points, sink = now.status.points, now.sink
        said = self._text("status.points", **msgspec.structs.asdict(points))
        if sink is None:
            return said
        state = self._text(f"sink.{sink.state}")
        return f"{said}; " + self._text("demo.line", state=state, waiting=sink.waiting, delivered=sink.delivered)

    def close(self) -> None:
        """Nothing to put back."""


class Screen:
    """A terminal: the picture drawn over itself."""

    def __init__(self, text: Text) -> None:
        """Take the alternate screen; typed letters are not shown on it."""
        self._text = text
        self._terminal = _without_echo()
        self.write("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")

    def show(self, picture: Picture) -> None:
        """See Display."""
        columns, rows = size()
        lines = frame(picture, self._text, columns, rows)
        # Each line is emptied before it is written: behind its last column the cursor would stand on its last letter.
        self.write("\x1b[H" + "\r\n".join(f"\x1b[K{writable(line)}" for line in lines) + "\x1b[J")

    def close(self) -> None:
        """Give the terminal back; what was typed meanwhile is forgotten."""
        self.write("\x1b[?7h\x1b[?25h\x1b[?1049l")
        if self._terminal:
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, self._terminal)

    @staticmethod
    def write(codes: str) -> None:
        """Send it at once."""
        sys.stdout.write(codes)
        sys.stdout.flush()


def size() -> tuple[int, int]:
    """Columns and lines of the terminal."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24


def _without_echo() -> list[int | list[bytes | int]] | None:
    """Switch the echo of typed letters off; the settings before, None where nobody can type."""
    with contextlib.suppress(termios.error, ValueError, OSError):
        if os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
            return None  # In the background: touching the terminal would stop us.
        before = termios.tcgetattr(sys.stdin)
        quiet = [*before]
        quiet[3] = int(before[3]) & ~termios.ECHO
        termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
        return before
    return None


def say(words: str = "") -> None:
    """Print a line, at once."""
    print(writable(words), flush=True)


def is_screen() -> bool:
    """True where a picture can be drawn over itself."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Steps:
    """A bar for what takes a moment; where there is no terminal, nothing but what `say` prints."""

    def __init__(self, steps: int) -> None:
        """`steps`: how many there are."""
        self._steps = steps

    def show(self, done: int, words: str) -> None:
        """So many are done, and this is next."""
        if is_screen():
            filled = f"  {bar(done, self._steps, 20)}  {words}"
            Screen.write(f"\r{writable(fit(filled, size()[0] - 1))}")

    def close(self) -> None:
        """Take the bar away."""
        if is_screen():
            Screen.write("\r\x1b[K")
