"""Screen 6: the meeting of this box: who is in, who speaks and how loud, how the lines do, and where its page is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.tui.picture import Picture
from edge_agent.tui.qr import qr
from edge_agent.tui.rows import Line, Piece, Row, Span, cell, fields, paragraph, row, stated, table
from edge_agent.tui.views import points as points_view
from edge_agent.tui.views.frame import Frame, away, title, unknown

if TYPE_CHECKING:
    from edge_agent.meeting_now import MeetingNow, MemberNow

DEVICE = "meeting."
"""Begins the names of the meeting's own points."""
FIELDS = ("weak", "rtt_ms", "loss_pct", "freezes", "packets_s", "lag_ms", "strays", "wrong_codes", "code_locks")
COLUMNS = ("site", "level", "voice", "picture", "up", "down", "loss", "rtt")
BAR, QUIETEST = 8, 60
"""Cells of the bar; dB below full scale at which it is empty."""


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """How it stands, who is in, its figures and its address."""
    text, found = frame.text, away(picture, frame)
    now: MeetingNow | None = picture.meeting_now.value
    old = picture.old(frame.now, frame.interval)
    if picture.meeting is None and (now is None or now.state == "off"):
        return found + paragraph(text("tui.meeting.none", file=str(picture.file)), frame.columns - 1, 1)
    found.append(title(text("tui.screen.meeting"), frame.columns))
    found += unknown(picture.meeting_now, picture, frame) if now is None else _state(now, frame, old=old)
    if now is not None and now.state == "live":
        found += [row(), *_members(now, frame, old=old), *_figures(picture, frame)]
    return [*found, row(), *_place(picture, now, frame)]


def _state(now: MeetingNow, frame: Frame, *, old: bool) -> list[Row]:
    """One sentence; of a service that does not answer also why, and what to try."""
    text = frame.text
    if now.state == "down":
        why = f"{text('tui.meeting.silent')} {now.error}"
        state = "old" if old else "attention"
        lines = paragraph(f"{stated(state, '').text} {why}", frame.columns - 1, 1, "attention")
        return [*lines, *paragraph(text("tui.meeting.try"), frame.columns - 1, 3)]
    if now.state == "empty":
        return paragraph(f"○ {text('tui.meeting.empty')}", frame.columns - 1, 1, "dim")
    members = [member for room in now.rooms for member in room.members]
    speaking = ", ".join(member.site for member in members if member.speaks)
    words = text("tui.meeting.live", count=len(members))
    told = f"{words} {text('tui.meeting.speaking', sites=speaking)}" if speaking and not old else words
    mark = stated("old" if old else "good", told)
    found = paragraph(mark.text, frame.columns - 1, 1, mark.style)
    for room in now.rooms:
        if room.waiting:
            found += paragraph(text("tui.meeting.waiting", room=room.name), frame.columns - 1, 1)
    return found


def _members(now: MeetingNow, frame: Frame, *, old: bool) -> list[Row]:
    head = [frame.text(f"tui.meeting.head.{name}") for name in COLUMNS]
    lines = [_member(member, frame, old=old) for room in now.rooms for member in room.members]
    return table(head, lines, frame.columns, right=(4, 5, 6, 7))


def _member(member: MemberNow, frame: Frame, *, old: bool) -> Line:
    text = frame.text
    away = member.away or not member.connected
    name = member.site if member.role == "site" else f"{member.site} ({text(f'role.{member.role}')})"
    state = "old" if old else "attention" if away else "good"
    yes, no = text("value.yes"), "–"
    pieces: list[Piece] = [
        stated(state, name),
        Span("◌" if old else level(member), "dim" if old or not member.speaks else "good"),
        Span("–" if old else _says(member, frame), "" if member.speaks and not old else "dim"),
        text("tui.meeting.sound_only") if member.weak else yes if member.picture else no,
        text.number(member.up_kbit),
        text.number(member.down_kbit),
        f"{text.number(member.loss_pct, 1)} %",
        f"{text.number(member.rtt_ms)} ms",
    ]
    return Line(tuple(cell(piece) for piece in pieces))


def _says(member: MemberNow, frame: Frame) -> str:
    if member.away or not member.connected:
        return frame.text("tui.meeting.lost")
    word = "speaks" if member.speaks else "open" if member.voice else "closed"
    return frame.text(f"tui.meeting.mic.{word}")


def level(member: MemberNow) -> str:
    """The microphone as a bar: empty at 60 dB below full scale, which no speech is."""
    full = round(BAR * max(0, QUIETEST - member.level) / QUIETEST) if member.voice else 0
    return "█" * full + "·" * (BAR - full)


def _figures(picture: Picture, frame: Frame) -> list[Row]:
    """What goes into the journal every half minute."""
    own = {each.point.rpartition(".")[2]: each for each in picture.points.value or () if each.point.startswith(DEVICE)}
    pairs: list[tuple[str, Piece]] = []
    for name in FIELDS:
        if (point := own.get(name)) is not None and point.value is not None:
            words = points_view.figure(point, frame)
            old = picture.old(frame.now, frame.interval) or point.quality != "good"
            pairs.append(
                (frame.text(f"tui.meeting.{name}"), Span(f"◌ {words}" if old else words, "dim" if old else ""))
            )
    return [row(), *fields(pairs, frame.columns)] if pairs else []


def _place(picture: Picture, now: MeetingNow | None, frame: Frame) -> list[Row]:
    """Where the page is, also for a telephone's camera, and what this box does not have."""
    text, known = frame.text, picture.meeting
    page = (now.page if now else "") or (known.url if known else "")
    pairs: list[tuple[str, Piece]] = []
    if known:
        pairs += [(text("tui.meeting.room"), known.room), (text("tui.meeting.listen"), known.listen)]
    if page:
        pairs.append((text("tui.meeting.url"), page))
    pairs.append((text("tui.meeting.own"), Span(f"○ {text('tui.meeting.own.none')}", "dim")))
    return [*fields(pairs, frame.columns), *(qr(page, frame.columns, marks=frame.marks) if page else [])]
