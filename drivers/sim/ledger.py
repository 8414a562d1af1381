"""What the simulated ward generated, as JSON lines: one for each answer served and each message published.

Every line says its `kind`: `ward` (the first: how each device carries its sequence number), `modbus`, `mqtt`, and at
the end `summary`. A line is on its way to the disk before the answer is on its way to the reader, so whatever was read
is in the file. A file that exists is continued: sequence numbers go on where they stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from drivers.reading import Value
from drivers.sim.encoding import SequencePoint

Values = Mapping[str, Value | None]
"""By `measurement.field`, with `[src=key]` behind it where a device gives it twice; None: nothing decodable."""

SPOILING = frozenset({"garbled", "exception", "wrong-unit", "malformed"})
"""Faults after which a reader must not deliver anything of the answer or message."""


class Header(msgspec.Struct, frozen=True, tag_field="kind", tag="ward"):
    """First line of a run."""

    seed: int
    started: int
    """Milliseconds since 1970 UTC."""
    sequences: Mapping[str, SequencePoint]
    """By device."""


class _Given(msgspec.Struct, frozen=True, tag_field="kind"):
    """What a device gave out, over Modbus or MQTT."""

    n: int
    """Number of the device's sample, from 1."""
    device: str
    time: int
    """Milliseconds since 1970 UTC: when an answer was sent; a message's stamp, strictly rising within the device."""
    values: Values = {}
    """Exactly what a perfect reader decodes."""
    tags: Mapping[str, str] = {}
    repeat: bool = False
    """The same again: a request before a new sample was due, a message that was sent more than once."""
    late: bool = False
    """An answer after the reader's stated time-out; a message held back before it was published, its stamp is old."""
    fault: str = ""

    @property
    def allowed(self) -> bool:
        """True where a reader may deliver it."""
        return self.fault not in SPOILING


class Answer(_Given, frozen=True, tag="modbus"):
    """One answer of a Modbus slave. Answers to one reader that do not overlap share a sample and its number."""

    fc: int = 0
    start: int = 0
    count: int = 0
    """The request: function, first address, registers or bits."""
    doubted: bool = False
    """The first after one that did not arrive, or on a new connection: a careful reader drops it and asks again."""

    @property
    def required(self) -> bool:
        """True where a reader has to deliver it."""
        return self.allowed and not (self.late or self.repeat or self.doubted)

    @property
    def copies(self) -> int:
        """How often it was given."""
        return 1


class Message(_Given, frozen=True, tag="mqtt"):
    """One message of an MQTT device; written when the broker acknowledged it, or at the end if it never did."""

    published: int = 0
    """When it was first sent, milliseconds since 1970 UTC."""
    acked: int | None = None
    """When the broker's PUBACK came; None: never."""
    copies: int = 1
    """How often it was sent."""
    heard: bool = True
    """False: the broker said that nobody subscribes to it (PUBACK reason 0x10)."""

    @property
    def required(self) -> bool:
        """True where a reader has to deliver it: the broker took it for somebody."""
        return self.acked is not None and self.heard and self.allowed


Entry = Answer | Message


class Summary(msgspec.Struct, tag_field="kind", tag="summary"):
    """Last line of a run: how much of each there was."""

    answers: int = 0
    messages: int = 0
    values: int = 0
    """Decodable values in what has to be delivered."""
    undecodable: int = 0
    """Values that have to be rejected."""
    repeated: int = 0
    """Repeated reads."""
    late: int = 0
    """Answers after the time-out."""
    unanswered: int = 0
    """Requests that got no answer."""
    refused: int = 0
    """Requests answered by an exception because they were wrong."""
    unacknowledged: int = 0
    """Messages without PUBACK at the end."""
    unheard: int = 0
    """Messages that nobody subscribed to."""
    copies: int = 0
    """Messages sent again, beyond the first time."""
    faults: dict[str, int] = {}
    """Answers and messages by fault."""


Line = Header | Answer | Message | Summary
_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


class NotALedger(ValueError):
    """The file holds something else: choose another name."""


class Ledger(msgspec.Struct, frozen=True):
    """A ledger file in memory."""

    sequences: Mapping[str, SequencePoint]
    entries: list[Entry]
    summary: Summary | None
    """None: the last run did not end in an orderly way."""

    def last(self) -> dict[str, int]:
        """Highest sequence number by device."""
        found: Counter[str] = Counter()
        for entry in self.entries:
            found[entry.device] = max(found[entry.device], entry.n)
        return dict(found)


def read_ledger(path: Path) -> Ledger:
    """Read the file; a last line that was cut off is left out. Raises NotALedger."""
    sequences: dict[str, SequencePoint] = {}
    entries: list[Entry] = []
    summary = None
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    for text in whole.splitlines():
        try:
            line = _decode(text)
        except msgspec.DecodeError as fault:
            raise NotALedger(f"{path} is no ledger: {fault}") from None
        if isinstance(line, Header):
            sequences.update(line.sequences)
        elif not isinstance(line, Summary):
            entries.append(line)
        summary = line if isinstance(line, Summary) else None
    return Ledger(sequences, entries, summary)


class Book:
    """The ledger while it is written. Without a file it only counts."""

    def __init__(self, path: Path | None) -> None:
        """Open `path` for appending. Raises OSError, NotALedger."""
        self.summary = Summary()
        self.last = read_ledger(path).last() if path and path.exists() else {}
        self._file: BinaryIO | None = None
        if path:
            _cut_half_line(path)
            self._file = path.open("ab", buffering=0)

    @property
    def wanted(self) -> bool:
        """False: nobody reads the entries, so their values need not be decoded."""
        return self._file is not None

    def open(self, header: Header) -> None:
        """Write the first line of the run."""
        self._write(header)

    def add(self, entry: Entry) -> None:
        """Count the entry and write it."""
        total = self.summary
        if isinstance(entry, Answer):
            total.answers += 1
            total.repeated += entry.repeat
            total.late += entry.late
        else:
            total.messages += 1
            total.copies += entry.copies - 1
            total.unacknowledged += entry.acked is None
            total.unheard += not entry.heard
        if entry.required:
            empty = sum(value is None for value in entry.values.values())
            total.undecodable += empty
            total.values += len(entry.values) - empty
        if entry.fault:
            total.faults[entry.fault] = total.faults.get(entry.fault, 0) + 1
        self._write(entry)

    def _write(self, line: Line) -> None:
        if self._file:
            self._file.write(_encode(line) + b"\n")

    def close(self) -> None:
        """Write the summary and close the file."""
        self._write(self.summary)
        if self._file:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        """Already open."""
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, tb: TracebackType | None) -> None:
        """Close."""
        self.close()


def _cut_half_line(path: Path) -> None:
    """Drop what a killed run left of its last line."""
    if not path.exists():
        return
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])
