"""What tabs in a meeting see and hear over a while, held against what is promised of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.conference.browser import Tab

Streams = dict[str, list[dict[str, Any]]]


class Promise(msgspec.Struct, frozen=True):
    """What every tab has in a window of so many seconds."""

    seconds: float
    decoded: float
    """Least share of the frames that all others sent."""
    freezes: int
    """Most of them, over all its pictures."""
    voices: int
    """Least number of others heard."""
    frozen: float = 1.0
    """Most of a picture's time."""


async def watched(tabs: Sequence[Tab], promise: Promise, windows: int = 1) -> list[str]:
    """Faults of the first window without any, or of the last: other tests may have the processor for a while."""
    for _ in range(windows):
        faults = await _watch(tabs, promise)
        if not faults:
            break
    return faults


async def _watch(tabs: Sequence[Tab], promise: Promise) -> list[str]:
    marks = [await _mark(tabs)]
    await asyncio.sleep(promise.seconds)
    marks.append(await _mark(tabs))
    sent = [after[0] - before[0] for before, after in zip(*marks, strict=True)]
    faults = [] if min(sent) > 10 * promise.decoded * promise.seconds else [f"sent {sent}"]
    for at, (before, after) in enumerate(zip(*marks, strict=True)):
        fault = _fault(before[1], after[1], sum(sent) - sent[at], promise)
        faults += [f"tab {at + 1}: {fault}"] if fault else []
    return faults


async def _mark(tabs: Sequence[Tab]) -> list[tuple[int, Streams]]:
    """Frames sent and all that comes in, of each tab, as nearly at once as can be."""
    asked = (asyncio.gather(*(tab.sent() for tab in tabs)), asyncio.gather(*(tab.frames() for tab in tabs)))
    return list(zip(*(await asyncio.gather(*asked)), strict=True))


def _fault(before: Streams, after: Streams, sent: int, promise: Promise) -> str:
    """What a tab lacked that should have decoded `sent` frames; empty: nothing."""
    decoded, freezes = (sum(_more(before, after, "video", what)) for what in ("frames", "freezes"))
    frozen = max(_more(before, after, "video", "frozen"), default=0.0) / promise.seconds
    heard = sum(energy > 0 for energy in _more(before, after, "audio", "energy"))
    figures = f"{decoded} of {sent} frames, {freezes} freezes, {100 * frozen:.2f} % frozen, {heard} heard"
    print(figures, file=sys.stderr)
    kept = decoded >= promise.decoded * sent and freezes <= promise.freezes
    return "" if kept and frozen <= promise.frozen and heard >= promise.voices else figures


def _more(before: Streams, after: Streams, kind: str, what: str) -> list[Any]:
    """By how much a counter of each stream grew; a stream that came meanwhile counts from nothing."""
    old = {one["id"]: one[what] for one in before[kind]}
    return [one[what] - old.get(one["id"], 0) for one in after[kind]]
