"""What is known of the agent: its newest answer to each question, and how old that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from edge_agent.board import PointNow
from edge_agent.client import Failed, NotAllowed, NotRunning
from edge_agent.findings import Findings
from edge_agent.logbook import LogLine
from edge_agent.maintain import Done, Maintenance
from edge_agent.status import JournalStat, Status
from edge_agent.tui.ask import NotThere, Refused, Silent, ask
from edge_agent.tui.runs import Run
from edge_agent.uplink import Uplink

T = TypeVar("T")

OLD = 5.0
"""Seconds without an answer, beyond the refresh interval, after which the screen calls itself old."""
MOST_LOG = 1_000
"""Lines of the log that are kept here."""


class Known(Generic[T]):
    """One question and its newest answer."""

    def __init__(self, question: str, kind: Callable[[], Any], every: float = 0.0) -> None:
        """`kind` gives the type of the answer; `every`: seconds for which an answer is new enough."""
        self.question, self.kind, self.every = question, kind, every
        self.value: T | None = None
        self.at: float | None = None
        """Monotonic seconds of the answer."""
        self.fault = ""
        """Why there is none: `missing` (this agent has no such part), or the agent's words."""

    def take(self, value: T, now: float) -> None:
        """An answer came."""
        self.value, self.at, self.fault = value, now, ""

    def due(self, now: float) -> bool:
        """It is time to ask again."""
        return self.at is None or now - self.at >= self.every


class Away(msgspec.Struct, frozen=True):
    """The agent does not answer."""

    what: str
    """not_running, not_allowed or silent."""
    since: float
    """Monotonic seconds."""


class Slave(msgspec.Struct, frozen=True):
    """A Modbus device of the configuration, and where its own map begins."""

    id: str
    unit: int
    space: str
    """hr, ir, co or di, as `edge modbus read` takes it."""
    first: int
    """0-based address of what it is asked for: its first point, or the block that it gives as a whole."""
    count: int
    """Registers of that, or bits."""


class Line(msgspec.Struct, frozen=True):
    """A Modbus bus of the configuration."""

    id: str
    where: str
    slaves: tuple[Slave, ...]


class Way(msgspec.Struct, frozen=True):
    """Something that the box reaches by its network: a broker, a sink, a Modbus TCP endpoint."""

    id: str
    where: str


class MeetingPlace(msgspec.Struct, frozen=True):
    """The meeting of the configuration."""

    room: str
    listen: str
    url: str


def _point() -> Any:
    from edge_agent.point_now import PointDetail

    return PointDetail


def _box() -> Any:
    from edge_agent.box_now import BoxNow

    return BoxNow


def _meeting() -> Any:
    from edge_agent.meeting_now import MeetingNow

    return MeetingNow


def _config() -> Any:
    from edge_agent.trial_now import ConfigNow

    return ConfigNow


class Picture:
    """All that is known."""

    def __init__(self, socket: Path, file: Path) -> None:
        """`file`: the configuration, to name it."""
        self.socket, self.file = socket, file
        self.problems: Mapping[str, Sequence[str]] = {}
        """What is wrong with the configuration file as this terminal reads it, by language."""
        self.buses: Sequence[Line] = ()
        self.ways: Sequence[Way] = ()
        self.meeting: MeetingPlace | None = None
        self.status: Known[Status] = Known("/status", lambda: Status)
        self.findings: Known[Findings] = Known("/findings", lambda: Findings)
        self.points: Known[list[PointNow]] = Known("/points", lambda: list[PointNow])
        self.trends: Known[dict[str, list[float | None]]] = Known(
            "/trends", lambda: dict[str, list[float | None]], every=30.0
        )
        self.journal: Known[JournalStat] = Known("/journal", lambda: JournalStat)
        self.uplink: Known[list[Uplink]] = Known("/uplink", lambda: list[Uplink], every=2.0)
        self.log: Known[list[LogLine]] = Known("/log", lambda: list[LogLine])
        # These modules are imported only where their screen is opened: they weigh more than the others together.
        self.point: Known[Any] = Known("/point", _point)
        self.box: Known[Any] = Known("/box", _box, every=5.0)
        self.meeting_now: Known[Any] = Known("/meeting", _meeting)
        self.config: Known[Any] = Known("/config", _config, every=1.0)
        self.maintenance: Known[Maintenance] = Known("/maintain", lambda: Maintenance, every=2.0)
        self.audit: Known[list[Done]] = Known("/audit", lambda: list[Done], every=5.0)
        self.runs = {"network": Run(), "modbus": Run(), "report": Run()}
        self.away: Away | None = None
        self.language = ""
        """In which the agent's own sentences are wished; empty: as it is configured."""

    def age(self, now: float) -> float | None:
        """Seconds since the agent last told how it is; None: it never did."""
        return None if self.status.at is None else now - self.status.at

    def old(self, now: float, interval: float = 1.0) -> bool:
        """True where nothing here may look fresh."""
        age = self.age(now)
        return age is not None and age > OLD + interval

    async def refresh(self, names: Sequence[str], now: Callable[[], float], about: str = "") -> None:
        """Ask anew by names of questions; `about`: the point in question. What fails is remembered, not raised."""
        for name in names:
            known = getattr(self, name)
            assert isinstance(known, Known)
            if not known.due(now()):
                continue
            try:
                value = await ask(self.socket, self._words(name, known, about), known.kind())
            except (NotRunning, NotAllowed, Silent) as fault:
                self._lost(fault, now())
                return
            except (NotThere, Refused, Failed) as fault:
                known.value, known.fault = None, "missing" if isinstance(fault, NotThere) else str(fault)
                continue
            self.away = None
            known.take(self._merged(value) if name == "log" else value, now())

    def _words(self, name: str, known: Known[Any], about: str) -> str:
        if name == "log":
            return f"/log?since={max((line.number for line in self.log.value or ()), default=0)}"
        if name == "point":
            return f"/point/{quote(about, safe='')}"
        if name == "findings" and self.language:
            return f"/findings?language={self.language}"
        return known.question

    def _merged(self, new: list[LogLine]) -> list[LogLine]:
        """A line that was folded again takes the place of its older self. A new agent counts from one again."""
        if new and min(line.number for line in new) == 1:
            return new
        told = {(line.level, line.source, line.text) for line in new}
        kept = [line for line in self.log.value or () if (line.level, line.source, line.text) not in told]
        return [*kept, *new][-MOST_LOG:]

    def _lost(self, fault: Exception, now: float) -> None:
        what = {NotRunning: "not_running", NotAllowed: "not_allowed"}.get(type(fault), "silent")
        since = self.away.since if self.away else now
        self.away = Away(what, since)
