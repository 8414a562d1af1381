"""The meeting as seen by the agent: how many are in it and how their lines do, asked by its socket.

The meeting is a process of its own and owes the agent nothing: one that does not answer is a trouble, not a fault, and
nothing is expected of one that was never there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec

from drivers.driver import Batch, Trouble
from drivers.http import aiohttp
from drivers.reading import Readings, Reason, Source, Value, quantities

log = logging.getLogger("edge.meeting")

EVERY = 30.0
"""Seconds between two readings."""
PATIENCE = 5.0
"""Seconds for one answer."""
ALARM = 3600.0
"""Seconds for which a lock after too many wrong meeting codes stays an alarm."""
FIELDS = (
    "members",
    "sending",
    "away",
    "weak",
    "rtt_ms",
    "loss_pct",
    "freezes",
    "packets_s",
    "lag_ms",
    "strays",
    "wrong_codes",
    "code_locks",
)


class Load(msgspec.Struct, frozen=True):
    """How busy it is."""

    packets_per_second: int
    lag_ms: float


class Port(msgspec.Struct, frozen=True):
    """Its UDP port."""

    strays: int


class Slot(msgspec.Struct, frozen=True):
    """What one viewer is sent in one place."""

    loss: float


class Page(msgspec.Struct, frozen=True):
    """What a browser counts."""

    freezes: int = 0


class Member(msgspec.Struct, frozen=True):
    """One who takes part."""

    connected: bool
    away: bool
    weak: bool
    rtt_ms: int
    up: Sequence[object]
    down: Sequence[Slot]
    page: Page


class Room(msgspec.Struct, frozen=True):
    """One room."""

    members: Sequence[Member]


class Guesses(msgspec.Struct, frozen=True):
    """Wrong meeting codes."""

    wrong: int = 0
    addresses: Sequence[str] = ()
    rooms: Sequence[str] = ()
    last_address: str = ""
    last_lock: float | None = None


class State(msgspec.Struct, frozen=True):
    """What is used of the meeting's /status."""

    load: Load
    port: Port
    rooms: Sequence[Room]
    guesses: Guesses = Guesses()


class MeetingWatch:
    """Asks the meeting how it does. Implements Driver."""

    name = "meeting"

    def __init__(self, control: Path, every: float = EVERY) -> None:
        """`control`: the meeting's socket."""
        self._control = control
        self._every = every
        rows = quantities()
        self._source = Source("meeting", tuple(rows[f"meeting.{name}"] for name in FIELDS), origin="meeting")
        self._progress = time.monotonic()
        self._error = ""
        self._since = 0.0
        self._seen = False
        self._guesses = Guesses()

    def progress(self) -> float:
        """See Driver."""
        return self._progress

    def troubles(self) -> list[Trouble]:
        """See Driver."""
        found = []
        if self._error:
            facts = {"path": str(self._control), "error": self._error}
            found.append(Trouble("meeting_down", self.name, self._since, facts))
        at = self._guesses.last_lock
        if at is not None and time.time() - at < ALARM:
            facts = {"address": self._guesses.last_address}
            found.append(Trouble("meeting_codes_guessed", self.name, at, facts))
        return found

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """See Driver."""
        connector = aiohttp.UnixConnector(str(self._control), force_close=True)
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while True:
                state = await self._ask(session)
                self._progress = time.monotonic()
                if state is not None or self._seen:
                    yield Batch((self._read(state),))
                await self._pause()

    async def _ask(self, session: aiohttp.ClientSession) -> State | None:
        try:
            async with session.get("http://meeting/status") as response:
                response.raise_for_status()
                state = msgspec.json.decode(await response.read(), type=State)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            self._lost(getattr(error, "strerror", None) or str(error) or type(error).__name__)
            return None
        if self._error:
            log.warning("meeting answers again socket=%s", self._control)
        self._error, self._seen, self._guesses = "", True, state.guesses
        return state

    def _lost(self, error: str) -> None:
        if not self._error:
            log.warning("meeting does not answer socket=%s error=%s", self._control, error)
            self._since = time.time()
        self._error = error

    def _read(self, state: State | None) -> Readings:
        values = (None,) * len(FIELDS) if state is None else measured(state)
        faults = {i: Reason.not_connected for i, value in enumerate(values) if value is None}
        mono = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
        return Readings(self._source, time.time_ns() // 1_000_000, mono, values, faults)

    async def _pause(self) -> None:
        """Sleep, with signs of life for the watchdog."""
        due = time.monotonic() + (min(self._every, PATIENCE) if self._error else self._every)
        while (left := due - time.monotonic()) > 0:
            await asyncio.sleep(min(left, PATIENCE))
            self._progress = time.monotonic()


def measured(state: State) -> tuple[Value, ...]:
    """The values of `FIELDS`: of all rooms together, the worst line where one stands for all."""
    members = [member for room in state.rooms for member in room.members]
    return (
        len(members),
        sum(bool(member.up) for member in members),
        sum(member.away for member in members),
        sum(member.weak for member in members),
        float(max((member.rtt_ms for member in members), default=0)),
        round(100 * max((slot.loss for member in members for slot in member.down), default=0.0), 1),
        sum(member.page.freezes for member in members),
        state.load.packets_per_second,
        state.load.lag_ms,
        state.port.strays,
        state.guesses.wrong,
        len(state.guesses.addresses) + len(state.guesses.rooms),
    )
