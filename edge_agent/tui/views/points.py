"""Screen 2: every point with value, age in words and quality; a value that is old never looks fresh."""

from __future__ import annotations

import math
import re

from edge_agent.board import PointNow
from edge_agent.commands import shown
from edge_agent.show import UNITS
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import (
    Line,
    Piece,
    Place,
    Row,
    Span,
    cell,
    fields,
    paragraph,
    row,
    shortened,
    sparkline,
    stated,
    table,
)
from edge_agent.tui.views.frame import Frame, away, title, unknown

RANK = {"bad": 0, "uncertain": 1, "good": 2}
TREND, WIDE_TREND = 8, 30
"""Columns."""


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """The list, or one point's page."""
    found = away(picture, frame)
    points = picture.points.value
    if points is None:
        return found + unknown(picture.points, picture, frame)
    if frame.place.detail:
        return found + _detail(picture, frame, points)
    if not points:
        return found + _none(picture, frame)
    fitting = [point for point in points if frame.fits(f"{point.point} {point.source} {reason(point, frame)}")]
    if not fitting:
        return [*found, row(Span(f" {frame.text('tui.no_match', find=frame.find)}", "dim"))]
    chosen = sorted(fitting, key=lambda each: each.point if frame.sort == "name" else (RANK[each.quality], each.point))
    return found + (_cards(picture, frame, chosen) if frame.narrow else _table(picture, frame, chosen))


def _none(picture: Picture, frame: Frame) -> list[Row]:
    text = frame.text
    return [
        row(Span(f" {text('tui.points.none')}", "strong")),
        *paragraph(text("tui.points.none.try", file=str(picture.file)), frame.columns - 1, 1),
    ]


def _table(picture: Picture, frame: Frame, points: list[PointNow]) -> list[Row]:
    text = frame.text
    head = [text(f"tui.points.{name}") for name in ("point", "value", "quality", "age", "trend", "source")]
    return table(head, [_line(picture, frame, point) for point in points], frame.columns, right=(1, 3))


def _line(picture: Picture, frame: Frame, point: PointNow) -> Line:
    trend = sparkline(picture.trend.of(point.point, frame.now), WIDE_TREND if frame.columns >= 120 else TREND)
    cells = (
        Span(named(point.point), "strong"),
        _value(picture, frame, point),
        quality(picture, frame, point),
        Span(_age(picture, frame, point), "dim"),
        trend,
        Span(point.source, "dim"),
    )
    return Line(tuple(cell(each) for each in cells), point.point, Place("points", point.point, detail=True))


def named(point: str) -> str:
    """The point without the names of its tags: their values say enough in a list."""
    return re.sub(r"(?<=[\[,])[a-z_]+=", "", point)


def _cards(picture: Picture, frame: Frame, points: list[PointNow]) -> list[Row]:
    """Two lines for each point: a phone held upright has 40 columns."""
    found = []
    for point in points:
        leads = Place("points", point.point, detail=True)
        value, age = _value(picture, frame, point), _age(picture, frame, point)
        found.append(
            row(Span(f" {shortened(named(point.point), frame.columns - 2)}", "strong"), key=point.point, leads=leads)
        )
        found.append(row("   ", quality(picture, frame, point), "  ", value, Span(f"  {age}", "dim")))
    return found


def _value(picture: Picture, frame: Frame, point: PointNow) -> Span:
    words = figure(point, frame)
    fresh = not picture.old(frame.now, frame.interval) and point.quality != "bad" and point.reason != "stale"
    return Span(words, "" if fresh else "dim")


def figure(point: PointNow, frame: Frame) -> str:
    """Value and unit, to five figures: more is noise here."""
    value = point.value
    if isinstance(value, float) and math.isfinite(value):
        value = float(f"{value:.5g}")
    return f"{shown(value, frame.text)} {UNITS.get(point.unit, point.unit)}".rstrip()


def quality(picture: Picture, frame: Frame, point: PointNow) -> Span:
    """The word for the point's state; what an old screen shows is old, whatever it was."""
    if picture.old(frame.now, frame.interval):
        return stated("old", frame.text("tui.old"))
    return stated(point.quality, reason(point, frame))


def reason(point: PointNow, frame: Frame) -> str:
    """Why the point is as it is, in a few words."""
    return frame.text(f"quality.{point.quality}" if point.reason == "ok" else f"reason.{point.reason}")


def _age(picture: Picture, frame: Frame, point: PointNow) -> str:
    """Counts on while the agent is away."""
    if point.age_s is None:
        return "–"
    since = frame.now - (picture.points.at or frame.now)
    return frame.text.duration(point.age_s + since)


def _detail(picture: Picture, frame: Frame, points: list[PointNow]) -> list[Row]:
    text = frame.text
    point = next((each for each in points if each.point == frame.place.key), None)
    if point is None:
        return [row(Span(f" {text('tui.point.gone', point=frame.place.key)}", "dim"))]
    pairs: list[tuple[str, Piece]] = [
        (text("tui.points.value"), _value(picture, frame, point)),
        (text("tui.points.quality"), quality(picture, frame, point)),
        (text("tui.points.age"), _age(picture, frame, point)),
        (text("tui.points.source"), point.source),
        (text("tui.points.trend"), sparkline(picture.trend.of(point.point, frame.now), WIDE_TREND) or "–"),
    ]
    return [title(point.point, frame.columns), *fields(pairs, frame.columns)]
