"""What a benchmark finds, and the table of it: measured against the budget, as a ratio."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

HEAD = ("", "what", "measured", "spread", "n", "budget", "ratio")
LEFT = 2
"""Columns that are aligned left."""


class Result(msgspec.Struct, frozen=True):
    """One figure, measured several times."""

    what: str
    runs: tuple[float, ...]
    unit: str = ""
    budget: float | None = None
    """None: measured for comparison only."""
    at_least: bool = False
    """True: the budget is a least value, otherwise a most."""
    limit: float | None = None
    """What the servers of this machine allow at most, measured in the same runs; a least budget beyond it is theirs."""

    @property
    def measured(self) -> float:
        """Median of the runs."""
        return median(self.runs)

    @property
    def ratio(self) -> float | None:
        """Measured : budget."""
        return None if self.budget is None else self.measured / self.budget

    @property
    def verdict(self) -> str:
        """`ok`, `MISSED`, or `server`: the budget is beyond what the servers here allow anyone. Empty: no budget."""
        if self.ratio is None or self.budget is None:
            return ""
        if self.ratio >= 1 if self.at_least else self.ratio <= 1:
            return "ok"
        return "server" if self.limit is not None and self.limit < self.budget else "MISSED"


def number(value: float) -> str:
    """Three digits that count: 0.0312, 4.71, 38.2, 412,000."""
    if value >= 1000:
        size = 10 ** (len(str(int(value))) - 3)
        return f"{round(value / size) * size:,}"
    digits = 3 - len(str(int(value))) if value >= 1 else 3
    return f"{value:.{max(digits, 0)}f}"


def render(results: Sequence[Result]) -> str:
    """The table, aligned; verdicts in the first column."""
    rows = [HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["  ".join(_aligned(i, cell, widths[i]) for i, cell in enumerate(row)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _row(result: Result) -> tuple[str, ...]:
    unit = f" {result.unit}" if result.unit else ""
    limit = ratio = ""
    if result.budget is not None and result.ratio is not None:
        limit = f"{'>=' if result.at_least else '<='} {number(result.budget)}{unit}"
        ratio = f"{result.ratio:.2f}"
    spread = f"{number(min(result.runs))} .. {number(max(result.runs))}" if len(result.runs) > 1 else ""
    return result.verdict, result.what, number(result.measured) + unit, spread, str(len(result.runs)), limit, ratio


def _aligned(column: int, cell: str, width: int) -> str:
    return cell.ljust(width) if column < LEFT else cell.rjust(width)
