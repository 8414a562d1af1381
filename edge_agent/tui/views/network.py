"""Screen 5: the way to every broker and sink, rung by rung, as `edge net` climbs it."""

from __future__ import annotations

from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Row, paragraph
from edge_agent.tui.views.frame import Frame, away, told


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """What the ladder has said so far."""
    run = picture.runs["network"]
    if not run.words:
        return away(picture, frame) + paragraph(frame.text("tui.network.begin"), frame.columns - 1, 1)
    return away(picture, frame) + told(run, frame)
