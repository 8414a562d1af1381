"""The eight screens in the order of their digits, and the two lines that stand above and below all of them."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.show import width
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import STATE_MARKS, Place, Row, Span, shortened
from edge_agent.tui.views import box, help, log, meeting, modbus, network, overview, points, uplink
from edge_agent.tui.views.frame import Frame, Screen, left_of_trial

SCREENS = (
    Screen("overview", overview.rows, ("status", "findings", "box", "config", "meeting_now", "audit")),
    Screen("points", points.rows, ("status", "points", "trends")),
    Screen("modbus", modbus.rows, ("status",)),
    Screen("uplink", uplink.rows, ("status", "journal", "uplink")),
    Screen("network", network.rows, ("status", "box")),
    Screen("meeting", meeting.rows, ("status", "points", "meeting_now")),
    Screen("log", log.rows, ("status", "log")),
    Screen("box", box.rows, ("status", "box", "config", "maintenance", "audit")),
)
POINT = Screen("point", points.rows, ("status", "points", "point"))
"""The page of one point."""
HELP = Screen("help", help.rows, ("status",))
LEAST_NAME = 8
"""Columns of the box's name above."""
BY_NAME = {screen.name: screen for screen in (*SCREENS, HELP)}


def of(place: Place) -> Screen:
    """The screen of a place."""
    return POINT if place.detail and place.screen == "points" else BY_NAME[place.screen]


def header(picture: Picture, frame: Frame) -> Row:
    """Name, time, how the box is, whether this screen is to be believed; the mode always stands at the end.

    Each part has a rank: where there is no room for all, the highest give way.
    """
    text, status = frame.text, picture.status.value
    name = (status.name or status.site) if status else text("tui.name")
    parts = [(3, shortened(name, max(LEAST_NAME, frame.columns // 3)))]
    parts.append((4, frame.wall.strftime("%H:%M:%S" if frame.interval < 2 else "%H:%M")))
    if (left := left_of_trial(picture, frame)) is not None:
        parts.append((0, text("tui.head.trial.narrow" if frame.narrow else "tui.head.trial", left=left)))
    if frame.interval > 1:
        parts.append((2, text("tui.slow", every=frame.interval)))
    if frame.find:
        parts.append((2, f"/{frame.find}"))
    if frame.paused:
        parts.append((2, text("tui.paused")))
    if picture.away:
        parts.append((1, f"✖ {text('tui.away')}"))
    if picture.old(frame.now, frame.interval):
        parts.append((1, f"◌ {text('tui.screen_old', ago=picture.age(frame.now) or 0)}"))
    else:
        parts += [(5, part) for part in _figures(picture, frame)]
    return _bar(parts, _mode(frame), frame.columns)


def _mode(frame: Frame) -> str:
    """Whether things may be changed from here, and by whom; half of the line at most."""
    if not frame.maintain:
        return f"[{frame.text('tui.read_only')}]"
    bare = width(frame.text("tui.maintain", name="")) + 2
    name = shortened(frame.maintain, max(4, frame.columns // 2 - bare))
    return f"[{frame.text('tui.maintain', name=name)}]"


def _figures(picture: Picture, frame: Frame) -> list[str]:
    status = picture.status.value
    if status is None:
        return []
    found = [f"{STATE_MARKS[status.verdict]} {frame.text(f'tui.state.{status.verdict}')}"]
    points = status.points
    found.append(frame.text("tui.head.points", good=points.good, total=points.total))
    if status.sinks:
        worst = next((sink.state for sink in status.sinks if sink.state != "up"), "up")
        found.append(f"{frame.text('tui.head.uplink')} {STATE_MARKS[worst]}")
        found.append(frame.text("tui.head.waiting", count=max(sink.waiting for sink in status.sinks)))
    return found


def _bar(parts: Sequence[tuple[int, str]], mode: str, columns: int) -> Row:
    """As many parts as there is room for, by rank, and the mode in any case."""
    room = columns - width(mode) - 2
    kept: dict[int, str] = {}
    for i, (_, part) in sorted(enumerate(parts), key=lambda each: each[1][0]):
        if width(part) + 2 <= room:
            kept[i] = part
            room -= width(part) + 2
    line = " " + "  ".join([*(kept[i] for i in sorted(kept)), mode])
    return Row((Span(line + " " * max(0, columns - width(line)), "bar"),))


def footer(frame: Frame, place: str) -> Row:
    """The screens and the keys that are always there."""
    text = frame.text
    names = [f"{i} {text(f'tui.screen.{screen.name}')}" for i, screen in enumerate(SCREENS, 1)]
    keys = "/ ? : b q"
    line = " ".join(names)
    if width(line) + width(keys) + 2 > frame.columns:
        here = next((name for name, screen in zip(names, SCREENS, strict=True) if screen.name == place), "")
        line = f"1–8  [{here}]" if here else "1–8"
        return Row((Span(f" {line} ", "strong"), Span(f" {text('tui.footer.short')}", "dim")))
    spans = [Span(" ")]
    for name, screen in zip(names, SCREENS, strict=True):
        spans += [Span(name, "bar" if screen.name == place else ""), Span(" ")]
    wide = width(line) + width(keys) + 3 <= frame.columns
    return Row((*spans, Span(f"{' ' * wide}{keys}", "dim")))
