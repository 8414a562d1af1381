"""`edge tui`: looks at the terminal first, then shows screens or plain lines."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent.text import Text, texts
from edge_agent.tui.given import Given, Reading
from edge_agent.tui.picture import Picture
from edge_agent.tui.terminal import Terminal, decide, given_environ, in_browser, mend_locale, this_terminal

if TYPE_CHECKING:
    from edge_agent.tui.page import Painter


def main(arguments: argparse.Namespace) -> int:
    """0 when the technician leaves; a crash is no 0."""
    reading = Reading(arguments.config)
    terminal = Terminal(plain=False) if in_browser() else decide(given_environ(), *this_terminal())
    mend_locale(os.environ)
    if arguments.plain and not terminal.plain:
        terminal = msgspec.structs.replace(terminal, plain=True, why="asked")
    if not terminal.plain:
        _prepare(thin=arguments.thin)
    given = reading.result()
    text = texts(arguments.speak or given.language or arguments.language)
    picture = _picture(given, arguments.config, text)
    if terminal.plain:
        from edge_agent.tui import plain

        return plain.run(picture, text, terminal, given.zone, _name(arguments.maintain))
    painter = _painter(terminal, thin=arguments.thin)
    return _full(picture, text, painter, given.zone, _name(arguments.maintain))


def _name(wished: str | None) -> str:
    """Who maintains: as said, else as signed in; empty: only looks."""
    if wished is None:
        return ""
    return wished or os.environ.get("SUDO_USER") or os.environ.get("USER") or "?"


def _picture(given: Given, file: Path, text: Text) -> Picture:
    """Nothing asked yet."""
    picture = Picture(Path(given.control), file)
    picture.buses, picture.ways, picture.meeting = given.buses, given.ways, given.meeting
    picture.problems = given.problems
    picture.language = text.language
    return picture


def _prepare(*, thin: bool) -> None:
    """Textual reads the environment when it is imported, which takes its time: the child reads meanwhile."""
    os.environ["TEXTUAL_ANIMATIONS"] = "none"
    os.environ.setdefault("TEXTUAL_COLOR_SYSTEM", "standard" if thin else "256")
    for stream in (sys.__stdout__, sys.__stderr__):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _painter(terminal: Terminal, *, thin: bool) -> Painter:
    from edge_agent.tui.page import Painter

    return Painter(marks=terminal.marks and not thin, colour=terminal.colour)


def _full(picture: Picture, text: Text, painter: Painter, zone: str, maintain: str) -> int:
    from edge_agent.tui.app import Terminal as Full
    from edge_agent.tui.shell import Moment

    app = Full(picture, text, painter, Moment(zone), maintain)
    app.run(mouse=False)
    return app.return_code or 0
