"""The same screens as plain lines, for serial consoles and terminals that know no more: printed once, anew on a key."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

from edge_agent.status import VERDICTS
from edge_agent.text import LANGUAGES, Text, texts
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import STATE_MARKS, Place, Row, in_ascii, with_twins
from edge_agent.tui.terminal import Terminal
from edge_agent.tui.views.frame import Frame
from edge_agent.tui.views.screens import SCREENS, of

WATCH = 3.0
"""Seconds between looks at the agent; only a change is printed."""
COLUMNS, LINES, NUMBER = 80, 24, 3
MOST_KEYS = 64
"""Keys typed ahead; more are dropped."""
ENTER, ESCAPE, ERASE, INTERRUPT = ("\r", "\n"), "\x1b", ("\x7f", "\b"), ("\x03", "\x04")


def run(picture: Picture, text: Text, terminal: Terminal, zone: str) -> int:
    """Until `q`; where nobody can type, one print of the overview and its exit code."""
    plain = Plain(picture, text, terminal, zone)
    plain.say(text(f"tui.plain.{terminal.why}", **terminal.facts))
    try:
        if not sys.stdin.isatty() or terminal.why == "no_terminal":
            return asyncio.run(plain.once())
        with _single_keys():
            asyncio.run(plain.talk())
    except KeyboardInterrupt:
        return 130
    return 0


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come without Enter; what the line has not carried yet is thrown away at the end, so that `q` is quick."""
    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield
    finally:
        termios.tcflush(1, termios.TCOFLUSH)
        termios.tcsetattr(0, termios.TCSANOW, before)
        print(flush=True)


