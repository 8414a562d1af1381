"""`edge tui`: looks at the terminal first, then shows screens or plain lines."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

from edge_agent import config as configuration
from edge_agent.config import render
from edge_agent.text import Text, texts
from edge_agent.tui.terminal import Terminal, decide, given_environ, mend_locale, this_terminal

STATE = Path("/var/lib/edge-agent")
ZONE = "Asia/Ho_Chi_Minh"


def main(arguments: argparse.Namespace) -> int:
    """0 when the technician leaves."""
    terminal = decide(given_environ(), *this_terminal())
    mend_locale(os.environ)
    config, problems = configuration.check_report(arguments.config)
    text = texts(arguments.speak or (config.language if config else arguments.language))
    if arguments.plain and not terminal.plain:
        terminal = Terminal(True, "asked", letters=terminal.letters, marks=terminal.marks, colour=terminal.colour)
    from edge_agent.tui.picture import Line, MeetingPlace, Picture

    picture = Picture(config.control if config else STATE / "control.sock", arguments.config)
    if config and config.meeting:
        picture.meeting = MeetingPlace(config.meeting.room, config.meeting.listen, config.meeting.url or "")
    picture.buses = tuple(Line(bus.id, bus.where, bus.devices[0].unit) for bus in config.buses) if config else ()
    picture.problems = render(problems, text)
    zone = config.timezone if config else ZONE
    if terminal.plain:
        from edge_agent.tui import plain

        return plain.run(picture, text, terminal, zone)
    return _full(picture, text, terminal, zone, thin=arguments.thin)


def _full(picture: object, text: Text, terminal: Terminal, zone: str, *, thin: bool) -> int:
    """Textual reads the environment when it is imported."""
    os.environ["TEXTUAL_ANIMATIONS"] = "none"
    os.environ.setdefault("TEXTUAL_COLOR_SYSTEM", "standard" if thin else "256")
    for stream in (sys.__stdout__, sys.__stderr__):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    from edge_agent.tui.app import Moment
    from edge_agent.tui.app import Terminal as Full
    from edge_agent.tui.page import Painter
    from edge_agent.tui.picture import Picture

    assert isinstance(picture, Picture)
    painter = Painter(marks=terminal.marks and not thin, colour=terminal.colour)
    Full(picture, text, painter, Moment(zone)).run(mouse=False)
    return 0
