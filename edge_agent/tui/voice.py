"""Says lines on a plain terminal, in letters that it has, and holds the line that is being typed there."""

from __future__ import annotations

import os

from edge_agent.text import Text
from edge_agent.tui.keys import ENTER, ERASE, ESCAPE
from edge_agent.tui.rows import in_ascii, with_twins
from edge_agent.tui.terminal import Terminal

COLUMNS, LINES = 80, 24


class Voice:
    """The output of one plain terminal."""

    def __init__(self, text: Text, terminal: Terminal) -> None:
        """`text`: the language to begin with."""
        self.text, self._terminal = text, terminal
        self.purpose = ""
        """What the typed line is for; empty: none is being typed."""
        self._prompt, self._typed = "", ""

    @property
    def marks(self) -> bool:
        """The terminal has our marks."""
        return self._terminal.marks

    def say(self, line: str) -> None:
        """One line; what is being typed goes on below it."""
        if self.purpose:
            print(flush=True)
        print(self._shown(line), flush=True)
        if self.purpose:
            self._put(self._prompt + self._typed)

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:
            return COLUMNS, LINES
        return columns or COLUMNS, lines or LINES

    # --- a line from the technician -----------------------------------------------------------------------------------

    def ask(self, purpose: str, prompt: str, begun: str = "") -> None:
        """Open a line to be typed; `begun` stands there already."""
        self.purpose, self._prompt, self._typed = purpose, prompt, begun
        self._put(prompt + begun)

    def take(self, key: str) -> str | None:
        """A key of that line. What was typed, once Enter ended it; empty where Esc gave it up; None before that."""
        if key in ENTER or key == ESCAPE:
            self.purpose = ""
            print(flush=True)
            return self._typed.strip() if key in ENTER else ""
        if key in ERASE and self._typed:
            self._typed = self._typed[:-1]
            self._put("\b \b")
        elif key.isprintable():
            self._typed += key
            self._put(key)
        return None

    def _put(self, letters: str) -> None:
        print(self._shown(letters), end="", flush=True)

    def _shown(self, line: str) -> str:
        if not self._terminal.letters:
            return in_ascii(line)
        return line if self._terminal.marks else with_twins(line)