class Plain:
    """One technician at a poor terminal."""

    def __init__(self, picture: Picture, text: Text, terminal: Terminal, zone: str) -> None:
        """`zone`: of the site."""
        self._picture, self._text, self._terminal, self._zone = picture, text, terminal, ZoneInfo(zone)
        self._place = Place()
        self._trail: list[Place] = []
        self._find = ""
        self._sort = "worst"
        self._rest: list[str] = []
        """Lines of this screen not printed yet."""
        self._leads: list[Place] = []
        self._told = ""
        self._keys: asyncio.Queue[str] = asyncio.Queue(MOST_KEYS)

    # --- printing -----------------------------------------------------------------------------------------------------

    def say(self, line: str) -> None:
        """One line in letters that the terminal has."""
        if not self._terminal.letters:
            line = in_ascii(line)
        elif not self._terminal.marks:
            line = with_twins(line)
        print(line, flush=True)

    async def once(self) -> int:
        """The overview, and how well the box is as exit code."""
        await self._ask()
        for line in self._lines(of(self._place).rows(self._picture, self._frame())):
            self.say(line)
        status = self._picture.status.value
        return VERDICTS.index(status.verdict) if status and not self._picture.away else 2

    def _frame(self) -> Frame:
        loop = asyncio.get_running_loop()
        size = self._size()
        return Frame(
            text=self._text,
            columns=size[0] - 1 - NUMBER,
            now=loop.time(),
            wall=datetime.now(self._zone),
            place=self._place,
            find=self._find,
            sort=self._sort,
            marks=self._terminal.marks,
        )

    def _size(self) -> tuple[int, int]:
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:
            return COLUMNS, LINES
        return columns or COLUMNS, lines or LINES

    async def _ask(self) -> None:
        now = asyncio.get_running_loop().time
        await self._picture.refresh(of(self._place).needs, now, self._place.key)

    async def _show(self) -> None:
        """The screen anew, from its first line."""
        await self._ask()
        self._told = self._state()
        self._rest = self._lines(of(self._place).rows(self._picture, self._frame()))
        name = self._text(f"tui.screen.{self._place.screen}")
        self.say(f"== {name} == {datetime.now(self._zone):%H:%M:%S}")
        self._more()

    def _lines(self, rows: Sequence[Row]) -> list[str]:
        """Rows that lead somewhere are numbered, in columns of their own."""
        self._leads, lines = [], []
        for row in rows:
            number = ""
            if row.leads:
                self._leads.append(row.leads)
                number = str(len(self._leads))
            lines.append(f"{number:>{NUMBER}}{row.plain}".rstrip())
        return lines

    def _more(self) -> None:
        room = max(4, self._size()[1] - 3)
        now, self._rest = self._rest[:room], self._rest[room:]
        for line in now:
            self.say(line)
        self.say(self._text("tui.plain.more", count=len(self._rest)) if self._rest else self._text("tui.plain.keys"))

    def _state(self) -> str:
        """What a technician must hear of without asking."""
        picture, now = self._picture, asyncio.get_running_loop().time()
        if picture.away:
            return self._text(f"tui.away.{picture.away.what}", socket=str(picture.socket), ago=0.0)
        if picture.old(now, WATCH):
            return self._text("tui.screen_old", ago=picture.age(now) or 0)
        status = picture.status.value
        return f"{STATE_MARKS[status.verdict]} {self._text(f'tui.state.{status.verdict}')}" if status else ""

    # --- keys ---------------------------------------------------------------------------------------------------------

    async def talk(self) -> None:
        """Until `q`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(0, self._typed)
        try:
            showing = asyncio.create_task(self._show(), name="edge-show")
            while True:
                key = await self._key()
                if key in ("q", *INTERRUPT):
                    showing.cancel()
                    return
                await asyncio.gather(showing, return_exceptions=False)
                showing = asyncio.create_task(self._do(key), name="edge-show")
        finally:
            loop.remove_reader(0)

    def _typed(self) -> None:
        for letter in os.read(0, MOST_KEYS).decode("utf-8", "replace"):
            if not self._keys.full():
                self._keys.put_nowait(letter)

    async def _key(self) -> str:
        """The next key; meanwhile the agent is watched."""
        while True:
            try:
                return await asyncio.wait_for(self._keys.get(), WATCH)
            except TimeoutError:
                await self._watch()

    async def _watch(self) -> None:
        """One line where the state of things has changed."""
        await self._picture.refresh(("status",), asyncio.get_running_loop().time)
        if self._told and (state := self._state()) != self._told:
            self._told = state
            self.say(f"{datetime.now(self._zone):%H:%M:%S} {state}")

    async def _do(self, key: str) -> None:
        if key in ENTER or key == " ":
            await self._onward()
        elif key.isdigit() and 1 <= int(key) <= len(SCREENS):
            await self._to(Place(SCREENS[int(key) - 1].name))
        elif key in ("?", "h"):
            await self._to(Place("help"))
        elif key == ".":
            await self._open(await self._line("."))
        elif key == "/":
            self._find = await self._line("/")
            await self._show()
        elif key in (ESCAPE, *ERASE):
            self._find = ""
            self._place = self._trail.pop() if self._trail else Place()
            await self._show()
        elif key == "s":
            self._sort = "name" if self._sort == "worst" else "worst"
            await self._show()
        elif key == "l":
            self._text = texts(next(language for language in LANGUAGES if language != self._text.language))
            await self._show()

    async def _onward(self) -> None:
        """The rest of the screen, or the screen anew."""
        if self._rest:
            self._more()
        else:
            await self._show()

    async def _to(self, place: Place) -> None:
        self._trail = [*self._trail[-20:], self._place]
        self._place, self._find = place, ""
        await self._show()

    async def _open(self, number: str) -> None:
        if number.isdigit() and 1 <= int(number) <= len(self._leads):
            await self._to(self._leads[int(number) - 1])

    async def _line(self, prompt: str) -> str:
        """Letters until Enter, shown as they come."""
        typed = ""
        print(prompt, end="", flush=True)
        while (key := await self._keys.get()) not in ENTER:
            if key in ERASE:
                typed = typed[:-1]
                print("\b \b", end="", flush=True)
            elif key == ESCAPE:
                typed = ""
                break
            elif key.isprintable():
                typed += key
                print(key, end="", flush=True)
        print(flush=True)
        return typed.strip()
