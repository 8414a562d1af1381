"""Screen 4: where readings go: each sink's state, what waits, how old that is, and the server's own words."""

from __future__ import annotations

from datetime import datetime

from edge_agent.status import Status
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Piece, Place, Row, Span, fields, paragraph, row, sparkline, stated
from edge_agent.tui.views.frame import Frame, as_old, away, title, unknown

DAY_COLUMNS, MOST_REFUSED = 48, 10


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """One block for each sink, then the journal."""
    found = away(picture, frame)
    status = picture.status.value
    if status is None:
        return found + unknown(picture.status, picture, frame)
    for sink in status.sinks:
        if frame.fits(f"{sink.id} {sink.where} {sink.error or ''}"):
            found += _sink(picture, frame, status, sink.id)
    if not status.sinks:
        found += paragraph(frame.text("tui.uplink.none", file=str(picture.file)), frame.columns - 1, 1)
    return found + _journal(picture, frame, status)


def _sink(picture: Picture, frame: Frame, status: Status, name: str) -> list[Row]:
    text = frame.text
    sink = next(each for each in status.sinks if each.id == name)
    old, since = picture.old(frame.now, frame.interval), frame.now - (picture.status.at or frame.now)
    state = "old" if old else sink.state
    word = text("tui.old") if state == "old" else text(f"sink.{sink.state}")
    oldest = "–" if sink.oldest_unsent_s is None else text.duration(sink.oldest_unsent_s + since)
    pairs: list[tuple[str, Piece]] = [
        (text("tui.uplink.state"), stated(state, word)),
        (text("tui.uplink.where"), sink.where),
        (text("tui.uplink.waiting"), text("tui.uplink.readings", count=sink.waiting)),
        (text("tui.uplink.oldest"), oldest),
        (text("tui.uplink.delivered"), text("tui.uplink.readings", count=sink.delivered)),
    ]
    if sink.quarantined:
        kept = stated("attention", text("tui.uplink.readings", count=sink.quarantined))
        pairs.append((text("tui.uplink.quarantined"), kept))
    if sink.error:
        pairs.append((text("tui.uplink.error"), Span(f"“{sink.error}”", "bad")))
    if sink.next_try_s is not None and not old:
        pairs.append((text("tui.uplink.next"), text.duration(max(0.0, sink.next_try_s - since))))
    head = title(sink.id, frame.columns)
    leads = Place("uplink", sink.id)
    return [
        Row(head.spans, key=sink.id, leads=leads),
        *fields(as_old([*pairs, *_day(picture, frame, name, sink.waiting)], picture, frame), frame.columns),
        *_refused(picture, frame, name),
        row(),
    ]


def _day(picture: Picture, frame: Frame, name: str, waiting: int) -> list[tuple[str, Piece]]:
    """The last 24 hours as a bar of what waited, and how long there is room."""
    text = frame.text
    day = next((each for each in picture.uplink.value or () if each.id == name), None)
    if day is None:
        return []
    waited = [None if each is None else float(each) for each in day.bar]
    # The bar knows what stood when it was last written; what waits now may be more already.
    most = max([*(each for each in day.bar if each is not None), waiting])
    bar = sparkline(waited, min(DAY_COLUMNS, max(12, frame.columns - 30)))
    pairs: list[tuple[str, Piece]] = [
        (text("tui.uplink.day"), bar or "–"),
        (text("tui.uplink.most"), text("tui.uplink.readings", count=most)),
    ]
    if day.last_success_s is not None:
        ago = day.last_success_s + frame.now - (picture.uplink.at or frame.now)
        pairs.append((text("tui.uplink.success"), text("tui.uplink.ago", ago=ago)))
    if day.room_days is not None:
        pairs.append((text("tui.uplink.room"), text.duration(day.room_days * 86_400)))
    return pairs


def _refused(picture: Picture, frame: Frame, name: str) -> list[Row]:
    """The newest readings that the server refused, with its words."""
    day = next((each for each in picture.uplink.value or () if each.id == name), None)
    found: list[Row] = []
    for refused in (day.refused if day else [])[:MOST_REFUSED]:
        when = datetime.fromtimestamp(refused.at, frame.wall.tzinfo).strftime("%d/%m %H:%M")
        words = f"{when} {refused.device}: “{refused.words}”  {refused.line}"
        found += paragraph(words, frame.columns - 1, 1, "attention")
    return found


def _journal(picture: Picture, frame: Frame, status: Status) -> list[Row]:
    text, journal = frame.text, status.journal
    pairs: list[tuple[str, Piece]] = [
        (
            text("tui.uplink.on_disk"),
            f"{text('tui.uplink.readings', count=journal.readings)}, {text.size(journal.bytes)}",
        ),
        (text("tui.uplink.pending"), text("tui.uplink.readings", count=journal.pending)),
        (text("tui.uplink.commit"), text("net.ms", ms=text.number(journal.commit_ms, 1))),
    ]
    if journal.error:
        pairs.append((text("tui.uplink.error"), Span(journal.error, "bad")))
    if (stat := picture.journal.value) is not None:
        lost = text("tui.uplink.lost", thinned=stat.thinned, damaged=stat.damaged_files)
        pairs.append((text("tui.uplink.losses"), lost))
    return [title(text("tui.uplink.journal"), frame.columns), *fields(as_old(pairs, picture, frame), frame.columns)]
