"""The picture of the demonstration: from what is known to the lines of a terminal. Plain functions, no I/O.

No line is wider than the terminal, so nothing ever wraps; and state is told by word and shape, with colour beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from edge_agent.board import PointNow
from edge_agent.demo.watch import Depth, Event, Moment, device, label, unit
from edge_agent.show import MARKS, colours, painted, shown, width
from edge_agent.text import Text

SHOWN = (
    ("water-1.water.level_m", 2),
    ("met-1.weather.temp_c", 1),
    ("met-1.air.pm2_5_ugm3", 0),
    ("cab-1.weather.temp_c", 1),
    ("rain-1.weather.rain_total_mm", 1),
    ("power-1.power.power_w", 0),
    ("cnt-1.traffic.speed_avg_kmh[lane=1,dir=forward,class=motorcycle]", 1),
    ("met-1.noise.la_db", 1),
    ("power-1.power.voltage_l1_v", 1),
    ("met-1.weather.rh_pct", 1),
    ("met-1.weather.wind_speed_ms", 1),
)
"""Points that everyone understands, the most telling first, and their decimals."""
DECIMALS = dict(SHOWN)
TROUBLED = 3
"""Rows that are given to bad points which would not be seen otherwise."""
PLOT = 3
"""Lines of the backlog's plot."""
AFTERWARDS = 5
"""Seconds that the delivery of the rest may take until the plot begins to move on."""
LEAST_SCALE = 10
"""Readings that the plot's height stands for at least: a handful must not look like an outage."""
BLOCKS = " ▁▂▃▄▅▆▇█"


class Picture(msgspec.Struct, frozen=True):
    """Everything that a frame shows."""

    stage: str
    """What is going on, one sentence."""
    alarm: bool
    """It is something that was switched off."""
    elapsed: float
    end: float | None
    """Seconds; None: Ctrl-C is."""
    over: bool
    """Nothing is simulated any more."""
    now: Moment | None
    depths: Sequence[Depth]
    events: Sequence[Event]


