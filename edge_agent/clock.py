"""The box's clock: is it right, who says so, and was it moved? Asked without root.

chrony is asked over its port, systemd-timesyncd by the mark that it leaves, the kernel by adjtimex(2), in that order. A
time source that is there and has no time yet means `waiting`; where nobody can tell, the clock is `unknown` and
believed. Wall time minus CLOCK_BOOTTIME stays the same within a boot unless somebody sets the clock: that is a step.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from pathlib import Path
from typing import Literal

import msgspec

log = logging.getLogger("edge.clock")

State = Literal["synced", "waiting", "unknown"]
"""Right; a time source has none yet; nobody can tell."""

CHRONY = ("127.0.0.1", 323)
"""Where chronyd answers anybody on this machine (chrony.conf(5), cmdport)."""
TIMESYNC = Path("/run/systemd/timesync")
"""There while systemd-timesyncd runs; `synchronized` in it once the clock was set (systemd-timesyncd.service(8))."""
TIME_ERROR = 5
"""What adjtimex(2) returns while the clock is not synchronised."""
PATIENCE = 0.5
"""Seconds that chronyd has to answer."""
STEP = 0.5
"""Seconds by which the clock has to be moved to count as a step; less is slewing and rounding."""

# chrony's candm.h, protocol version 6: request 33 is tracking, its answer has number 5 and the leap status at byte 54.
_TRACKING = struct.pack("!BBBBHHIII", 6, 1, 0, 0, 33, 0, 1, 0, 0).ljust(104, b"\0")
_ANSWER = struct.Struct("!BBBBHHH")
_LEAP_AT, _UNSYNCED = 54, 3


class Told(msgspec.Struct, frozen=True):
    """What is known of the clock."""

    state: State
    by: str
    """chrony, timesyncd, kernel; none: nobody could be asked."""


async def ask(chrony: tuple[str, int] = CHRONY, timesync: Path = TIMESYNC) -> Told:
    """Ask who knows, best first."""
    if (right := await _chrony(chrony)) is not None:
        return Told("synced" if right else "waiting", "chrony")
    if (right := _timesyncd(timesync)) is not None:
        return Told("synced" if right else "waiting", "timesyncd")
    if (right := _kernel()) is None:
        return Told("unknown", "none")
    # "Not synchronised" by the kernel alone: nobody is there who would ever set the clock, so nothing to wait for.
    return Told("synced" if right else "unknown", "kernel")


async def _chrony(address: tuple[str, int]) -> bool | None:
    """Whether chronyd has the time; None: it does not run here."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(address)
            asking.send(_TRACKING)
            async with asyncio.timeout(PATIENCE):
                answer = await loop.sock_recv(asking, 512)
        except (OSError, TimeoutError):
            return None
    return _leap(answer)


def _leap(answer: bytes) -> bool | None:
    if len(answer) < _LEAP_AT + 2:
        return None
    version, kind, _, _, command, reply, status = _ANSWER.unpack_from(answer)
    if (version, kind, command, reply, status) != (6, 2, 33, 5, 0):
        return None
    return bool(struct.unpack_from("!H", answer, _LEAP_AT)[0] != _UNSYNCED)


def _timesyncd(folder: Path) -> bool | None:
    """By its mark, in memory and not on the card; None: it does not run here."""
    return (folder / "synchronized").exists() if folder.is_dir() else None


def _kernel() -> bool | None:
    """The kernel's own word; None where the sandbox forbids the question."""
    import ctypes  # half a megabyte, for boxes with neither of the others

    # A read: modes 0 of struct timex.
    state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    return None if state < 0 else state < TIME_ERROR


def base_ms() -> int:
    """Wall time at CLOCK_BOOTTIME zero, in ms: the same all through a boot while nobody sets the clock."""
    return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1_000_000


class Clock:
    """What is known of this box's clock, kept up to date by `look`."""

    def __init__(self) -> None:
        """Nothing is known yet: believed until asked."""
        self.told = Told("unknown", "none")
        self.since = time.time()
        """Unix seconds of the last change of state, by the clock as it was then."""
        self.base = base_ms()
        self.step_s = 0.0
        """Seconds by which the clock was last moved; 0: never since the start."""
        self.stepped_at = 0.0
        """Unix seconds, by the new clock."""

    def synced(self) -> bool:
        """True when the clock is known to be right."""
        return self.told.state == "synced"

    async def look(self) -> float:
        """Ask again; the seconds by which the clock was moved since the last look, 0 for not."""
        told = await ask()
        if told != self.told:
            log.warning("clock state=%s by=%s before=%s", told.state, told.by, self.told.state)
            self.told, self.since = told, time.time()
        return self._step()

    def _step(self) -> float:
        base = base_ms()
        moved, self.base = (base - self.base) / 1000, base
        if abs(moved) < STEP:
            return 0.0
        log.warning("clock stepped by=%.3fs", moved)
        self.step_s, self.stepped_at = moved, time.time()
        return moved
