"""Screen 4: where readings go: each sink's state, what waits, how old that is, and the server's own words."""

from __future__ import annotations

from edge_agent.status import Status
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Piece, Place, Row, Span, fields, paragraph, row, stated
from edge_agent.tui.views.frame import Frame, away, title, unknown


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
    state = "old" if picture.old(frame.now, frame.interval) else sink.state
    word = text("tui.old") if state == "old" else text(f"sink.{sink.state}")
    oldest = "–" if sink.oldest_unsent_s is None else text.duration(sink.oldest_unsent_s)
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
    if sink.next_try_s is not None:
        pairs.append((text("tui.uplink.next"), text.duration(sink.next_try_s)))
    head = title(sink.id, frame.columns)
    leads = Place("uplink", sink.id)
    return [
        Row(head.spans, key=sink.id, leads=leads),
        *fields(pairs, frame.columns),
        *_room(frame, sink.waiting),
        row(),
    ]


def _room(frame: Frame, waiting: int) -> list[Row]:
    return [] if waiting else [row(Span(f" {frame.text('tui.uplink.empty')}", "dim"))]


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
    return [title(text("tui.uplink.journal"), frame.columns), *fields(pairs, frame.columns)]
