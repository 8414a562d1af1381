"""The keys, all of them."""

from __future__ import annotations

from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Row, Span, fields, paragraph, row
from edge_agent.tui.views.frame import Frame, title

KEYS = (
    "screens",
    "arrows",
    "enter",
    "back",
    "find",
    "sort",
    "level",
    "tools",
    "pause",
    "copy",
    "bundle",
    "language",
    "commands",
    "help",
    "quit",
)
FULL_ONLY = ("arrows", "pause", "copy", "commands")
"""Keys that a plain terminal does not have; there a line is opened by its number."""
PLAIN = {"enter": "plain_open", "screens": "plain_screens"}
"""Keys that mean something else there."""
CHANGES = ("config", "restart")


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """Key and what it does."""
    text = frame.text
    names = [PLAIN.get(name, name) for name in KEYS if name not in FULL_ONLY] if frame.plain else KEYS
    pairs = [(text(f"tui.key.{name}"), Span(text(f"tui.key.{name}.does"))) for name in names]
    changes = [(text(f"tui.key.{name}"), Span(text(f"tui.key.{name}.does"))) for name in CHANGES]
    mode = "tui.maintaining" if frame.maintain else "tui.read_only.more"
    return [
        title(text("tui.help"), frame.columns),
        *fields(pairs, frame.columns),
        row(),
        *paragraph(text(mode, name=frame.maintain), frame.columns - 1, 1),
        *(fields(changes, frame.columns) if frame.maintain else []),
        *paragraph(text("tui.marks"), frame.columns - 1, 1, "dim"),
    ]
