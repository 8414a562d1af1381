"""The keyboard of a plain terminal. One reader takes the keys in their order; who is busy lets them wait."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

MOST = 256
"""Keys typed ahead; more are dropped."""
GAP = 0.1
"""Seconds within which the letters of one special key follow each other, also at 300 baud."""
ENTER, ESCAPE, ERASE, INTERRUPT = ("\r", "\n"), "\x1b", ("\x7f", "\b"), ("\x03", "\x04")
OPENERS = ("/", ".", "d", "R")
"""Keys after which a line is typed, in which `q` is a letter."""


class Keys:
    """What was typed and not yet taken."""

    def __init__(self, source: int = 0) -> None:
        """`source`: file descriptor of the terminal."""
        self._source = source
        self._waiting: deque[str] = deque()
        self.came = asyncio.Event()
        """Something new was typed."""
        self._letters = codecs.getincrementaldecoder("utf-8")("replace")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keys are taken in."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._source, self._typed)
        try:
            yield
        finally:
            loop.remove_reader(self._source)

    def _typed(self) -> None:
        try:
            raw = os.read(self._source, MOST)
        except OSError:
            raw = b""
        if not raw:  # the line is gone
            asyncio.get_running_loop().remove_reader(self._source)
        letters = self._letters.decode(raw) if raw else INTERRUPT[0]
        self._waiting.extend(letters[: MOST - len(self._waiting)] if raw else letters)
        self.came.set()

    async def next(self, seconds: float) -> str:
        """The next key; empty for one that means nothing here, such as an arrow. Raises TimeoutError."""
        key = await self._letter(seconds)
        if key != ESCAPE:
            return key
        try:
            second = await self._letter(GAP)
        except TimeoutError:
            return key
        if second in "[O":
            await self._rest_of(second)
            return ""
        self._waiting.appendleft(second)
        return key

    async def _letter(self, seconds: float) -> str:
        async with asyncio.timeout(seconds):
            while not self._waiting:
                self.came.clear()
                await self.came.wait()
        return self._waiting.popleft()

    async def _rest_of(self, kind: str) -> None:
        """Up to the letter that ends a special key (ECMA-48 5.4), lest an arrow's `A` applies a configuration."""
        try:
            while (letter := await self._letter(GAP)) and kind == "[" and not "@" <= letter <= "~":
                pass
        except TimeoutError:
            return

    def leaving(self) -> bool:
        """`q` or Ctrl-C waits, and not as a letter of a line."""
        for key in self._waiting:
            if key in OPENERS:
                return False
            if key in ("q", *INTERRUPT):
                return True
        return False

    def stopping(self) -> bool:
        """`x` waits; it and what came before it are taken."""
        if "x" not in self._waiting:
            return False
        while self._waiting.popleft() != "x":
            pass
        return True
