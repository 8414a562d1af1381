"""Thinning: which readings stay when the journal is full and nothing delivered is left to delete. Pure.

Of each series one line in every interval stays, and every line that a configured alarm is about. What goes is said by a
gap marker for each device, a line of the measurement `gap` that is delivered like any other.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from edge_agent.ledger import HOUR_MS, Key, Side, counted
from edge_agent.lines import Line, escape_tag

GAP = "gap"
"""Measurement of the markers: `readings`, how many are missing, and `since`, the time of the first of them in ms."""
MARKER_READINGS = 2

_CONDITION = re.compile(r"(?:([^.]+)\.)?([^. ]+)\.([^. <>=!]+) *([<>]=?|[=!]=) *(\S+)")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Condition(msgspec.Struct, frozen=True):
    """`[device.]measurement.field op number`, as alarms have it."""

    device: str | None
    measurement: str
    field: str
    compare: Callable[[float, float], bool]
    number: float

    def holds(self, line: Line) -> bool:
        """True where a value of the line meets it."""
        if line.measurement != self.measurement or (self.device is not None and line.device != self.device):
            return False
        return any(name == self.field and self._meets(value) for name, value in line.fields)

    def _meets(self, value: str) -> bool:
        try:
            return self.compare(float(value.removesuffix("i")), self.number)
        except ValueError:  # text or a truth value: no alarm compares these
            return False


def condition(text: str) -> Condition:
    """A condition that the configuration has checked; ValueError for any other."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return Condition(found[1], found[2], found[3], _COMPARE[found[4]], float(found[5]))


class Policy(msgspec.Struct, frozen=True):
    """What stays."""

    every_ms: int = 60_000
    """Of each series one line in so many milliseconds."""
    alarms: tuple[Condition, ...] = ()
    """Lines that meet one of these stay too."""


DEFAULT = Policy()


class Entry(msgspec.Struct, frozen=True):
    """One line of a row with its monotonic time."""

    line: Line
    mono: int
    undated: bool = False
    """Its time is still to be found out."""


class Thinned(msgspec.Struct, frozen=True):
    """What became of the lines of some rows."""

    kept: list[Entry]
    """With the gap markers at the end."""
    gone: Counter[Key]
    """Readings that went, by hour, device and measurement."""
    markers: Counter[tuple[int, str]]
    """Readings of markers by hour and device: new ones, less those that were merged into them."""


def thin(entries: Iterable[Entry], site: str, policy: Policy | None) -> Thinned:
    """Choose what stays; without a policy nothing does but the markers."""
    kept: list[Entry] = []
    gone: Counter[Key] = Counter()
    markers: Counter[tuple[int, str]] = Counter()
    gaps: dict[str, _Gap] = {}
    seen: set[tuple[str, str, int]] = set()
    for entry in entries:
        line = entry.line
        if line.measurement == GAP:
            markers[line.time // HOUR_MS, line.device] -= len(line.fields)
            _merge(gaps, line)
        elif policy is not None and _stays(line, policy, seen):
            kept.append(entry)
        else:
            gone[line.time // HOUR_MS, line.device, line.measurement] += len(line.fields)
            gaps.setdefault(line.device, _Gap(line.time, line.time)).widen(line.time, line.time, len(line.fields))
    for device, gap in gaps.items():
        marker = gap.line(site, device)
        markers[marker.time // HOUR_MS, device] += len(marker.fields)
        kept.append(Entry(marker, 0))
    return Thinned(kept, gone, markers)


def _stays(line: Line, policy: Policy, seen: set[tuple[str, str, int]]) -> bool:
    """A device's alarm points and its others share a series, each with lines of their own: one of each stays."""
    key = (line.series, line.fields[0][0] if line.fields else "", line.time // policy.every_ms)
    if key not in seen:
        seen.add(key)
        return True
    return any(alarm.holds(line) for alarm in policy.alarms)


class _Gap(msgspec.Struct):
    since: int
    until: int
    readings: int = 0

    def widen(self, since: int, until: int, readings: int) -> None:
        self.since, self.until = min(self.since, since), max(self.until, until)
        self.readings += readings

    def line(self, site: str, device: str) -> Line:
        series = f"{GAP},site={escape_tag(site)},sensor={escape_tag(device)}"
        fields = (("readings", f"{self.readings}i"), ("since", f"{self.since}i"))
        return Line(series, fields, (("q", "0i"),), self.until)


def _merge(gaps: dict[str, _Gap], marker: Line) -> None:
    fields = dict(marker.fields)
    readings, since = (int(fields.get(name, "0i").removesuffix("i")) for name in ("readings", "since"))
    gaps.setdefault(marker.device, _Gap(since, marker.time)).widen(since, marker.time, readings)


def side_of(entries: Sequence[Entry]) -> Side:
    """The counts of a row that holds these lines, counted from the lines themselves."""
    lines = [entry.line for entry in entries]
    undated = [i for i, entry in enumerate(entries) if entry.undated]
    return Side(counted(lines), [entry.mono for entry in entries], [len(line.fields) for line in lines], undated)
