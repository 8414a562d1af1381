"""Screen 8: the box itself: its clock, power, heat and storage, and the program that runs on it."""

from __future__ import annotations

from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Piece, Row, Span, fields, row
from edge_agent.tui.views import points as points_view
from edge_agent.tui.views.frame import Frame, away, title, unknown

OWN = "box"
"""Source of the box's readings about itself."""


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """The program, then the box's own readings."""
    found = away(picture, frame)
    status = picture.status.value
    if status is None:
        return found + unknown(picture.status, picture, frame)
    text = frame.text
    pairs: list[tuple[str, Piece]] = [
        (text("tui.box.site"), f"{status.site} {status.name}".strip()),
        (text("tui.box.version"), status.version),
        (text("tui.box.up"), text.duration(status.uptime_s)),
        (text("tui.box.file"), str(picture.file)),
        (text("tui.box.socket"), str(picture.socket)),
    ]
    found += [title(text("tui.box.program"), frame.columns), *fields(pairs, frame.columns), row()]
    own = [point for point in picture.points.value or () if point.source.partition("/")[0] == OWN]
    if own:
        found.append(title(text("tui.box.self"), frame.columns))
    for point in own:
        value = points_view.figure(point, frame)
        name = point.point.rpartition(".")[2]
        found.append(row(f" {name:<26.26} {value:>14}  ", points_view.quality(picture, frame, point), key=point.point))
    return found or [row(Span(" –"))]
