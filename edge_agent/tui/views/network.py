"""Screen 5: the way to every broker and sink, rung by rung, as `edge net` climbs it."""

from __future__ import annotations

from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Row, Span, paragraph, row
from edge_agent.tui.views.frame import Frame, away

PAINTED = {"●": "good", "▲": "attention", "✖": "bad"}


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """What the ladder has said so far."""
    ladder, text = picture.ladder, frame.text
    found = away(picture, frame)
    if ladder.at is None and not ladder.running:
        return found + paragraph(text("tui.network.begin"), frame.columns - 1, 1)
    if ladder.running:
        found.append(row(Span(f" {text('tui.network.running')}", "dim")))
    elif ladder.at is not None:
        ago = text.duration(frame.now - ladder.at)
        found.append(row(Span(f" {text('tui.network.done', ago=ago)}", "dim")))
    for line in ladder.lines:
        if frame.fits(line):
            found += _told(line, frame)
    return found


def _told(line: str, frame: Frame) -> list[Row]:
    style = PAINTED.get(line.strip()[:1], "" if line.startswith(" ") else "strong")
    indent = len(line) - len(line.lstrip())
    return paragraph(line.strip(), frame.columns - 1, indent + 1, style) or [row()]
