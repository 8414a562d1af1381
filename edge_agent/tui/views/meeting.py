"""Screen 6: the meeting of this box: where its page is, who is in it, how the lines do."""

from __future__ import annotations

from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Piece, Row, Span, fields, paragraph, row, stated
from edge_agent.tui.views import points as points_view
from edge_agent.tui.views.frame import Frame, away, title, unknown

DEVICE = "meeting."
"""Begins the names of the meeting's own points."""
FIELDS = ("members", "sending", "away", "weak", "rtt_ms", "loss_pct", "freezes", "packets_s", "lag_ms", "strays")


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """The page's address, then the meeting's own figures."""
    text, found = frame.text, away(picture, frame)
    if picture.meeting is None:
        return found + paragraph(text("tui.meeting.none", file=str(picture.file)), frame.columns - 1, 1)
    pairs: list[tuple[str, Piece]] = [
        (text("tui.meeting.room"), picture.meeting.room),
        (text("tui.meeting.listen"), picture.meeting.listen),
    ]
    if picture.meeting.url:
        pairs.append((text("tui.meeting.url"), picture.meeting.url))
    found += [title(text("tui.screen.meeting"), frame.columns), *fields(pairs, frame.columns), row()]
    if picture.points.value is None:
        return found + unknown(picture.points, picture, frame)
    return found + _figures(picture, frame)


def _figures(picture: Picture, frame: Frame) -> list[Row]:
    own = {each.point.rpartition(".")[2]: each for each in picture.points.value or () if each.point.startswith(DEVICE)}
    if not own or all(point.value is None for point in own.values()):
        words = frame.text("tui.meeting.silent")
        return [row(" ", stated("attention", words)), *paragraph(frame.text("tui.meeting.try"), frame.columns - 1, 3)]
    pairs: list[tuple[str, Piece]] = []
    for name in FIELDS:
        if (point := own.get(name)) is not None:
            words = points_view.figure(point, frame)
            old = picture.old(frame.now, frame.interval) or point.quality != "good"
            pairs.append(
                (frame.text(f"tui.meeting.{name}"), Span(f"◌ {words}" if old else words, "dim" if old else ""))
            )
    return fields(pairs, frame.columns)
