"""Screen 7: what happened, one line each."""

from __future__ import annotations

from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Row, paragraph
from edge_agent.tui.views.frame import Frame, away


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """The log."""
    return away(picture, frame) + paragraph(frame.text("tui.missing"), frame.columns - 1, 1, "dim")
