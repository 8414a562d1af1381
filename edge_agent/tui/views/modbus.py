"""Screen 3: a bench for one Modbus line. The tools ask in the gaps of polling, so nothing is paused by hand."""

from __future__ import annotations

from edge_agent.findings import Finding
from edge_agent.show import width
from edge_agent.tui.picture import Line, Picture, Slave
from edge_agent.tui.rows import Place, Row, Span, paragraph, row, shortened
from edge_agent.tui.runs import Run
from edge_agent.tui.views.frame import Frame, away, clock, title, told

TOOLS = ("read", "watch", "scan", "line", "plan")
"""What may be typed here; writing needs its own command and its questions."""
DISTURBING = ("read", "scan", "line")
"""They ask on the line; the others only look."""
BAR = 20
"""Columns."""
FOR = {"bus": "line", "points": "plan"}
"""The tool that says more of a finding about a whole bus, or about points that come too late."""


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """What can be done for each line, then what the newest tool said."""
    run = picture.runs["modbus"]
    found = away(picture, frame)
    if run.words:
        found += [*told(run, frame), *_polling(run, frame), row()]
    if not picture.buses:
        return found + paragraph(frame.text("tui.modbus.none", file=str(picture.file)), frame.columns - 1, 1)
    for bus in picture.buses:
        found.append(title(f"{bus.id}  {bus.where}", frame.columns))
        tools = [(_read(bus, slave), frame.text("tui.modbus.read", device=slave.id)) for slave in bus.slaves]
        tools += [(f"{tool} {bus.id}", frame.text(f"tui.modbus.{tool}")) for tool in TOOLS[1:]]
        room = max(width(words) for words, _ in tools)
        found += [each for words, does in tools for each in _tool(frame, words, does, room)]
    how = frame.text("tui.modbus.numbered" if frame.plain else "tui.modbus.enter")
    return found + paragraph(f"{how} {frame.text('tui.modbus.gaps')}", frame.columns - 1, 1, "dim")


def _polling(run: Run, frame: Frame) -> list[Row]:
    """How far the tool is, and what it means for the measuring of that line."""
    if len(run.words) < 3 or run.words[1] not in DISTURBING:
        return []
    bus, left, done = run.words[2], run.left(frame.now), run.progress
    if not run.running:
        words = frame.text("tui.modbus.resumed", bus=bus, time=clock(frame, frame.now - (run.at or frame.now)))
        return paragraph(words, frame.columns - 1, 1, "good")
    key = "tui.modbus.paused" if left is None else "tui.modbus.paused_for"
    lines = paragraph(frame.text(key, bus=bus, left=left or 0.0), frame.columns - 1, 1, "attention")
    if done is None:
        return lines
    full = BAR * done.done // max(done.total, 1)
    bar = f" {'█' * full}{'░' * (BAR - full)} {done.done}/{done.total}"
    return [row(Span(bar, "strong"), f" {shortened(done.words, frame.columns - width(bar) - 2)}"), *lines]


def item(picture: Picture, finding: Finding) -> str:
    """The row for a finding: a device's own first register, else the tool that looks at its whole bus."""
    bus = next((each for each in picture.buses if each.id in (finding.bus, finding.item)), None)
    if bus is None:
        return finding.item
    slave = next((each for each in bus.slaves if each.id == finding.item), None)
    if slave is not None and finding.of == "device":
        return _read(bus, slave)
    return f"{FOR.get(finding.of, 'line')} {bus.id}"


def _read(bus: Line, slave: Slave) -> str:
    return f"read {bus.id} {slave.unit} {slave.space} {slave.first} {slave.count} --all-types"


def _tool(frame: Frame, words: str, does: str, room: int) -> list[Row]:
    """The words to run, and in words what they do."""
    leads = Place("modbus", words)
    if frame.narrow or room + 3 + width(does) > frame.columns:
        return [row(f" {words}", key=words, leads=leads), *paragraph(does, frame.columns - 1, 3, "dim")]
    return [row(f" {words:<{room}}  ", Span(does, "dim"), key=words, leads=leads)]
