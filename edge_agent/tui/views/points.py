"""Screen 2: every point with value, age in words and quality; a value that is old never looks fresh."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

from edge_agent.board import PointNow
from edge_agent.show import UNITS, meaning, origin, shown, width
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import (
    Line,
    Piece,
    Place,
    Row,
    Span,
    cell,
    cut,
    fields,
    paragraph,
    row,
    shortened,
    sparkline,
    stated,
    table,
)
from edge_agent.tui.views.frame import Frame, away, clock, title, unknown

if TYPE_CHECKING:
    from edge_agent.point_now import PointDetail, Wire

Pairs = list[tuple[str, Piece]]

RANK = {"bad": 0, "uncertain": 1, "good": 2}
TREND, WIDE_TREND = 8, 30
"""Columns."""
WIDE = 120
"""Columns from which everything is told in full."""
SHORTEST = ((2, 16), (5, 9), (0, 18), (2, 13), (0, 16))
"""Letters to which quality, source and name may be cut, in this order, before a column is left out."""
SOURCE = 6
"""On a phone: columns below which the source goes on a line of its own."""


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
    lines = [_line(picture, frame, point) for point in points]
    return table(head, lines, frame.columns, right=(1, 3), shortest=SHORTEST)


def _line(picture: Picture, frame: Frame, point: PointNow) -> Line:
    trend = sparkline(_trend(picture, point.point), WIDE_TREND if frame.columns >= WIDE else TREND)
    cells = (
        Span(named(point.point), "strong"),
        _value(picture, frame, point),
        quality(picture, frame, point),
        Span(_age(picture, frame, point), "dim"),
        trend,
        Span(origin(point.source, frame.text), "dim"),
    )
    return Line(tuple(cell(each) for each in cells), point.point, Place("points", point.point, detail=True))


def named(point: str) -> str:
    """The point without the names of its tags: their values say enough in a list."""
    return re.sub(r"(?<=[\[,])[a-z_]+=", "", point)


def _cards(picture: Picture, frame: Frame, points: list[PointNow]) -> list[Row]:
    """Two lines for each point, rarely three: a phone held upright has 40 columns."""
    found = []
    for point in points:
        leads = Place("points", point.point, detail=True)
        room = frame.columns - TREND - 3
        name = f" {shortened(named(point.point), room):<{room}} "
        trend = sparkline(_trend(picture, point.point), TREND)
        found.append(row(Span(name, "strong"), trend, key=point.point, leads=leads))
        found += _below(picture, frame, point)
    return found


def _below(picture: Picture, frame: Frame, point: PointNow) -> list[Row]:
    """Quality, value, age, and the source where it finds room."""
    state, value, age = quality(picture, frame, point), _value(picture, frame, point), _age(picture, frame, point)
    words = cut(state.text, max(SOURCE, frame.columns - width(value.text) - width(age) - 8))
    pieces = ("   ", Span(words, state.style), "  ", value, Span(f"  {age}", "dim"))
    room = frame.columns - width(row(*pieces).plain) - 3
    told = origin(point.source, frame.text)
    source = Span(shortened(told, max(room, SOURCE)), "dim")
    if len(told) <= room or room >= SOURCE + 3:
        return [row(*pieces, "  ", source)]
    return [row(*pieces), row(Span(f"   {shortened(told, frame.columns - 4)}", "dim"))]


def _value(picture: Picture, frame: Frame, point: PointNow) -> Span:
    words = figure(point, frame)
    fresh = not picture.old(frame.now, frame.interval) and point.quality != "bad" and point.reason != "stale"
    return Span(words, "" if fresh else "dim")


def figure(point: PointNow, frame: Frame) -> str:
    """Value and unit, to five figures: more is noise here."""
    value = point.value
    if isinstance(value, float) and math.isfinite(value):
        value = float(f"{value:.5g}")
    if value is None:
        return "–"
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
    words = frame.text.duration(point.age_s + since)
    return words if frame.place.detail or frame.columns >= WIDE else " ".join(words.split()[:2])


def _trend(picture: Picture, point: str) -> list[float | None]:
    return (picture.trends.value or {}).get(point, [])


def _detail(picture: Picture, frame: Frame, points: list[PointNow]) -> list[Row]:
    """Value, meaning, limits, registers, last readings and errors, and where it is configured."""
    text = frame.text
    point = next((each for each in points if each.point == frame.place.key), None)
    if point is None:
        return [row(Span(f" {text('tui.point.gone', point=frame.place.key)}", "dim"))]
    pairs: Pairs = [
        (text("tui.point.value"), _value(picture, frame, point)),
        (text("tui.point.quality"), quality(picture, frame, point)),
        (text("tui.point.age"), _age(picture, frame, point)),
        (text("tui.point.source"), origin(point.source, text)),
    ]
    known: PointDetail | None = picture.point.value
    if known is None or known.point != point.point:
        return [
            title(point.point, frame.columns),
            *fields(pairs, frame.columns),
            *unknown(picture.point, picture, frame),
        ]
    pairs += _told(known, frame)
    found = [title(point.point, frame.columns), *fields(pairs, frame.columns)]
    if known.wire:
        found += [row(), title(text("tui.point.wire"), frame.columns), *fields(_wire(known.wire, frame), frame.columns)]
        found += [
            line for trap in known.wire.traps for line in paragraph(f"▲ {trap}", frame.columns - 1, 1, "attention")
        ]
    return [*found, row(), *_samples(known, frame)]


def _told(known: PointDetail, frame: Frame) -> Pairs:
    text = frame.text
    pairs: Pairs = [(text("tui.point.meaning"), meaning(known.point, text))]
    if known.since:
        ago = frame.wall.timestamp() - known.since
        pairs.append((text("tui.point.since"), text("tui.overview.since", time=clock(frame, ago), ago=ago)))
    pairs.append(
        (text("tui.point.trend"), sparkline(known.trend, WIDE_TREND * 2 if frame.columns > 90 else WIDE_TREND) or "–")
    )
    pairs.append((text("tui.point.possible"), _range(known.low, known.high, frame)))
    if known.own_low is not None or known.own_high is not None:
        pairs.append((text("tui.point.own"), _range(known.own_low, known.own_high, frame)))
    if known.configured:
        pairs.append((text("tui.point.configured"), known.configured))
    return pairs


def _range(low: float | None, high: float | None, frame: Frame) -> str:
    ends = ["–" if each is None else frame.text.number(each) for each in (low, high)]
    return " … ".join(ends)


def _wire(wire: Wire, frame: Frame) -> Pairs:
    """The registers, as they stand on the bus."""
    text = frame.text
    requests = {"ok": wire.requests_ok, "timeouts": wire.timeouts, "garbled": wire.garbled}
    pairs: Pairs = [
        (text("tui.point.bus"), text("tui.point.unit", bus=wire.bus, where=wire.where, unit=wire.unit)),
        (text("tui.point.profile"), wire.profile),
        (text("tui.point.register"), f"FC {wire.function}  {wire.address} +{wire.count}  {wire.type} {wire.order}"),
        (text("tui.point.raw"), Span(wire.raw or "–", "strong")),
        (text("tui.point.block"), wire.block),
        (text("tui.point.requests"), text("tui.point.counts", **requests, exceptions=wire.exceptions, late=wire.late)),
    ]
    if wire.answer_ms is not None:
        pairs.append((text("tui.point.answer"), text("net.ms", ms=text.number(wire.answer_ms, 0))))
    if wire.last_error:
        pairs.append((text("tui.point.last_error"), Span(wire.last_error, "bad")))
    return pairs


def _samples(known: PointDetail, frame: Frame) -> list[Row]:
    """The last errors, then the last readings."""
    text = frame.text
    found: list[Row] = []
    for name, samples in (("errors", known.errors), ("recent", known.recent)):
        found.append(title(text(f"tui.point.{name}"), frame.columns))
        if not samples:
            found.append(row(Span(f" {text('tui.point.none')}", "dim")))
        for sample in samples:
            when = datetime.fromtimestamp(sample.time / 1000, frame.wall.tzinfo).strftime("%H:%M:%S")
            why = "" if sample.reason == "ok" else text(f"reason.{sample.reason}")
            found.append(row(Span(f" {when}  ", "dim"), f"{shown(sample.value, text):>14}  ", Span(why, "attention")))
    return found
