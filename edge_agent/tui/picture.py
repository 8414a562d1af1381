"""What is known of the agent: its newest answer to each question, and how old that is."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from edge_agent.board import PointNow
from edge_agent.client import Failed, NotAllowed, NotRunning
from edge_agent.status import JournalStat, LedgerRow, Status
from edge_agent.tui.ask import NotThere, Refused, Silent, ask
from edge_agent.tui.runs import Run

T = TypeVar("T")

OLD = 5.0
"""Seconds without an answer, beyond the refresh interval, after which the screen calls itself old."""
TREND_MINUTES = 30


class Known(Generic[T]):
    """One question and its newest answer."""

    def __init__(self, question: str, kind: Any) -> None:
        """`kind`: the type of the answer."""
        self.question, self.kind = question, kind
        self.value: T | None = None
        self.at: float | None = None
        """Monotonic seconds of the answer."""
        self.fault = ""
        """Why there is none: `missing` (this agent has no such part), or the agent's words."""

    def take(self, value: T, now: float) -> None:
        """An answer came."""
        self.value, self.at, self.fault = value, now, ""


class Away(msgspec.Struct, frozen=True):
    """The agent does not answer."""

    what: str
    """not_running, not_allowed or silent."""
    since: float
    """Monotonic seconds."""


class Trend:
    """The last value of each of the last thirty minutes, by point, as seen while the terminal is open."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._seen: dict[str, deque[tuple[int, float]]] = {}

    def see(self, points: list[PointNow], now: float) -> None:
        """Take the newest values."""
        minute = int(now // 60)
        for point in points:
            if isinstance(point.value, int | float) and not isinstance(point.value, bool) and point.quality != "bad":
                kept = self._seen.setdefault(point.point, deque(maxlen=TREND_MINUTES))
                if kept and kept[-1][0] == minute:
                    kept.pop()
                kept.append((minute, float(point.value)))

    def of(self, point: str, now: float) -> list[float | None]:
        """One value a minute, None where there was none."""
        by = dict(self._seen.get(point, ()))
        last = int(now // 60)
        return [by.get(minute) for minute in range(last - TREND_MINUTES + 1, last + 1)]


class Line(msgspec.Struct, frozen=True):
    """A Modbus bus of the configuration."""

    id: str
    where: str
    unit: int
    """The first unit on it, as an example."""


class Picture:
    """All that is known."""

    def __init__(self, socket: Path, file: Path) -> None:
        """`file`: the configuration, to name it."""
        self.socket, self.file = socket, file
        self.problems: list[str] = []
        """What is wrong with the configuration file as this terminal reads it."""
        self.status: Known[Status] = Known("/status", Status)
        self.points: Known[list[PointNow]] = Known("/points", list[PointNow])
        self.journal: Known[JournalStat] = Known("/journal", JournalStat)
        self.ledger: Known[list[LedgerRow]] = Known("/ledger", list[LedgerRow])
        self.trend = Trend()
        self.buses: tuple[Line, ...] = ()
        self.runs = {"network": Run(), "modbus": Run(), "report": Run()}
        self.away: Away | None = None

    def by_name(self, name: str) -> Known[Any]:
        """A question by its attribute name, as views name what they need."""
        found = getattr(self, name)
        assert isinstance(found, Known)
        return found

    def age(self, now: float) -> float | None:
        """Seconds since the agent last told how it is; None: it never did."""
        return None if self.status.at is None else now - self.status.at

    def old(self, now: float, interval: float = 1.0) -> bool:
        """True where nothing here may look fresh."""
        age = self.age(now)
        return age is not None and age > OLD + interval

    async def refresh(self, names: Mapping[str, str], now: float) -> None:
        """Ask anew: names of questions, and their words where they have any. What fails is remembered, not raised."""
        for name, words in names.items():
            known = self.by_name(name)
            try:
                value = await ask(self.socket, known.question + words, known.kind)
            except (NotRunning, NotAllowed, Silent) as fault:
                self._lost(fault, now)
                return
            except (NotThere, Refused, Failed) as fault:
                known.value, known.fault = None, "missing" if isinstance(fault, NotThere) else str(fault)
                continue
            self.away = None
            known.take(value, now)
            if name == "points":
                self.trend.see(value, now)

    def _lost(self, fault: Exception, now: float) -> None:
        what = {NotRunning: "not_running", NotAllowed: "not_allowed"}.get(type(fault), "silent")
        since = self.away.since if self.away else now
        self.away = Away(what, since)
