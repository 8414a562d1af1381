"""Screen 5: the way to every broker and sink, rung by rung, as `edge net` climbs it, and the box's own addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.show import width
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Piece, Row, Span, fields, paragraph, row, shortened, stated
from edge_agent.tui.views.frame import Frame, as_old, away, title, told

if TYPE_CHECKING:
    from edge_agent.box_now import BoxNow
    from edge_agent.interfaces import Interface


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """What the ladder has said so far, and what there is to reach."""
    run = picture.runs["network"]
    found = away(picture, frame)
    if run.words:
        found += [*told(run, frame), row()]
    else:
        found += [*paragraph(frame.text("tui.network.begin"), frame.columns - 1, 1), row()]
    return [*found, *own(picture, frame), *_ways(picture, frame)]


def own(picture: Picture, frame: Frame) -> list[Row]:
    """The box's own plugs and addresses, to be read out on the telephone."""
    box: BoxNow | None = picture.box.value
    if box is None or not box.network.interfaces:
        return []
    pairs = as_old(plugs(box, frame), picture, frame)
    return [title(frame.text("tui.network.own"), frame.columns), *fields(pairs, frame.columns), row()]


def plugs(box: BoxNow, frame: Frame) -> list[tuple[str, Piece]]:
    """Each way to the outside with its addresses, and what leads out of the own network."""
    pairs: list[tuple[str, Piece]] = [(each.name, _stand(each, frame)) for each in box.network.interfaces]
    return [*pairs, (frame.text("tui.network.gateway"), box.network.gateway or "–")] if pairs else []


def _stand(interface: Interface, frame: Frame) -> Span:
    text = frame.text
    words = [text(f"tui.network.{interface.kind}")]
    if interface.signal_dbm is not None:
        words.append(f"{interface.signal_dbm} dBm")
    words += interface.addresses or [text("tui.network.no_address" if interface.carrier else "tui.network.no_signal")]
    state = "good" if interface.addresses and interface.carrier else "left_out"
    return stated(state, ", ".join(words))


def _ways(picture: Picture, frame: Frame) -> list[Row]:
    """Brokers, sinks and endpoints by their names, so that a finding about one of them leads to it."""
    if not picture.ways:
        return []
    found = [title(frame.text("tui.network.ways"), frame.columns)]
    room = max(width(way.id) for way in picture.ways) + 2
    for way in picture.ways:
        where = shortened(way.where, frame.columns - room - 2)
        found.append(row(Span(f" {way.id:<{room}}", "strong"), where, key=way.id))
    return found
