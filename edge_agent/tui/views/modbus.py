"""Screen 3: a bench for one Modbus line. The tools ask in the gaps of polling, so nothing is paused by hand."""

from __future__ import annotations

from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Place, Row, Span, paragraph, row
from edge_agent.tui.views.frame import Frame, away, title, told

TOOLS = ("read", "watch", "scan", "line", "plan")
"""What may be typed here; writing needs its own command and its questions."""
EXAMPLES = {
    "read": "{bus} {unit} hr 0 2 --all-types",
    "watch": "{bus}",
    "scan": "{bus}",
    "line": "{bus}",
    "plan": "{bus}",
}


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """What can be done for each line, then what the newest tool said."""
    run = picture.runs["modbus"]
    found = away(picture, frame)
    if run.words:
        found += [*told(run, frame), row()]
    if not picture.buses:
        return found + paragraph(frame.text("tui.modbus.none", file=str(picture.file)), frame.columns - 1, 1)
    for bus in picture.buses:
        found.append(title(f"{bus.id}  {bus.where}", frame.columns))
        for tool in TOOLS:
            words = f"{tool} {EXAMPLES[tool].format(bus=bus.id, unit=bus.unit)}"
            found += _tool(frame, tool, words)
    return found + paragraph(frame.text("tui.modbus.gaps"), frame.columns - 1, 1, "dim")


def _tool(frame: Frame, tool: str, words: str) -> list[Row]:
    """The words to run, and in words what they do."""
    does = frame.text(f"tui.modbus.{tool}")
    leads = Place("modbus", words)
    if frame.narrow:
        return [row(f" {words}", key=words, leads=leads), *paragraph(does, frame.columns - 1, 3, "dim")]
    return [row(f" {words:<34} ", Span(does, "dim"), key=words, leads=leads)]
