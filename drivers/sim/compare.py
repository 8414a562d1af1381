"""Holds a ledger against what a database has: every delivered value must be one that was generated, and every generated
one must be there.

A row is recognised by the sequence number in it. Its other values come from the same sample of the device or, where a
poll was cut in two by a fault, from one beside it; each generated value can be found only as often as it was given.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from drivers.reading import Value, quantities
from drivers.sim.encoding import SequencePoint
from drivers.sim.ledger import Answer, Entry, Ledger

Tags = tuple[tuple[str, str], ...]
Point = tuple[str, str, Tags]
"""Device, `measurement.field`, and the further tags of its series, sorted."""

NEAR = (0, -1, 1, -2, 2, -3, 3)
"""Samples beside the row's own in which a value may be found."""
CANDIDATES = 12
"""Samples on both sides of a row's time that are tried where it carries no number."""
MOST_MOVED = 30
"""Samples looked at to find one for a value."""
OWN_COLUMNS = frozenset({"time", "name", "site", "sensor", "q", "qr"})

_TAGGED = re.compile(r"(.*)\[(.*)\]")


class Delivered(msgspec.Struct, frozen=True):
    """One value that a database returned."""

    device: str
    """Tag `sensor`."""
    point: str
    """`measurement.field`"""
    time: int
    """Milliseconds since 1970 UTC."""
    value: Value
    tags: Mapping[str, str] = {}
    """Further tags of the series: lane, dir, class; src."""


class Found(msgspec.Struct, frozen=True):
    """A value that is not as it should be."""

    point: str
    device: str
    time: int
    n: int
    """Sequence number, 0 where none is known."""
    expected: Value | None = None
    got: Value | None = None


class Comparison(msgspec.Struct):
    """What came of the comparison, counted in values."""

    generated: int = 0
    """What had to be delivered or rejected."""
    delivered: int = 0
    """Of these, found with the right value."""
    rejected: int = 0
    """Of these, without a decodable value: not there, as it should be."""
    optional: int = 0
    """Found, though nobody had to deliver them: from late answers, messages without PUBACK."""
    missing: list[Found] = []
    twice: list[Found] = []
    """Found more often than they were given."""
    unexpected: list[Found] = []
    """From a device of the ledger, but never generated."""
    wrong: list[Found] = []
    """Another value than the one generated."""
    skew: dict[str, int] = {}
    """By kind: longest distance in milliseconds between a value's time and that of its answer or message."""

    @property
    def exact(self) -> bool:
        """generated = delivered + rejected, and nothing else is there."""
        faultless = not (self.missing or self.unexpected or self.wrong or self.twice)
        return faultless and self.generated == self.delivered + self.rejected


class _Given(msgspec.Struct, eq=False):
    """One generated value of one sample."""

    n: int
    time: int
    kind: str
    value: Value | None
    required: bool
    times: int
    """How often it was given, so how often it may be found."""
    found: int = 0
    others: list[list[_Given]] = []
    """For each time that it was found: all the samples that the row's value could be of."""


class _Series:
    """What was generated for one point."""

    def __init__(self) -> None:
        self.by_number: dict[int, _Given] = {}
        self._by_time: list[_Given] = []
        self._by_value: dict[Value, list[_Given]] = {}

    def add(self, entry: Entry, value: Value | None) -> None:
        given = self.by_number.get(entry.n)
        if given is None:
            kind = "modbus" if isinstance(entry, Answer) else "mqtt"
            self.by_number[entry.n] = _Given(entry.n, entry.time, kind, value, entry.required, 1)
            return
        given.required = given.required or entry.required
        given.times += 1

    def index(self) -> None:
        """All is added: make the ways to find it."""
        self._by_time = sorted(self.by_number.values(), key=_time)
        for given in self._by_time:
            if given.value is not None:
                self._by_value.setdefault(given.value, []).append(given)

    def near(self, time: int) -> list[_Given]:
        """The samples around a time, the nearest first."""
        return _around(self._by_time, time)

    def numbered(self, n: int) -> list[_Given]:
        """Sample `n`, then those beside it."""
        return [self.by_number[n + step] for step in NEAR if n + step in self.by_number]

    def carrying(self, value: Value, time: int) -> int | None:
        """The number of the sample with this value; where the sequence has wrapped, the nearest in time."""
        able = _around(self._by_value.get(value, []), time)
        return able[0].n if able else None


def _time(given: _Given) -> int:
    return given.time


def _around(ordered: list[_Given], time: int) -> list[_Given]:
    at = bisect_left(ordered, time, key=_time)
    return sorted(ordered[max(0, at - CANDIDATES) : at + CANDIDATES], key=lambda given: abs(given.time - time))


def compare(ledger: Ledger, rows: Iterable[Delivered]) -> Comparison:
    """Match `rows` (any order) with the ledger. Rows of devices that it does not know are left out."""
    series: dict[Point, _Series] = {}
    for entry in ledger.entries:
        if entry.allowed:
            for name, value in entry.values.items():
                series.setdefault(_point(entry, name), _Series()).add(entry, value)
    for one in series.values():
        one.index()
    result = Comparison()
    devices = {entry.device for entry in ledger.entries} | set(ledger.sequences)
    last: dict[str, int] = {}
    for group in _groups(row for row in rows if row.device in devices):
        device = group[0].device
        n = _number(group, series, ledger.sequences.get(device))
        if n is not None:
            last[device] = n
        elif device in last:
            last[device] += 1
        _match(group, series, last.get(device), result, is_sure=n is not None)
    for (device, name, tags), one in series.items():
        _settle(device, _label(name, tags), one, result)
    return result


