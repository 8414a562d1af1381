"""Guests of a Modbus bus: single transactions that tools ask for in the gaps of polling. No I/O.

    answer = await bus.guest(Request(unit=7, fc=3, start=0, count=2), timeout=0.5)
    answer = await bus.guest(Request(7, 3, 0, 2), timeout=0.2, baud=19200, framing="8E1")   # serial only
    stop = bus.tap(lambda frame: print(frame.mono, frame.sent, frame.data.hex(), frame.verdict))

Guests take at most SHARE of the line's time, and are let in where no poll thereby comes later than by its period (or
by the guest's own time-out, where periods are shorter still). With `baud` or `framing` the open port is given these
settings for the one request and its own again after it. They share all that guards polls: silences, and who answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from drivers.frames import Guard, Outcome, Request

if TYPE_CHECKING:
    from drivers.unit import Unit

SHARE = 0.3
"""Most of the line's time that guests may take."""
SAVED = 1.0
"""Seconds of the line that guests may have saved up."""
PATIENCE = 5.0
"""Seconds after which a guest is let in although a poll comes later than it should; SHARE still holds."""
SHORTEST, LONGEST = 0.001, 5.0
"""Seconds that a guest may wait for an answer."""
SLACK = 0.01
"""Seconds beyond its time-out that a guest may hold the line, at its ends."""
WELL = 0.75
"""Share of its period within which a poll behind a guest should end: what things take is known only roughly."""
MOST = 64
"""Guests that may wait at once; a further one is refused."""

_due = attrgetter("due")


class BusAway(Exception):
    """There is no connection now, or too many guests wait: ask later."""


class Answer(msgspec.Struct, frozen=True):
    """What became of a guest's request."""

    outcome: Outcome
    data: bytes
    """Where the outcome is ok: the registers' or bits' bytes; empty after a write."""
    code: int
    """Exception code, where the outcome is exception."""
    seconds: float
    """From the request to the whole answer, or to the end of waiting."""
    sent: bytes
    heard: bytes
    """The frames as they were on the line; `heard` has all bytes that came."""


class Frame(msgspec.Struct, frozen=True):
    """What was seen on the line at once."""

    mono: float
    """`time.monotonic()`: of a request when it left, of what was heard when it was judged."""
    sent: bool
    """True: a request. False: what came, up to the verdict."""
    data: bytes
    """Whole frames, with transaction or check sum; empty: nothing came."""
    verdict: str
    """`request`, an Outcome's name, `exception 2`, or `stray` for bytes that nobody waited for."""
    guest: bool = False
    """Asked by a guest, or an answer to it."""


class Guest(msgspec.Struct, frozen=True, eq=False):
    """One request that waits for its turn."""

    request: Request
    timeout: float
    tuned: tuple[int, str] | None
    """Baud and framing, where they differ from the bus's."""
    since: float
    """`time.monotonic()`"""
    answer: asyncio.Future[Answer]


class Guests:
    """The guests that wait, and the share of time that is left to them."""

    def __init__(self, share: float = SHARE) -> None:
        """Nobody waits. `share`: of the line's time, at most."""
        self._waiting: deque[Guest] = deque()
        self._share, self._left, self._counted = share, SAVED, 0.0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, guest: Guest) -> None:
        """Raises BusAway where too many wait."""
        if len(self._waiting) >= MOST:
            raise BusAway
        self._waiting.append(guest)

    def take(self, now: float, units: Sequence[Unit], rests_until: Callable[[int], float]) -> Guest | None:
        """The guest whose turn it is now, None where polling goes first. `rests_until`: see Silence."""
        self._waiting = deque(guest for guest in self._waiting if not guest.answer.done())  # others were given up
        if not self._waiting or self.wake(now) > now:
            return None
        guest = next((each for each in self._waiting if rests_until(each.request.dev_id) <= now), None)
        if guest is None:
            return None
        if now < guest.since + PATIENCE and not _room(units, now, guest.timeout + SLACK):
            return None
        self._waiting.remove(guest)
        return guest

    def wake(self, now: float) -> float:
        """When the share next allows a guest."""
        self._left = min(SAVED, self._left + self._share * (now - self._counted))
        self._counted = now
        return now if self._left >= 0 else now - self._left / self._share

    def charge(self, seconds: float) -> None:
        """A guest has held the line for so long."""
        self._left -= seconds

    def send_away(self) -> None:
        """The bus has no connection, or ends: nobody waits for nothing."""
        while self._waiting:
            guest = self._waiting.popleft()
            if not guest.answer.done():
                guest.answer.set_exception(BusAway())


def _room(units: Sequence[Unit], now: float, seconds: float) -> bool:
    """The line can be taken for so many seconds now: all polls that wait behind still end well within their periods.

    Where a period is shorter than that, its poll must at least not be due already.
    """
    free = now + seconds
    for unit in sorted((unit for unit in units if unit.due < free), key=_due):
        free += unit.takes()
        every = WELL * unit.device.every
        limit = unit.due + every if every > seconds else unit.due + free - now
        if free > limit and not unit.quarantine.shaky:
            return False
    return True


class Taps:
    """Those who listen in."""

    def __init__(self) -> None:
        """Nobody does."""
        self._judged = b""
        self._listeners: list[Callable[[Frame], None]] = []

    def add(self, listener: Callable[[Frame], None]) -> Callable[[], None]:
        """`listener` sees every frame until what is returned is called. It must not wait, nor raise."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def transaction(self, guard: Guard, outcome: Outcome, sent: float, now: float, guest: bool) -> None:
        """A request and what came of it."""
        verdict = f"exception {guard.code}" if outcome is Outcome.exception else outcome.value
        self._show(Frame(sent, True, guard.sent, "request", guest))
        self._judged = guard.heard
        self._show(Frame(now, False, guard.heard, verdict, guest))

    def stray(self, guard: Guard) -> None:
        """Bytes that nobody waited for."""
        self._show(Frame(guard.heard_at, False, guard.heard.removeprefix(self._judged), "stray"))

    def _show(self, frame: Frame) -> None:
        for listener in tuple(self._listeners):
            listener(frame)
