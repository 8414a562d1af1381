"""Who may change something: one technician at a time, by name; and one audit line for each thing that was done.

The lock lapses by itself when its holder goes silent. Another may take it over: the one before is told at the next try.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from pathlib import Path

import msgspec

log = logging.getLogger("edge.audit")

LAPSE_S = 120.0
"""Seconds of silence after which a holder has gone."""
MOST_BYTES = 256 << 10
"""Size at which the audit file is put aside as `audit.jsonl.1`, in place of the one before."""
SHOWN = 50
"""Newest audit lines in memory."""
MOST_UNWRITTEN = 200
"""Newest audit lines that wait for a disk."""


class Holder(msgspec.Struct):
    """Who maintains now."""

    name: str
    user: str
    """Login name of the socket's other end, as the kernel tells it."""
    token: str
    since: float
    """Unix seconds."""
    seen: float
    """`time.monotonic()` of the last sign of life."""


class Held(msgspec.Struct, frozen=True):
    """Answer to POST /maintain: send the token as header `X-Maintain` with each change, and renew in time."""

    token: str
    name: str
    lapse_s: float
    taken_from: str = ""
    """Who had it before, where it was taken over."""


class Maintenance(msgspec.Struct, frozen=True):
    """GET /maintain."""

    name: str | None
    """Who holds the lock; None: nobody."""
    since: float
    idle_s: float


class Done(msgspec.Struct, frozen=True):
    """One audit line (GET /audit)."""

    time: float
    """Unix seconds."""
    by: str
    user: str
    action: str
    """`config apply`"""
    about: str
    result: str = "done"


class Busy(Exception):
    """Another technician holds the lock."""

    def __init__(self, name: str, *, stolen: bool) -> None:
        """`stolen`: the one who asks held it before."""
        super().__init__(name)
        self.name, self.stolen = name, stolen


class NoLock(Exception):
    """Nobody holds the lock, so nothing may be changed."""


class Lock:
    """The one lock of the box."""

    def __init__(self) -> None:
        """Free."""
        self._holder: Holder | None = None
        self._before: deque[str] = deque(maxlen=8)
        """Tokens that were taken over or lapsed."""

    def now(self) -> Maintenance:
        """Who holds it."""
        holder = self._alive()
        if holder is None:
            return Maintenance(None, 0.0, 0.0)
        return Maintenance(holder.name, holder.since, round(time.monotonic() - holder.seen, 1))

    def take(self, name: str, user: str, *, steal: bool) -> Held:
        """Get it. Raises Busy where another has it and is not to be put out."""
        before = self._alive()
        if before and not steal:
            raise Busy(before.name, stolen=False)
        if before:
            self._before.append(before.token)
            log.warning("maintenance taken over by=%s user=%s from=%s", name, user, before.name)
        token = os.urandom(18).hex()
        self._holder = Holder(name, user, token, time.time(), time.monotonic())
        return Held(token, name, LAPSE_S, before.name if before else "")

    def check(self, token: str) -> Holder:
        """The holder, whose sign of life this is. Raises Busy or NoLock."""
        holder = self._alive()
        if holder and _same(holder.token, token):
            holder.seen = time.monotonic()
            return holder
        if holder:
            raise Busy(holder.name, stolen=token in self._before)
        raise NoLock

    def free(self, token: str) -> None:
        """Give it back; without effect for whoever does not have it."""
        if self._holder and _same(self._holder.token, token):
            self._holder = None

    def _alive(self) -> Holder | None:
        if self._holder and time.monotonic() - self._holder.seen > LAPSE_S:
            self._before.append(self._holder.token)
            self._holder = None
        return self._holder


class Audit:
    """What was done by whom: on disk, and the newest in memory."""

    def __init__(self, state: Path) -> None:
        """Read the newest lines of `audit.jsonl`; what cannot be read is passed over."""
        self._file = state / "audit.jsonl"
        self._newest: deque[Done] = deque(maxlen=SHOWN)
        self._unwritten: deque[bytes] = deque(maxlen=MOST_UNWRITTEN)
        """While the disk takes nothing they wait for the next that it does take."""
        self._writing = asyncio.Lock()
        for line in _lines(self._file)[-SHOWN:]:
            try:
                self._newest.append(msgspec.json.decode(line, type=Done))
            except ValueError:  # msgspec gives a ValueError of Python's own for bytes that are no text
                continue

    async def note(self, by: str, user: str, action: str, about: str = "", result: str = "done") -> None:
        """One line, on disk before anyone is answered; a disk that takes nothing is said in the log."""
        done = Done(time.time(), by, user, action, about, result)
        self._newest.append(done)
        self._unwritten.append(msgspec.json.encode(done) + b"\n")
        log.info("audit by=%s user=%s action=%s about=%s result=%s", by, user, action, about, result)
        await asyncio.shield(self._written())

    async def _written(self) -> None:
        """A card that stalls holds up those who wait for their own line, and one thread."""
        async with self._writing:
            lines = list(self._unwritten)
            if not lines or not await asyncio.to_thread(self._write, lines):
                return
            for line in lines:
                with contextlib.suppress(ValueError):  # so many waited that the oldest had to go
                    self._unwritten.remove(line)

    def newest(self) -> list[Done]:
        """Newest first."""
        return list(reversed(self._newest))

    def _write(self, lines: list[bytes]) -> bool:
        try:
            if self._file.exists() and self._file.stat().st_size > MOST_BYTES:
                self._file.replace(self._file.with_suffix(".jsonl.1"))
            with self._file.open("ab+") as file:
                if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                    file.write(b"\n")  # a power cut tore the last line
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.warning("audit file not written error=%s", error.strerror)
            return False
        return True


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines()
    except OSError:
        return []


def _same(one: str, other: str) -> bool:
    """Without telling by the time that it takes how much of a token was guessed."""
    from secrets import compare_digest  # here: the terminal wants only the Structs of this module, and OpenSSL weighs

    return compare_digest(one, other)
