"""What the demonstration sees: it asks the agent once a second, as `edge status` and `edge points` do, keeps the
history of the backlog, and says what changed, a sentence each. What was done to the servers it learns by `say` only.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from drivers.reading import NOT_READ
from edge_agent.board import PointNow
from edge_agent.client import NotRunning, ask
from edge_agent.show import shown
from edge_agent.status import SinkStatus, Status
from edge_agent.text import Text

HISTORY = 600
"""Seconds of backlog that are kept, one figure each; the oldest go."""
EVENTS = 100
"""Sentences that are kept; the oldest go."""
SILENT = frozenset(reason.name for reason in NOT_READ) - {"waiting"}
UNITS = {"Cel": "°C", "ug/m3": "µg/m³", "dB[SPL]": "dB", "deg": "°", "1": "", "kW.h": "kWh", "V.A": "VA", "MBy": "MB"}
UNITS |= {"V.A{reactive}": "var"}
"""Units as people write them, where UCUM writes them otherwise."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened."""

    at: float
    """Seconds since the beginning."""
    sentence: str


class Depth(msgspec.Struct, frozen=True):
    """The backlog at one second."""

    waiting: int
    away: bool
    """The sink could not be reached."""


class Moment(msgspec.Struct, frozen=True):
    """What the agent said when it was asked."""

    status: Status
    points: list[PointNow]

    @property
    def sink(self) -> SinkStatus | None:
        """The database; None where none is configured."""
        return self.status.sinks[0] if self.status.sinks else None

    @property
    def waiting(self) -> int:
        """Readings on disk that are not delivered."""
        return self.sink.waiting if self.sink else 0


class Watch:
    """The agent as it is seen from outside."""

    def __init__(self, control: Path, text: Text) -> None:
        """`control`: the agent's socket. The clock starts now."""
        self._control, self._text = control, text
        self._began = time.monotonic()
        self.now: Moment | None = None
        self.depths: deque[Depth] = deque(maxlen=HISTORY)
        self.events: deque[Event] = deque(maxlen=EVENTS)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def say(self, key: str, **facts: object) -> None:
        """Note what is being done."""
        self.events.append(Event(self.elapsed, self._text(key, **facts)))

    def look(self, *, away: bool, over: bool) -> None:
        """Ask the agent; where it does not answer in time, what was known stays.

        `away`: the database is; `over`: nothing is simulated any more, so that no device answers.
        """
        try:
            status: Status = ask(self._control, "/status", Status)
            points: list[PointNow] = ask(self._control, "/points", list[PointNow])
        except NotRunning:
            return
        before, self.now = self.now, Moment(status, points)
        sink = self.now.sink
        self.depths.append(Depth(self.now.waiting, away or bool(sink and sink.state != "up")))
        if before and before.sink and sink:
            self._note(sink_changes(before.sink, sink, self._text))
        if before and not over:
            self._note(point_changes(before, self.now, self._text))

    def _note(self, sentences: Iterable[str]) -> None:
        self.events += [Event(self.elapsed, sentence) for sentence in sentences]


def point_changes(before: Moment, now: Moment, text: Text) -> Iterator[str]:
    """Devices that fell silent or came back, and values that turned bad."""
    silent = _silent(before.points), _silent(now.points)
    yield from (text("demo.event.silent", device=device) for device in sorted(silent[1] - silent[0]))
    yield from (text("demo.event.answers", device=device) for device in sorted(silent[0] - silent[1]))
    known = {point.point: point.reason for point in before.points}
    for point in now.points:
        if point.quality == "bad" and point.reason not in SILENT and known.get(point.point) != point.reason:
            yield _bad(point, text)


def sink_changes(before: SinkStatus, now: SinkStatus, text: Text) -> Iterator[str]:
    """The database went away or is back."""
    if before.state == "up" and now.state != "up":
        yield text("demo.event.sink_down")
    if before.state != "up" and now.state == "up":
        yield text("demo.event.sink_up", count=now.delivered - before.delivered)


def _silent(points: Sequence[PointNow]) -> set[str]:
    """Devices that give no answer."""
    return {device(point) for point in points if point.reason in SILENT}


def _bad(point: PointNow, text: Text) -> str:
    facts = {"point": f"{device(point)} {label(point, text)}", "reason": text(f"reason.{point.reason}")}
    if point.value is None:
        return text("demo.event.rejected", **facts)
    return text("demo.event.bad", value=f"{shown(point.value, text)} {unit(point)}".rstrip(), **facts)


def device(point: PointNow) -> str:
    """`met-1` of `met-1.weather.temp_c`."""
    return point.point.partition(".")[0]


def label(point: PointNow, text: Text) -> str:
    """What is measured, as people say it; its name (`power.pf_l1`) where there is no word for it."""
    whole = point.point.partition("[")[0]
    name = whole.partition(".")[2]
    return next((text(f"demo.point.{key}") for key in (whole, name) if f"demo.point.{key}" in text.sentences), name)


def unit(point: PointNow) -> str:
    """The unit as people write it."""
    return UNITS.get(point.unit, point.unit)
