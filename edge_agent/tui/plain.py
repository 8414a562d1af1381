"""The same screens as plain lines, for serial consoles and terminals that know no more: printed once, anew on a key."""

from __future__ import annotations

import asyncio
import sys
import termios
import tty
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo

from edge_agent.status import VERDICTS
from edge_agent.text import LANGUAGES, Text, texts
from edge_agent.tui.keys import ENTER, ERASE, ESCAPE, INTERRUPT, Keys
from edge_agent.tui.maintain import RESTARTS, STEPS, Maintain
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import STATE_MARKS, Place, Row
from edge_agent.tui.terminal import Terminal
from edge_agent.tui.views import log
from edge_agent.tui.views.frame import Frame, left_of_trial
from edge_agent.tui.views.screens import SCREENS, of
from edge_agent.tui.voice import Voice
from edge_agent.tui.work import Work

WATCH = 3.0
"""Seconds between looks at the agent; only a change is printed."""
NUMBER = 3
"""Columns before a line, for its number."""
FULL_ONLY = {"p": "plain.pause", "y": "plain.copy", ":": "plain.palette", "u": "update.none", "z": "update.none"}
"""Keys of the full screen that can do nothing here, by the sentence `tui.<name>` that says so."""


def run(picture: Picture, text: Text, terminal: Terminal, zone: str, maintain: str = "") -> int:
    """Until `q`; where nobody can type, one print of the overview and its exit code. `maintain`: who changes things."""
    plain = Plain(picture, text, terminal, zone, maintain)
    why = text(f"tui.plain.{terminal.why}", **terminal.facts)
    try:
        if not sys.stdin.isatty() or terminal.why == "no_terminal":
            plain.voice.say(why)
            return asyncio.run(plain.once())
        with _single_keys():
            plain.voice.say(why)
            asyncio.run(plain.talk())
    except KeyboardInterrupt:
        return 130
    return 0


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come without Enter; what the line has not carried yet is thrown away at the end, so that `q` is quick."""
    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    _mend_lines()
    try:
        yield
    finally:
        termios.tcflush(1, termios.TCOFLUSH)
        print(flush=True)
        termios.tcsetattr(0, termios.TCSANOW, before)


def _mend_lines() -> None:
    """A program that died on this console may have left it raw: lines would run off like stairs, Enter do nothing."""
    now = termios.tcgetattr(0)
    now[0] |= termios.ICRNL
    now[1] |= termios.OPOST | termios.ONLCR
    termios.tcsetattr(0, termios.TCSANOW, now)


class _Left(Exception):
    """The technician wants to go, whatever is being done."""


class Plain:
    """One technician at a poor terminal."""

    def __init__(self, picture: Picture, text: Text, terminal: Terminal, zone: str, maintain: str = "") -> None:
        """`zone`: of the site."""
        self.voice = Voice(text, terminal)
        self._picture, self._zone = picture, ZoneInfo(zone)
        self._work = Work(picture, self.voice, Maintain(picture, maintain))
        self._place = Place()
        self._trail: list[Place] = []
        self._find = ""
        self._sort = "worst"
        self._level = log.CHOICES[0]
        self._rest: list[str] = []
        """Lines of this screen not printed yet."""
        self._leads: list[Place] = []
        self._told = ""
        self._keys = Keys()

    # --- printing -----------------------------------------------------------------------------------------------------

    async def once(self) -> int:
        """The overview, and how well the box is as exit code."""
        await self._ask()
        for line in self._lines(of(self._place).rows(self._picture, self._frame())):
            self.voice.say(line)
        status = self._picture.status.value
        return VERDICTS.index(status.verdict) if status and not self._picture.away else 2

    def _frame(self) -> Frame:
        lock = self._work.maintain
        return Frame(
            text=self.voice.text,
            columns=self.voice.size()[0] - 1 - NUMBER,
            now=asyncio.get_running_loop().time(),
            wall=self._wall(),
            place=self._place,
            find=self._find,
            sort=self._sort,
            level=self._level,
            marks=self.voice.marks,
            maintain=lock.name if lock.held else "",
            plain=True,
        )

    def _wall(self) -> datetime:
        return datetime.now(self._zone)

    async def _ask(self) -> None:
        now = asyncio.get_running_loop().time
        await self._picture.refresh((*of(self._place).needs, "config"), now, self._place.key)

    async def _show(self) -> None:
        """The screen anew, from its first line."""
        await self._ask()
        self._told = self._state()
        self._rest = self._lines(of(self._place).rows(self._picture, self._frame()))
        self.voice.say(self._head())
        self._more()

    def _head(self) -> str:
        """Screen, time, filter, who may change things, and what is on trial."""
        text, frame = self.voice.text, self._frame()
        mode = text("tui.maintain", name=frame.maintain) if frame.maintain else text("tui.read_only")
        parts = [text(f"tui.screen.{self._place.screen}"), "==", f"{self._wall():%H:%M:%S}", f"[{mode}]"]
        if (left := left_of_trial(self._picture, frame)) is not None:
            parts.append(text("tui.head.trial", left=left))
        if self._find:
            parts.append(f"/{self._find}")
        return f"== {' '.join(parts)}"

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
        room, text = max(4, self.voice.size()[1] - 3), self.voice.text
        now, self._rest = self._rest[:room], self._rest[room:]
        for line in now:
            self.voice.say(line)
        self.voice.say(text("tui.plain.more", count=len(self._rest)) if self._rest else text("tui.plain.keys"))

    def _state(self) -> str:
        """What a technician must hear of without asking."""
        picture, text, now = self._picture, self.voice.text, asyncio.get_running_loop().time()
        if picture.away:
            return text(f"tui.away.{picture.away.what}", socket=str(picture.socket), ago=0.0)
        if picture.old(now, WATCH):
            return text("tui.screen_old", ago=picture.age(now) or 0)
        status, config = picture.status.value, picture.config.value
        parts = [f"{STATE_MARKS[status.verdict]} {text(f'tui.state.{status.verdict}')}"] if status else []
        if config is not None and config.returned:
            parts.append(text(f"tui.config.returned.{config.returned}", name=config.returned_by))
        return "  ".join(parts)

    # --- keys ---------------------------------------------------------------------------------------------------------

    async def talk(self) -> None:
        """Until `q`."""
        renewing = asyncio.create_task(self._work.renew(), name="edge-renew")
        try:
            with self._keys.listening(), suppress(_Left):
                await self._unless_leaving(self._begin())
                while (key := await self._key()) not in INTERRUPT and (key != "q" or self.voice.purpose):
                    await self._unless_leaving(self._do(key))
        finally:
            renewing.cancel()
            await self._work.leave()

    async def _begin(self) -> None:
        await self._show()
        if self._work.maintain.name:
            await self._work.take(steal=False)

    async def _unless_leaving(self, work: Coroutine[object, object, object]) -> None:
        """Do it; `q` leaves it undone, `x` ends a command that runs. Other keys wait for their turn. Raises _Left."""
        task = asyncio.create_task(work, name="edge-key")
        while not task.done():
            came = asyncio.create_task(self._keys.came.wait(), name="edge-came")
            await asyncio.wait({task, came}, return_when=asyncio.FIRST_COMPLETED)
            came.cancel()
            self._keys.came.clear()
            if self._keys.leaving():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                raise _Left
            if any(run.running for run in self._picture.runs.values()) and self._keys.stopping():
                self._work.stop()
        await task

    async def _key(self) -> str:
        """The next key; meanwhile the agent is watched."""
        while True:
            try:
                return await self._keys.next(WATCH)
            except TimeoutError:
                await self._watch()

    async def _watch(self) -> None:
        """One line where the state of things has changed."""
        await self._picture.refresh(("status", "config"), asyncio.get_running_loop().time)
        if self._told and (state := self._state()) != self._told:
            self._told = state
            self.voice.say(f"{self._wall():%H:%M:%S} {state}")

    async def _do(self, key: str) -> None:
        """A letter of the line that is being typed, or a key."""
        if purpose := self.voice.purpose:
            typed = self.voice.take(key)
            if typed is not None:
                await self._typed(purpose, typed)
        elif key in ENTER or key == " ":
            await self._onward()
        elif key.isdigit() and 1 <= int(key) <= len(SCREENS):
            await self._to(Place(SCREENS[int(key) - 1].name))
        elif key in ("?", "h"):
            await self._to(Place("help"))
        elif key in (ESCAPE, *ERASE):
            await self._back()
        elif key in FULL_ONLY:
            self.voice.say(self.voice.text(f"tui.{FULL_ONLY[key]}"))
        elif key in KEYS:
            await KEYS[key](self)

    async def _typed(self, purpose: str, words: str) -> None:
        """A line has been typed."""
        if purpose == "find":
            self._find = words
            await self._show()
        elif purpose == "open" and words.isdigit() and 1 <= int(words) <= len(self._leads):
            await self._open(self._leads[int(words) - 1])
        elif purpose == "tool":
            await self._work.tool(words.split())
        elif purpose == "restart":
            await self._work.restart(self._place.screen, words)
        elif purpose == "candidate" and words and await self._work.propose(words):
            await self._look_at_config()

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

    async def _back(self) -> None:
        self._find = ""
        self._place = self._trail.pop() if self._trail else Place()
        await self._show()

    async def _open(self, place: Place) -> None:
        """Where a line leads; a tool of the bench to its words, to be changed and run."""
        if place.screen == self._place.screen == "modbus":
            self.voice.ask("tool", "edge modbus ", place.key)
        else:
            await self._to(place)

    async def _number(self) -> None:
        self.voice.ask("open", ".")

    async def _filter(self) -> None:
        self.voice.ask("find", "/")

    async def _order(self) -> None:
        self._sort = "name" if self._sort == "worst" else "worst"
        await self._show()

    async def _levels(self) -> None:
        self._level = log.CHOICES[(log.CHOICES.index(self._level) + 1) % len(log.CHOICES)]
        await self._show()

    async def _language(self) -> None:
        """The other language, also of the agent's own sentences."""
        self.voice.text = texts(next(each for each in LANGUAGES if each != self.voice.text.language))
        self._picture.language = self.voice.text.language
        await self._show()

    # --- doing something ----------------------------------------------------------------------------------------------

    async def _climb(self) -> None:
        if self._place.screen == "network":
            await self._work.run("network", ("net",))

    async def _test(self) -> None:
        """From the uplink: a test reading through every rung."""
        if self._place.screen == "uplink":
            await self._to(Place("network"))
            await self._climb()

    async def _repeat(self) -> None:
        run = self._picture.runs.get(self._place.screen)
        if run and run.words:
            await self._work.run(self._place.screen, run.words)
        else:
            await self._show()

    async def _again(self) -> None:
        """`x` where nothing runs."""
        if self._place.screen == "uplink" and self._work.may():
            await self._work.again(self._place.key)

    async def _bundle(self) -> None:
        await self._work.bundle(self._wall())

    async def _steal(self) -> None:
        if self._work.maintain.name and not self._work.maintain.held:
            await self._work.take(steal=True)

    async def _candidate(self) -> None:
        if self._work.may():
            self.voice.say(self.voice.text("tui.config.type"))
            self.voice.ask("candidate", "> ", f"{self._picture.file}.new")

    async def _step(self, name: str) -> None:
        if self._work.may() and await self._work.step(name):
            await self._look_at_config()

    async def _look_at_config(self) -> None:
        self._picture.config.at = None
        await self._to(Place("box"))

    async def _restart(self) -> None:
        if self._place.screen in RESTARTS and self._work.may():
            self.voice.say(self.voice.text(f"tui.restart.ask.{self._place.screen}"))
            self.voice.ask("restart", "> ")


KEYS: dict[str, Callable[[Plain], Awaitable[None]]] = {
    ".": Plain._number,
    "/": Plain._filter,
    "s": Plain._order,
    "v": Plain._levels,
    "l": Plain._language,
    "c": Plain._climb,
    "t": Plain._test,
    "r": Plain._repeat,
    "x": Plain._again,
    "b": Plain._bundle,
    "S": Plain._steal,
    "d": Plain._candidate,
    "R": Plain._restart,
    **{key: partial(Plain._step, name=name) for key, name in zip("AYB", STEPS, strict=True)},
}
"""What further keys do."""
