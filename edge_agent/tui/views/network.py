"""Screen 5: the way to every broker and sink, rung by rung, as `edge net` climbs it."""

from __future__ import annotations

from edge_agent.show import width
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Row, Span, paragraph, row, shortened
from edge_agent.tui.views.frame import Frame, away, title, told


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """What the ladder has said so far, and what there is to reach."""
    run = picture.runs["network"]
    found = away(picture, frame)
    if run.words:
        found += [*told(run, frame), row()]
    else:
        found += [*paragraph(frame.text("tui.network.begin"), frame.columns - 1, 1), row()]
    return found + _ways(picture, frame)


def _ways(picture: Picture, frame: Frame) -> list[Row]:
    """Brokers, sinks and endpoints by their names, so that a finding about one of them leads to it."""
    if not picture.ways:
        return []
    found = [title(frame.text("tui.network.ways"), frame.columns)]
    room = max(width(way.id) for way in picture.ways) + 2
    for way in picture.ways:
        where = shortened(way.where, frame.columns - room - 2)
        found.append(row(Span(f" {way.id:<{room}}", "strong"), where, key=way.id))
    return found
