"""Line protocol: readings -> text once, before the journal, and back where a sink needs less than a whole blob.

One line per source and instant, by a template made once per source. Fields beside the values: `q` (worst quality,
0..2), `qr` (reason of the worst, where it is not good) and `<field>_q` where a field's quality differs from `q`.
Reference: docs.influxdata.com, line protocol, "Special characters".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from drivers.reading import Reading, Readings, Source

_TAG = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\ ", "\r": r"\ ", "\t": r"\ "})
_MEASUREMENT = str.maketrans({",": r"\,", " ": r"\ ", "\n": r"\ "})
_SWALLOWS = re.compile(r"\\+(?=[,= \n\r\t]|\Z)")
_TEXT = str.maketrans({"\\": r"\\", '"': r"\"", "\n": " ", "\r": " "})
_FORM = {"float": "%r", "int": "%di", "bool": "%s"}
MOST_TEMPLATES = 10_000
"""Sources with a template in memory; past it all are made anew (a flood of MQTT device names must not fill memory)."""


def escape_tag(value: str) -> str:
    """A tag key or value. A backslash at its end, or before what has to be escaped, is left off.

    At the end it would swallow the separator that follows; before an escaped letter the two backslashes may be read as
    one, and the letter as a separator.
    """
    return _SWALLOWS.sub("", value).translate(_TAG) or "_"


def series(site: str, source: Source) -> str:
    """The series of a source: measurement and tags, as it stands at the head of its lines."""
    tags = (("site", site), ("sensor", source.device), *source.tags)
    return source.measurement.translate(_MEASUREMENT) + "".join(f",{escape_tag(k)}={escape_tag(v)}" for k, v in tags)


class _Template(msgspec.Struct, frozen=True):
    head: str
    good: str | None
    """The whole line for values that are all there and good; None where a field is text."""


class Encoder:
    """Encodes the readings of one site."""

    def __init__(self, site: str) -> None:
        """`site` becomes the tag of every line."""
        self._site = site
        self._templates: dict[Source, _Template] = {}

    def series(self, source: Source) -> str:
        """The head of the source's lines."""
        return self._template(source).head

    def encode(self, readings: Readings) -> str:
        """One line with its newline; empty where no value could be decoded. Times are milliseconds."""
        template = self._template(readings.source)
        if template.good is not None and not readings.faults and None not in readings.values:
            return template.good % (*readings.values, readings.time)
        return _line(template.head, readings)

    def _template(self, source: Source) -> _Template:
        found = self._templates.get(source)
        if found is None:
            if len(self._templates) >= MOST_TEMPLATES:
                self._templates.clear()
            found = self._templates[source] = _template(series(self._site, source), source)
        return found


def _template(head: str, source: Source) -> _Template:
    if any(quantity.kind not in _FORM for quantity in source.quantities):
        return _Template(head, None)
    fields = ",".join(f"{quantity.field}={_FORM[quantity.kind]}" for quantity in source.quantities)
    return _Template(head, head.replace("%", "%%") + f" {fields},q=0i %d\n")


def _line(head: str, readings: Readings) -> str:
    """A line some of whose values are missing, bad or text."""
    there = [reading for reading in readings if reading.value is not None]
    if not there:
        return ""
    worst = max(there, key=lambda reading: reading.reason.quality)
    q = worst.reason.quality
    fields = [f"{_field(reading)}={_value(reading)}" for reading in there]
    fields += [f"{_field(r)}_q={int(r.reason.quality)}i" for r in there if r.reason.quality != q]
    fields.append(f"q={int(q)}i")
    if q:
        fields.append(f'qr="{worst.reason.name}"')
    return f"{head} {','.join(fields)} {readings.time}\n"


def _field(reading: Reading) -> str:
    return reading.source.quantities[reading.index].field


def _value(reading: Reading) -> str:
    kind, value = reading.source.quantities[reading.index].kind, reading.value
    if kind == "str":
        return f'"{str(value).translate(_TEXT)}"'
    return _FORM[kind] % value


# --- and back ---------------------------------------------------------------------------------------------------------

_SPLIT = re.compile(r"""((?:\\.|[^\\ ])+)[ ](.+)[ ](-?\d+)""")
_SERIES = re.compile(r"""(?:[^\\ ]++|\\.)+""")
_FIELD = re.compile(r"""([^=,]+)=("(?:\\.|[^"\\])*"|[^,]*)""")


class Line(msgspec.Struct, frozen=True):
    """One encoded line, taken apart."""

    series: str
    fields: tuple[tuple[str, str], ...]
    """Name and value of the readings, as they stand in the line."""
    quality: tuple[tuple[str, str], ...]
    """q, qr and the fields' own, likewise."""
    time: int

    @property
    def measurement(self) -> str:
        """First part of the series."""
        return self.series.split(",", 1)[0]

    @property
    def device(self) -> str:
        """The tag `sensor`, as it was given."""
        escaped = next(tag[7:] for tag in re.split(r"(?<!\\),", self.series) if tag.startswith("sensor="))
        return re.sub(r"\\([,= ])", r"\1", escaped)

    def text(self) -> str:
        """The line again."""
        return f"{self.series} {','.join(f'{k}={v}' for k, v in (*self.fields, *self.quality))} {self.time}\n"

    def single(self) -> Iterator[Line]:
        """One line for each reading."""
        for field in self.fields:
            own = tuple(pair for pair in self.quality if pair[0] in ("q", "qr", f"{field[0]}_q"))
            yield Line(self.series, (field,), own, self.time)


def parse(text: str) -> list[Line]:
    """The lines of an encoded blob. Raises ValueError for what `Encoder` did not write."""
    return [_parse(line) for line in text.split("\n") if line]


def _parse(text: str) -> Line:
    found = _SPLIT.fullmatch(text)
    if found is None:
        raise ValueError(f"not a line of this journal: {text[:80]!r}")
    pairs = [(name, value) for name, value in _FIELD.findall(found[2])]
    fields = tuple(pair for pair in pairs if not _is_quality(pair[0]))
    return Line(found[1], fields, tuple(pair for pair in pairs if _is_quality(pair[0])), int(found[3]))


def _is_quality(name: str) -> bool:
    return name in ("q", "qr") or name.endswith("_q")


def measurement_of(line: str) -> str:
    """Measurement of a line, without taking it apart."""
    return line.split(",", 1)[0]


def stamp_of(line: str) -> tuple[str, int]:
    """Series and time of a line, its fields left as they are. Raises ValueError for what `Encoder` did not write."""
    head = _SERIES.match(line)
    if head is None:
        raise ValueError(f"not a line of this journal: {line[:80]!r}")
    return head[0], int(line[line.rindex(" ") :])


def join(lines: Iterable[Line]) -> str:
    """The text of several lines."""
    return "".join(line.text() for line in lines)
