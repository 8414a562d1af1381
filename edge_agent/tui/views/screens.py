"""The eight screens in the order of their digits, and the two lines that stand above and below all of them."""

from __future__ import annotations

from edge_agent.show import width
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import STATE_MARKS, Place, Row, Span
from edge_agent.tui.views import box, help, log, meeting, modbus, network, overview, points, uplink
from edge_agent.tui.views.frame import Frame, Screen, left_of_trial

SCREENS = (
    Screen("overview", overview.rows, ("status", "findings", "box", "config", "meeting_now", "audit")),
    Screen("points", points.rows, ("status", "points", "trends")),
    Screen("modbus", modbus.rows, ("status",)),
    Screen("uplink", uplink.rows, ("status", "journal", "uplink")),
    Screen("network", network.rows, ("status",)),
    Screen("meeting", meeting.rows, ("status", "points", "meeting_now")),
    Screen("log", log.rows, ("status", "log")),
    Screen("box", box.rows, ("status", "box", "config", "maintenance", "audit")),
)
POINT = Screen("point", points.rows, ("status", "points", "point"))
"""The page of one point."""
HELP = Screen("help", help.rows, ("status",))
BY_NAME = {screen.name: screen for screen in (*SCREENS, HELP)}


def of(place: Place) -> Screen:
    """The screen of a place."""
    return POINT if place.detail and place.screen == "points" else BY_NAME[place.screen]


def header(picture: Picture, frame: Frame) -> Row:
    """Name, time, how the box is, and whether this screen is to be believed; the least telling parts give way."""
    text, status = frame.text, picture.status.value
    name = (status.name or status.site) if status else text("tui.name")
    parts = [name, frame.wall.strftime("%H:%M:%S" if frame.interval < 2 else "%H:%M")]
    if status and not _stale(picture, frame):
        parts += [part for part in _figures(picture, frame) if part]
    elif status:
        parts.append(f"◌ {text('tui.screen_old', ago=picture.age(frame.now) or 0)}")
    if picture.away:
        parts.insert(2, f"✖ {text('tui.away')}")
    if frame.paused:
        parts.insert(2, text("tui.paused"))
    if frame.find:
        parts.insert(2, f"/{frame.find}")
    if frame.interval > 1:
        parts.insert(2, text("tui.slow", every=frame.interval))
    if (left := left_of_trial(picture, frame)) is not None:
        parts.insert(2, text("tui.head.trial", left=left))
    mode = text("tui.maintain", name=frame.maintain) if frame.maintain else text("tui.read_only")
    parts.append(f"[{mode}]")
    return _bar(parts, frame.columns)


def _stale(picture: Picture, frame: Frame) -> bool:
    return picture.old(frame.now, frame.interval)


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


def _bar(parts: list[str], columns: int) -> Row:
    kept: list[str] = []
    for part in parts:
        if width("  ".join([*kept, part])) + 2 <= columns:
            kept.append(part)
    line = " " + "  ".join(kept)
    return Row((Span(line + " " * max(0, columns - width(line)), "bar"),))


def footer(frame: Frame, place: str) -> Row:
    """The screens and the keys that are always there."""
    text = frame.text
    names = [f"{i} {text(f'tui.screen.{screen.name}')}" for i, screen in enumerate(SCREENS, 1)]
    keys = " / ? : q"
    line = " ".join(names)
    if len(line) + len(keys) + 2 > frame.columns:
        here = next((name for name, screen in zip(names, SCREENS, strict=True) if screen.name == place), "")
        line = f"1–8  [{here}]" if here else "1–8"
        return Row((Span(f" {line} ", "strong"), Span(f" {text('tui.footer.short')}", "dim")))
    spans = [Span(" ")]
    for name, screen in zip(names, SCREENS, strict=True):
        spans += [Span(name, "bar" if screen.name == place else ""), Span(" ")]
    return Row((*spans, Span(keys, "dim")))