def _point(entry: Entry, name: str) -> Point:
    tagged = _TAGGED.fullmatch(name)
    tags = dict(entry.tags)
    if tagged:
        name = tagged[1]
        tags |= dict(pair.split("=", 1) for pair in tagged[2].split(","))
    return entry.device, name, tuple(sorted(tags.items()))


def _label(name: str, tags: Tags) -> str:
    return f"{name}[{','.join(f'{key}={value}' for key, value in tags)}]" if tags else name


def _groups(rows: Iterable[Delivered]) -> Iterator[list[Delivered]]:
    """Values of one device at one time."""
    found: dict[tuple[str, int], list[Delivered]] = {}
    for row in rows:
        found.setdefault((row.device, row.time), []).append(row)
    return iter(found[key] for key in sorted(found))


def _match(
    group: Sequence[Delivered], series: Mapping[Point, _Series], n: int | None, result: Comparison, *, is_sure: bool
) -> None:
    """Find each value of a group among those that were generated.

    `n`: its number; not `is_sure`: the number was in a part of the poll that did not come, so it is the next one.
    """
    for row in group:
        tags = tuple(sorted(row.tags.items()))
        label = _label(row.point, tags)
        one = series.get((row.device, row.point, tags))
        able = one.numbered(n) if one and n is not None else []
        if one and not is_sure:
            able += [given for given in one.near(row.time) if given not in able]
        if not able:
            result.unexpected.append(Found(label, row.device, row.time, n or 0, got=row.value))
            continue
        equal = [given for given in able if given.value is not None and given.value == row.value]
        if not equal:
            result.wrong.append(Found(label, row.device, row.time, able[0].n, able[0].value, row.value))
            continue
        given = next((found for is_free in _FREE if (found := _of(equal, is_free, set()))), equal[0])
        given.found += 1
        given.others.append(equal)
        result.skew[given.kind] = max(result.skew.get(given.kind, 0), abs(row.time - given.time))


_FREE: tuple[Callable[[_Given], bool], ...] = (
    lambda given: given.required and not given.found,
    lambda given: not given.found,
    lambda given: given.found < given.times,
)
"""Which samples a value may be of, the likeliest first."""


def _of(equal: list[_Given], is_free: Callable[[_Given], bool], seen: set[int]) -> _Given | None:
    """The sample that a value is of, of those which have it.

    Where none is free, the rows that they were found for may be of others: while a value stays the same for a while,
    the first choice is not always right, and a poll whose parts come of two samples takes from the next one's share.
    """
    for given in equal:
        if is_free(given):
            return given
    fresh = [given for given in equal if given.n not in seen]
    seen.update(given.n for given in fresh)
    if len(seen) > MOST_MOVED:
        return None
    for given in fresh:
        for i, others in enumerate(given.others):
            if other := _of(others, is_free, seen):
                other.found += 1
                other.others.append(others)
                given.found -= 1
                del given.others[i]
                return given
    return None


def _number(group: Sequence[Delivered], series: Mapping[Point, _Series], sequence: SequencePoint | None) -> int | None:
    """The sequence number that the group carries, None where it carries none."""
    for row in group:
        if sequence and row.point == sequence.point:
            one = series.get((row.device, row.point, tuple(sorted(row.tags.items()))))
            if one and (n := one.carrying(row.value, row.time)) is not None:
                return n
    return None


def _settle(device: str, label: str, one: _Series, result: Comparison) -> None:
    """Count what was generated for a point and what became of it."""
    for given in one.by_number.values():
        result.generated += given.required
        if given.found > given.times:
            result.twice.append(Found(label, device, given.time, given.n, got=given.value))
        if not given.required:
            result.optional += bool(given.found)
        elif given.value is None:
            result.rejected += 1
        elif given.found:
            result.delivered += 1
        else:
            result.missing.append(Found(label, device, given.time, given.n, expected=given.value))


# --- rows of real databases -------------------------------------------------------------------------------------------


def influx_rows(measurement: str, rows: Iterable[Mapping[str, Value | None]]) -> Iterator[Delivered]:
    """Rows of InfluxQL's `SELECT * FROM measurement`, tags among the columns, `time` in milliseconds."""
    for row in rows:
        points = {column: f"{measurement}.{column}" for column in row}
        tags = {
            column: str(value)
            for column, value in row.items()
            if value is not None
            and points[column] not in quantities()
            and column not in OWN_COLUMNS
            and not column.endswith("_q")
        }
        for column, value in row.items():
            if value is not None and points[column] in quantities():
                yield Delivered(str(row["sensor"]), points[column], int(row["time"] or 0), value, tags)


def victoria_rows(
    metric: Mapping[str, str], values: Sequence[float | None], timestamps: Sequence[int]
) -> Iterator[Delivered]:
    """One series of victoria-metrics' `/api/v1/export`; `__name__` is measurement_field."""
    names = {f"{q.measurement}_{q.field}": point for point, q in quantities().items()}
    point = names.get(metric["__name__"])
    if point is None:
        return
    tags = {key: value for key, value in metric.items() if key not in OWN_COLUMNS | {"__name__", "db"}}
    for time, value in zip(timestamps, values, strict=True):
        if value is not None:
            yield Delivered(metric.get("sensor", ""), point, time, value, tags)