def frame(picture: Picture, text: Text, columns: int, rows: int) -> list[str]:
    """The lines of the picture, from the most important on: at most `rows`, at most `columns` wide."""
    events = max(3, (rows - 24) // 3 + 3)
    table = rows - events - PLOT - 7
    lines = [_title(picture, text, columns), _stage(picture, columns)]
    if picture.over:
        lines += _curtain(text, columns, table + 1)
    else:
        lines += [_box(picture, text, columns), *_table(picture, text, columns, table)]
    lines += _queue(picture, text, columns)
    lines += _events(picture, text, columns, events)
    return lines[:rows]


def _title(picture: Picture, text: Text, columns: int) -> str:
    clock = minutes(picture.elapsed) + (f" / {minutes(picture.end)}" if picture.end else "")
    left = f" {text('demo.title', site=picture.now.status.name if picture.now else '')}"
    return _styled(fit(left, columns - width(clock) - 2) + f" {clock} ", "1;7")


def minutes(seconds: float) -> str:
    """`1:05`"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _stage(picture: Picture, columns: int) -> str:
    return _styled(fit(f" {picture.stage}", columns), "1;33" if picture.alarm else "1")


def _box(picture: Picture, text: Text, columns: int) -> str:
    """What the box says of itself, in its own words."""
    if picture.now is None:
        return ""
    status = picture.now.status
    said = status.reasons[0] if status.reasons else text("verdict.ok")
    return painted(fit(f" {MARKS[status.verdict]} {said}", columns), status.verdict)


def _curtain(text: Text, columns: int, rows: int) -> Iterator[str]:
    """In place of the table: devices that were switched off on purpose are no row of bad points."""
    said = ["", *text("demo.curtain").split("\n")]
    yield from (fit(f" {line}", columns) for line in said[:rows])
    yield from [""] * (rows - len(said))


def _table(picture: Picture, text: Text, columns: int, rows: int) -> Iterator[str]:
    """Head, `rows` - 2 points, and how many more there are."""
    points = picture.now.points if picture.now else []
    chosen = choose(points, rows - 2)
    cells = [_cells(point, text) for point in chosen]
    head = [text(f"demo.head.{name}") for name in ("device", "point", "value", "unit", "quality", "age")]
    widths = [max(width(row[i]) for row in [head, *cells]) for i in range(len(head))]
    widths[4] = max(8, columns - sum(widths[:4]) - widths[5] - 7)
    yield _styled(fit(_row(head, widths), columns), "4")
    for point, row in zip(chosen, cells, strict=True):
        yield _painted_row(point, row, widths, columns)
    yield from [""] * (rows - 2 - len(chosen))
    rest = [point for point in points if point not in chosen]
    bad = sum(point.quality == "bad" for point in rest)
    yield _styled(fit(f" {text('demo.more', count=len(rest), bad=bad)}" if rest else "", columns), "2")


def choose(points: Sequence[PointNow], rows: int) -> list[PointNow]:
    """The points that everyone understands, and in their last rows those of the others that are bad."""
    by = {point.point: point for point in points}
    known = [by[name] for name, _ in SHOWN if name in by]
    others = [point for point in points if point.point not in DECIMALS]
    bad = [point for point in others if point.quality != "good"][:TROUBLED]
    good = [point for point in others if point.quality == "good"]
    return [*[*known, *good][: max(0, rows - len(bad))], *bad][: max(0, rows)]


def _cells(point: PointNow, text: Text) -> list[str]:
    quality = f"{MARKS[point.quality]} {text(f'quality.{point.quality}')}"
    if point.reason != "ok":
        quality += f": {text(f'reason.{point.reason}')}"
    age = "–" if point.age_s is None else text("demo.age", seconds=round(point.age_s))
    return [device(point), label(point, text), _value(point, text), unit(point), quality, age]


def _value(point: PointNow, text: Text) -> str:
    if isinstance(point.value, float):
        return text.number(point.value, DECIMALS.get(point.point, 2))
    return shown(point.value, text)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    placed = [fit(cell, space, right=i in (2, 5)) for i, (cell, space) in enumerate(zip(cells, widths, strict=True))]
    return " " + " ".join(placed)


def _painted_row(point: PointNow, cells: list[str], widths: list[int], columns: int) -> str:
    """The row with its quality in colour; cut before it is painted, since colours take no columns."""
    row = fit(_row(cells, widths), columns)
    start = sum(widths[:4]) + 5
    return row[:start] + painted(row[start : start + widths[4]], point.quality) + row[start + widths[4] :]


def _queue(picture: Picture, text: Text, columns: int) -> Iterator[str]:
    """What is on the box, what of it waits, and how that came about."""
    now = picture.now
    sink = now.sink if now else None
    state = f"InfluxDB: {MARKS['ok' if sink.state == 'up' else 'bad']} {text(f'sink.{sink.state}')}" if sink else ""
    if sink and sink.next_try_s is not None:
        state += f", {text('demo.next_try', seconds=round(sink.next_try_s))}"
    yield _rule(text("demo.queue"), state, columns, sink.state if sink else "")
    yield _counts(now, text, columns) if now else ""
    yield from plot(picture.depths, picture.end, text, columns)


def _counts(now: Moment, text: Text, columns: int) -> str:
    sink, kept = now.sink, now.status.journal
    facts = {"readings": kept.readings, "size": text.size(kept.bytes)}
    if sink is None:
        return fit(f" {text('demo.kept', **facts)}", columns)
    said = f" {text('demo.counts', waiting=sink.waiting, delivered=sink.delivered, **facts)} "
    return fit(said + bar(sink.delivered, sink.delivered + sink.waiting, columns - width(said) - 1), columns)


def bar(done: float, whole: float, space: int) -> str:
    """How much is done; nothing where there is no space for it."""
    full = round(space * (done / whole if whole else 1))
    return "█" * min(full, space) + "░" * (space - full)


def plot(depths: Sequence[Depth], end: float | None, text: Text, columns: int) -> Iterator[str]:
    """The backlog by the second, and below it when InfluxDB was away. A short demonstration fills the width too."""
    space = max(1, columns - 8)
    each = max(1, int(space / (end + AFTERWARDS))) if end else 1
    recent = [depth for depth in depths for _ in range(each)][-space:]
    highest = max((depth.waiting for depth in recent), default=0)
    label = 6
    scale = max(highest, LEAST_SCALE)
    heights = [-(-depth.waiting * PLOT * 8 // scale) for depth in recent]
    for line in range(PLOT - 1, -1, -1):
        side = text.number(highest) if line == PLOT - 1 and highest else ""
        marks = [BLOCKS[min(8, max(0, height - 8 * line))] for height in heights]
        yield fit(side, label, right=True) + " " + _by_state(marks, recent)
    yield " " * label + " " + _axis(recent, text("demo.away"), space)


def _axis(recent: Sequence[Depth], word: str, space: int) -> str:
    marks = ["━" if depth.away else "─" for depth in recent]
    first = next((i for i, depth in enumerate(recent) if depth.away), len(recent))
    end = first + width(word) + 1
    if first == len(recent) or end > space:
        return _by_state(marks, recent)
    before, after = _by_state(marks[:first], recent[:first]), _by_state(marks[end:], recent[end:])
    return before + painted(f"{word} ", "bad") + after


def _by_state(marks: Sequence[str], recent: Sequence[Depth]) -> str:
    """The marks, those of seconds without InfluxDB in red."""
    runs = groupby(zip(marks, recent, strict=True), key=lambda pair: pair[1].away)
    return "".join(painted("".join(mark for mark, _ in run), "bad" if away else "good") for away, run in runs)


def _events(picture: Picture, text: Text, columns: int, rows: int) -> Iterator[str]:
    yield _rule(text("demo.events"), text("demo.keys"), columns)
    for event in list(picture.events)[-rows:]:
        yield fit(f" {minutes(event.at):>5}  {event.sentence}", columns)


def _rule(left: str, right: str, columns: int, state: str = "") -> str:
    """A line across, with words at both ends."""
    start, end = f"── {left} ", f" {right} ──" if right else "──"
    if width(start) + width(end) > columns:
        return fit(start + end, columns)
    return _styled(start + "─" * (columns - width(start) - width(end)), "2") + (painted(end, state) or end)


def fit(words: str, columns: int, *, right: bool = False) -> str:
    """Exactly `columns` wide: filled up, or cut with a sign that something is missing."""
    space = columns - width(words)
    if space >= 0:
        return " " * space + words if right else words + " " * space
    cut = words
    while cut and width(cut) > columns - 1:
        cut = cut[:-1]
    return (cut + "…")[: max(0, columns)]


def _styled(words: str, code: str) -> str:
    return f"\x1b[{code}m{words}\x1b[0m" if colours() else words
