"""Delivers a batch but for the readings that the server refuses, in few requests also where it refuses them for days.

A field that has another type there is refused at every poll until somebody mends it. Searched for anew in each batch,
every one of its readings would cost a dozen requests, and over a long line all others would wait for them. So what was
refused once is tried apart: one request for all of its like, and one for the rest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from edge_agent.lines import Line
from edge_agent.rows import Row

Numbered = tuple[Row, int, Line]
"""A line, the row that it is of, and the sequence number of its first reading."""
Post = Callable[[Sequence[Numbered]], Awaitable[str | None]]
"""Sends some lines; the server's words where it refuses them, None where it took them all."""
Found = list[tuple[Numbered, str]]
"""Readings that were refused, each by itself, with the server's words."""
MOST = 1000
"""Fields remembered; past it the one that was found first is searched for anew."""
LAPSE = 3600.0
"""Seconds for which a field is remembered that does not come any more."""

_DROPPED = re.compile(r"\bdropped=(\d+)(?: for database\b|$)")
"""InfluxDB 1 ends with the number; 2 goes on to say where."""


class _Known(msgspec.Struct, frozen=True):
    words: str
    """The server's, of the last one."""
    seen: float
    """`time.monotonic()`"""


class Sieve:
    """What one server refuses."""

    def __init__(self, takes_anything: Callable[[], Awaitable[None]]) -> None:
        """`takes_anything` raises where not the readings are at fault but the request is."""
        self._takes_anything = takes_anything
        self._known: dict[tuple[str, str], _Known] = {}
        """By series and field, what was refused and has not been taken since."""

    @property
    def is_needed(self) -> bool:
        """True where something was refused before."""
        return bool(self._known)

    async def pass_on(self, lines: list[Numbered], words: str | None, post: Post) -> Found:
        """Deliver `lines` by `post`, which says why it refuses some or None; what is refused for good.

        `words`: why all of them together were refused; None: they were not tried yet.
        """
        found: Found = []
        while lines:
            like, lines = self._part(lines)
            if like:
                found += await self._like_refused(like, post)
                words = None  # they may have been what was refused
            if not lines or not (words := words or await post(lines)):
                break
            if not found:
                await self._takes_anything()
            more, lines = await self._first_refused(lines, words, post)
            found, words = found + more, None
        since = time.monotonic() - LAPSE
        self._known = {field: known for field, known in self._known.items() if known.seen > since}
        return found

    async def _like_refused(self, like: list[Numbered], post: Post) -> Found:
        """Try readings that will likely be refused, all at once."""
        words = await post(like)
        if words and _all_dropped(words, len(like)):
            return self._noted([(each, self._known[_field(each[2])].words) for each in like])
        if words:
            await self._takes_anything()
        found = await _refused_of(like, words, post)
        for _, _, single in like:
            self._known.pop(_field(single), None)
        return self._noted(found)

    async def _first_refused(self, lines: list[Numbered], words: str, post: Post) -> tuple[Found, list[Numbered]]:
        """What is refused of the first line at fault, or of the first ones where all of them are; what was not looked
        at. One line at fault among n costs log2(n) + 1 requests."""
        others: list[Numbered] = []
        while len(lines) > 1 and not _all_dropped(words, len(lines)):
            half = len(lines) // 2
            left, right = lines[:half], lines[half:]
            if (said := await post(left)) is None:
                lines = right
            else:
                lines, others, words = left, right + others, said
        alone = [single for line in lines for single in _singles(line)]
        return self._noted(await _refused_of(alone, await post(alone), post)), others

    def _noted(self, found: Found) -> Found:
        for (_, _, single), words in found:
            self._known[_field(single)] = _Known(words, time.monotonic())
            if len(self._known) > MOST:
                del self._known[next(iter(self._known))]
        return found

    def _part(self, lines: Iterable[Numbered]) -> tuple[list[Numbered], list[Numbered]]:
        """The readings of fields that were refused, each by itself, and all others."""
        series = {of for of, _ in self._known}
        like: list[Numbered] = []
        others: list[Numbered] = []
        for numbered in lines:
            if numbered[2].series not in series:
                others.append(numbered)
                continue
            for each in _singles(numbered):
                (like if _field(each[2]) in self._known else others).append(each)
        return like, others


async def _refused_of(singles: list[Numbered], words: str | None, post: Post) -> Found:
    """Which of some readings are refused; `words`: what was said of all together. Each was refused by itself, or with
    others none of which was taken."""
    if words is None:
        return []
    if len(singles) == 1 or _all_dropped(words, len(singles)):
        return [(each, words) for each in singles]
    half = len(singles) // 2
    parts = (singles[:half], singles[half:])
    return [each for part in parts for each in await _refused_of(part, await post(part), post)]


def _singles(numbered: Numbered) -> Iterable[Numbered]:
    row, sequence, line = numbered
    return ((row, sequence + k, single) for k, single in enumerate(line.single()))


def _field(single: Line) -> tuple[str, str]:
    ((name, _),) = single.fields
    return single.series, name


def _all_dropped(words: str, count: int) -> bool:
    """True where the server says that it took none of `count` points (InfluxDB's "partial write: … dropped=7").

    It counts in one shard (a day, or a week) only: of points in several it is never all.
    """
    found = _DROPPED.search(words)
    return found is not None and int(found[1]) == count
