"""Screen 1: one sentence that says whether all is well, then what is wrong, worst first, and what to try."""

from __future__ import annotations

import msgspec

from edge_agent.status import Status
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import STATE_MARKS, STATE_STYLES, Place, Row, Span, paragraph, row, shortened, stated
from edge_agent.tui.views import points as points_view
from edge_agent.tui.views.frame import Frame, away, title, unknown

MOST_POINTS = 8
"""Doubtful points listed here; the others are on screen 2."""
LABEL, NARROW_LABEL, STATE = 22, 12, 13
"""Columns of a part's name and state."""


class Part(msgspec.Struct, frozen=True):
    """One line of the lower half."""

    name: str
    state: str
    words: str
    leads: Place


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """The whole screen."""
    found = _problems_of_file(picture, frame) + away(picture, frame)
    status = picture.status.value
    if status is None:
        return found + unknown(picture.status, picture, frame)
    if not status.points.total and not status.reasons:
        return found + _first_steps(picture, frame)
    found += [*_verdict(picture, frame, status), *_reasons(frame, status), *_doubtful(picture, frame), row()]
    return found + _parts(picture, frame, status)


def _problems_of_file(picture: Picture, frame: Frame) -> list[Row]:
    """The configuration as it stands on disk has errors: often the very reason for the visit."""
    if not picture.problems:
        return []
    words = frame.text("tui.config_wrong", count=len(picture.problems), file=str(picture.file))
    lines = [line for problem in picture.problems[:5] for line in paragraph(problem, frame.columns - 1, 3)]
    return [*marked("attention", words, frame), *lines, row()]


def marked(state: str, words: str, frame: Frame, key: str = "", leads: Place | None = None) -> list[Row]:
    """A sentence behind the mark of its state."""
    style = STATE_STYLES[state]
    lines = paragraph(words, frame.columns - 4) or [row()]
    first = row(Span(f" {STATE_MARKS[state]} ", style), Span(lines[0].plain, style), key=key, leads=leads)
    return [first, *(row("   ", Span(line.plain, style)) for line in lines[1:])]


def _verdict(picture: Picture, frame: Frame, status: Status) -> list[Row]:
    """What an old answer said is no verdict about now."""
    if picture.old(frame.now, frame.interval):
        return marked("old", frame.text("tui.screen_old", ago=picture.age(frame.now) or 0), frame)
    shape = stated(status.verdict, frame.text(f"verdict.{status.verdict}", count=len(status.reasons)))
    return [row(" ", Span(shape.text, f"{shape.style} strong"))]


def _reasons(frame: Frame, status: Status) -> list[Row]:
    found: list[Row] = []
    for i, sentence in enumerate(status.reasons):
        state = "failed" if status.verdict == "failed" and not i else "attention"
        found += marked(state, sentence, frame, f"reason-{i}", _place_for(sentence, status))
    return found


def _place_for(sentence: str, status: Status) -> Place:
    sink = next((sink.id for sink in status.sinks if sentence.startswith(f"{sink.id}:")), None)
    return Place("uplink", sink) if sink else Place("points")


def _doubtful(picture: Picture, frame: Frame) -> list[Row]:
    """The points that are not good, each leading to its page."""
    doubtful = [point for point in picture.points.value or () if point.quality != "good"]
    ordered = sorted(doubtful, key=lambda point: (points_view.RANK[point.quality], point.point))
    found = []
    for point in ordered[:MOST_POINTS]:
        words = points_view.quality(picture, frame, point)
        leads = Place("points", point.point, detail=True)
        found.append(
            row(
                "   ",
                Span(shortened(point.point, frame.columns - 30), "strong"),
                "  ",
                words,
                key=point.point,
                leads=leads,
            )
        )
    if len(ordered) > MOST_POINTS:
        more = frame.text("tui.overview.more", count=len(ordered) - MOST_POINTS)
        found.append(row(Span(f"   {more}", "dim"), key="more", leads=Place("points")))
    return found


def _first_steps(picture: Picture, frame: Frame) -> list[Row]:
    """A new box: three steps."""
    text = frame.text
    found = [row(Span(f" {text('tui.empty')}", "strong"))]
    for number in (1, 2, 3):
        found += paragraph(text(f"tui.empty.{number}", file=str(picture.file)), frame.columns - 1, 1)
    return found


# --- the parts of the box ---------------------------------------------------------------------------------------------


def _parts(picture: Picture, frame: Frame, status: Status) -> list[Row]:
    """A line for each."""
    old = picture.old(frame.now, frame.interval)
    parts = [_measuring(frame, status), *_sinks(frame, status), _journal(frame, status)]
    return [title(frame.text("tui.overview.parts"), frame.columns), *(_line(frame, part, old=old) for part in parts)]


def _line(frame: Frame, part: Part, *, old: bool) -> Row:
    state = "old" if old else part.state
    shape = stated(state, frame.text("tui.old") if old else frame.text(f"tui.state.{state}"))
    room = NARROW_LABEL if frame.narrow else LABEL
    name = part.name if len(part.name) <= room else f"{part.name[: room - 1]}…"
    left = frame.columns - room - STATE - 4
    words = part.words if len(part.words) <= left else ""
    state_words = Span(f"{shape.text:<{STATE}}", shape.style)
    return row(f" {name:<{room}} ", state_words, f" {words}", key=f"part-{part.name}", leads=part.leads)


def _measuring(frame: Frame, status: Status) -> Part:
    points = status.points
    state = "bad" if points.bad else "uncertain" if points.uncertain else "good"
    words = frame.text("tui.overview.points", total=points.total, good=points.good)
    return Part(frame.text("tui.part.measuring"), state, words, Place("points"))


def _sinks(frame: Frame, status: Status) -> list[Part]:
    found = []
    for sink in status.sinks:
        age = "–" if sink.oldest_unsent_s is None else frame.text.duration(sink.oldest_unsent_s)
        words = frame.text("tui.overview.sink", waiting=sink.waiting, age=age)
        found.append(Part(sink.id, sink.state, words, Place("uplink", sink.id)))
    return found


def _journal(frame: Frame, status: Status) -> Part:
    journal, text = status.journal, frame.text
    words = text("tui.overview.journal", readings=journal.readings, size=text.size(journal.bytes))
    state = "failed" if journal.error else "good"
    return Part(text("tui.part.journal"), state, journal.error or words, Place("uplink"))
