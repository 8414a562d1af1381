"""Screen 1: one sentence that says whether all is well, then what is wrong, worst first, and what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge_agent.findings import Finding
from edge_agent.status import Status
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import STATE_MARKS, STATE_STYLES, Place, Row, Span, paragraph, row, stated
from edge_agent.tui.views import box, modbus
from edge_agent.tui.views.frame import Frame, away, clock, title, unknown

if TYPE_CHECKING:
    from edge_agent.box_now import BoxNow
    from edge_agent.meeting_now import MeetingNow

WHOLE = 3
"""Problems told in full; the others with their first step."""
FRESH = 10.0
"""Seconds: a problem that is younger is new."""
SEVERITIES = {"failed": "failed", "attention": "attention", "info": "left_out"}
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
    if not status.points.total and not status.reasons and not picture.buses:
        return found + _first_steps(picture, frame)
    found += [*_verdict(picture, frame, status), *_problems(picture, frame, status), row()]
    return found + _parts(picture, frame, status) + _last_change(picture, frame)


def _problems_of_file(picture: Picture, frame: Frame) -> list[Row]:
    """The configuration as it stands on disk has errors: often the very reason for the visit."""
    problems = picture.problems.get(frame.text.language, ())
    if not problems:
        return []
    words = frame.text("tui.config_wrong", count=len(problems), file=str(picture.file))
    lines = [line for problem in problems[:5] for line in paragraph(problem, frame.columns - 1, 3)]
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
        words = frame.text("tui.screen_old", ago=picture.age(frame.now) or 0)
        return marked("old", words, frame) if picture.away else []  # else it stands above already
    found = picture.findings.value
    verdict = found.verdict if found else status.verdict
    count = sum(each.severity != "info" for each in found.findings) if found else len(status.reasons)
    shape = stated(verdict, frame.text(f"verdict.{verdict}", count=count))
    return [row(" ", Span(shape.text, f"{shape.style} strong"))]


def _problems(picture: Picture, frame: Frame, status: Status) -> list[Row]:
    """Worst first: what, since when, what still works, what to try in order. Enter goes where one can look further."""
    if picture.findings.value is None:
        return [line for i, words in enumerate(status.reasons) for line in marked("attention", words, frame, f"f{i}")]
    found: list[Row] = []
    for i, finding in enumerate(picture.findings.value.findings):
        if frame.fits(finding.sentence):
            found += _finding(finding, picture, frame, whole=i < WHOLE)
    return found


def _finding(finding: Finding, picture: Picture, frame: Frame, *, whole: bool) -> list[Row]:
    text = frame.text
    item = _item(picture, finding)
    ago = max(0.0, frame.wall.timestamp() - finding.since)
    since = text("tui.overview.since", time=clock(frame, ago), ago=ago) if ago >= FRESH else ""
    key = f"{finding.key}/{finding.subject}"
    found = marked(SEVERITIES[finding.severity], finding.sentence, frame, key, Place(finding.screen, item))
    found += paragraph(" ".join(filter(None, (since, finding.works if whole else ""))), frame.columns - 1, 3, "dim")
    steps = finding.steps if whole else finding.steps[:1]
    for number, step in enumerate(steps, 1):
        lead = text("tui.overview.try") if number == 1 else " " * len(text("tui.overview.try"))
        lines = paragraph(f"{number}. {step}", frame.columns - 5 - len(lead), 0)
        found.append(row(Span(f"   {lead} ", "strong"), lines[0].plain))
        found += [row(" " * (len(lead) + 7), line.plain) for line in lines[1:]]
    return found


def _item(picture: Picture, finding: Finding) -> str:
    """What to select on its screen."""
    if finding.screen == "modbus":
        return modbus.item(picture, finding)
    return box.item(finding) if finding.screen == "box" else finding.item


def _first_steps(picture: Picture, frame: Frame) -> list[Row]:
    """A new box: three steps."""
    text = frame.text
    found = paragraph(text("tui.empty"), frame.columns - 1, 1, "strong")
    for number in (1, 2, 3):
        found += paragraph(text(f"tui.empty.{number}", file=str(picture.file)), frame.columns - 1, 1)
    return found


# --- the parts of the box ---------------------------------------------------------------------------------------------


def _parts(picture: Picture, frame: Frame, status: Status) -> list[Row]:
    """A line for each."""
    old = picture.old(frame.now, frame.interval)
    parts = [
        _measuring(frame, status),
        *_sinks(picture, frame, status),
        _journal(frame, status),
        *_machine(picture, frame),
    ]
    parts += _meeting(picture, frame)
    return [title(frame.text("tui.overview.parts"), frame.columns), *(_line(frame, part, old=old) for part in parts)]


def _line(frame: Frame, part: Part, *, old: bool) -> Row:
    state = "old" if old else part.state
    shape = stated(state, frame.text("tui.old") if old else frame.text(f"tui.state.{state}"))
    room = NARROW_LABEL if frame.narrow else LABEL
    name = part.name if len(part.name) <= room else f"{part.name[: room - 1]}…"
    left = frame.columns - room - STATE - 4
    words = part.words if len(part.words) <= left else ""
    state_words = Span(f"{shape.text:<{STATE}}", shape.style)
    return row(
        f" {name:<{room}} ",
        state_words,
        Span(f" {words}", "dim" if old else ""),
        key=f"part-{part.name}",
        leads=part.leads,
    )


def _measuring(frame: Frame, status: Status) -> Part:
    points = status.points
    state = "good" if points.good == points.total else "uncertain" if points.good else "bad"
    words = frame.text("tui.overview.points", total=points.total, good=points.good)
    return Part(frame.text("tui.part.measuring"), state, words, Place("points"))


def _sinks(picture: Picture, frame: Frame, status: Status) -> list[Part]:
    found, since = [], frame.now - (picture.status.at or frame.now)
    for sink in status.sinks:
        age = "–" if sink.oldest_unsent_s is None else frame.text.duration(sink.oldest_unsent_s + since)
        words = frame.text("tui.overview.sink", waiting=sink.waiting, age=age)
        found.append(Part(sink.id, sink.state, words, Place("uplink", sink.id)))
    return found


def _journal(frame: Frame, status: Status) -> Part:
    journal, text = status.journal, frame.text
    words = text("tui.overview.journal", readings=journal.readings, size=text.size(journal.bytes))
    state = "failed" if journal.error else "good"
    return Part(text("tui.part.journal"), state, journal.error or words, Place("uplink"))


def _meeting(picture: Picture, frame: Frame) -> list[Part]:
    """Only of a box that has one."""
    now: MeetingNow | None = picture.meeting_now.value
    if now is None or now.state == "off":
        return []
    count = sum(len(room.members) for room in now.rooms)
    words = {"down": "", "empty": frame.text("tui.overview.nobody")}.get(now.state)
    told = frame.text("tui.meeting.live", count=count) if words is None else words
    state = "attention" if now.state == "down" else "good"
    return [Part(frame.text("tui.screen.meeting"), state, told, Place("meeting"))]


def _last_change(picture: Picture, frame: Frame) -> list[Row]:
    """Often the cause: what somebody changed last, and when."""
    done = next((each for each in picture.audit.value or () if each.action != "maintain"), None)
    if done is None:
        return []
    when = clock(frame, max(0.0, frame.wall.timestamp() - done.time))
    what = " ".join(filter(None, (when, done.by, done.action, done.about)))
    name = frame.text("tui.overview.change")
    if frame.narrow:
        return [row(f" {name}"), *paragraph(what, frame.columns - 1, 3)]
    return [row(f" {name:<{LABEL}} {what}"[: frame.columns], leads=Place("box"), key="part-change")]


def _network(now: BoxNow, frame: Frame) -> list[Part]:
    """The addresses by which others reach the box; what lies beyond is for its ladder to say."""
    ways = now.network.interfaces
    addresses = [each.split("/")[0] for way in ways if way.carrier for each in way.addresses if ":" not in each]
    state = "good" if addresses else "uncertain"
    words = ", ".join(addresses) or frame.text("tui.network.no_address")
    return [Part(frame.text("tui.screen.network"), state, words, Place("network"))] if ways else []


def _machine(picture: Picture, frame: Frame) -> list[Part]:
    """Clock, storage, supply and heat, once the machine has been looked at."""
    now: BoxNow | None = picture.box.value
    if now is None:
        return []
    text, place = frame.text, Place("box")
    power, storage = now.power, now.storage
    weak = power.low_now or power.throttled_now
    heat = "" if now.celsius is None else f"{text.number(now.celsius, 0)} °C"
    synced = "good" if now.clock.synced else "uncertain"
    clock_words = text("tui.box.synced" if now.clock.synced else "tui.box.unsynced", source=now.clock.source)
    up = text("tui.overview.up", ago=now.up_s)
    free = text("tui.overview.free", free=float(storage.free_bytes), pct=storage.free_pct)
    return [
        *_network(now, frame),
        Part(text("tui.box.clock"), synced, clock_words, place),
        Part(text("tui.box.storage"), "bad" if storage.read_only else "good", free, place),
        Part(text("tui.overview.power"), "bad" if weak else "good", ", ".join(filter(None, (heat, up))), place),
    ]
