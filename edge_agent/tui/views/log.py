"""Screen 7: what happened, the newest first, repeats folded into one line that counts."""

from __future__ import annotations

from datetime import datetime

from edge_agent.logbook import LogLine
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Row, Span, paragraph, row
from edge_agent.tui.views.frame import Frame, away, unknown

LEVELS = {"info": ("·", "dim"), "warning": ("▲", "attention"), "error": ("✖", "bad"), "critical": ("✖", "bad")}
CHOICES = ("all", "warning", "error")
"""What may be shown: everything, or from that level on."""


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """One event a line."""
    found = away(picture, frame)
    lines = picture.log.value
    if lines is None:
        return found + unknown(picture.log, picture, frame)
    shown = [line for line in reversed(lines) if _wanted(line, frame)]
    found += paragraph(frame.text(f"tui.log.{frame.level}", count=len(shown)), frame.columns - 1, 1, "dim")
    for line in shown:
        found += _told(line, frame)
    return found


def _wanted(line: LogLine, frame: Frame) -> bool:
    order = list(LEVELS)
    enough = frame.level == "all" or order.index(line.level) >= order.index(frame.level)
    return enough and frame.fits(f"{line.source} {line.text}")


def _told(line: LogLine, frame: Frame) -> list[Row]:
    """Time, level, source, words, and how often."""
    mark, style = LEVELS.get(line.level, ("·", ""))
    moment = datetime.fromtimestamp(line.last, frame.wall.tzinfo)
    when = moment.strftime("%H:%M:%S" if moment.date() == frame.wall.date() else "%d/%m %H:%M")
    often = f" (×{frame.text.number(line.count)})" if line.count > 1 else ""
    words = paragraph(f"{line.source.removeprefix('edge.')}: {line.text}{often}", frame.columns - len(when) - 5)
    lead = row(Span(f" {when} ", "dim"), Span(f"{mark} ", style), Span(words[0].plain, style), key=f"log-{line.number}")
    return [lead, *(row(" " * (len(when) + 4), Span(more.plain, style)) for more in words[1:])]
