"""What was so once: rows of an old answer lose their shapes and colours, for nobody knows how it is now."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edge_agent.tui.rows import Row, Span

STATES = "●▲✖"


def aged(rows: Sequence[Row]) -> list[Row]:
    """The same rows, dim, each state with the mark of what is old."""
    return [msgspec.structs.replace(each, spans=tuple(_aged(span) for span in each.spans)) for each in rows]


def _aged(span: Span) -> Span:
    return Span(f"◌{span.text[1:]}" if span.text[:1] in STATES and span.text else span.text, "dim")
