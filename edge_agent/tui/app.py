"""The full-screen terminal: one page, a line above and one below; keys go from screen to screen."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding
from textual.notifications import SeverityLevel
from textual.screen import Screen as TextualScreen
from textual.widgets import Input

from edge_agent.text import LANGUAGES, Text, texts
from edge_agent.tui.driver import MeasuredDriver
from edge_agent.tui.maintain import RENEW, Cannot, Maintain
from edge_agent.tui.page import Bar, Page, Painter
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Place, Row
from edge_agent.tui.views import log, modbus
from edge_agent.tui.views.frame import Frame
from edge_agent.tui.views.screens import SCREENS, footer, header, of

COPIED_ROWS = 400
FASTEST = 0.1
"""Seconds between two pictures while a tool prints."""
SLOW = ((3.0, 30.0), (0.5, 5.0))
"""A flush that takes longer than the first makes the refresh wait for the second; seconds."""


class Moment:
    """The two clocks, so that a test can hold them."""

    def __init__(self, zone: str) -> None:
        """`zone`: the site's."""
        self._zone = ZoneInfo(zone)

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wall(self) -> datetime:
        """Time of day at the site."""
        return datetime.now(self._zone)


def _key(key: str, action: str) -> Binding:
    return Binding(key, action, show=False)


class Terminal(App[None]):
    """The technician's terminal."""

    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "colon"
    CSS = """
    Screen { layout: vertical; }
    #line { height: 1; border: none; padding: 0 1; display: none; }
    #line.open { display: block; }
    """
    BINDINGS = [  # noqa: RUF012 - as Textual declares it
        *(_key(str(i), f"go('{screen.name}')") for i, screen in enumerate(SCREENS, 1)),
        _key("ctrl+p", "command_palette"),
        _key("up,k", "move(-1)"),
        _key("down,j", "move(1)"),
        _key("pageup", "turn(-1)"),
        _key("pagedown,space", "turn(1)"),
        _key("home,g", "top"),
        _key("end,G", "end"),
        _key("enter", "enter"),
        _key("escape,backspace", "up"),
        _key("slash", "find"),
        _key("question_mark,h,f1", "help"),
        _key("s", "sort"),
        _key("v", "level"),
        _key("p", "pause"),
        _key("y", "copy"),
        _key("l", "language"),
        _key("c", "climb"),
        _key("r", "repeat"),
        _key("x", "stop"),
        _key("b", "bundle"),
        _key("S", "steal"),
        _key("d", "candidate"),
        _key("A", "config('apply')"),
        _key("Y", "config('confirm')"),
        _key("B", "config('back')"),
        _key("q,ctrl+c,ctrl+q", "leave"),
    ]

    def __init__(self, picture: Picture, text: Text, painter: Painter, moment: Moment, maintain: str = "") -> None:
        """`text`: the language to begin with; `maintain`: who wants to change things, empty: only looks."""
        super().__init__(driver_class=MeasuredDriver, ansi_color=True)
        self._picture, self._text, self._moment = picture, text, moment
        self._head, self._page, self._foot = Bar(painter), Page(painter), Bar(painter)
        self._maintain = Maintain(picture, maintain)
        self._place = Place()
        self._trail: list[Place] = []
        self._finds: dict[str, str] = {}
        self._sort = "worst"
        self._level = log.CHOICES[0]
        self._paused = False
        self._interval = 1.0
        self._drawn = 0.0
        self._kick = asyncio.Event()
        self._purpose = "find"
        """What the typed line is for: find or tool."""

    def compose(self) -> ComposeResult:
        """Three lines of structure."""
        yield self._head
        yield self._page
        yield Input(id="line")
        yield self._foot

    def on_mount(self) -> None:
        """Begin to ask and to draw."""
        self.theme = "ansi-dark"
        self._page.focus()
        self.run_worker(self._follow(), name="edge-ask")
        self.set_interval(1.0, self._tick)
        if self._maintain.name:
            self.run_worker(self._take(steal=False), name="edge-maintain")
            self.set_interval(RENEW, self._renew)
        self.draw()

    def on_resize(self) -> None:
        """The rows are made for a width."""
        self.call_after_refresh(self.draw)

    async def _follow(self) -> None:
        """Ask what the shown screen needs, for ever."""
        while True:
            if not self._paused:
                await self._picture.refresh(of(self._place).needs, self._moment.now, self._place.key)
                self.draw()
            self._kick.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._kick.wait(), self._interval)

    def _tick(self) -> None:
        """Ages go on although nothing comes."""
        self._measure_line()
        if not self._paused and self._moment.now() - self._drawn >= self._interval - 0.1:
            self.draw()

    def _measure_line(self) -> None:
        took = self._driver.slowest() if isinstance(self._driver, MeasuredDriver) else 0.0
        self._interval = next((pause for over, pause in SLOW if took > over), 1.0)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def frame(self) -> Frame:
        """This moment."""
        return Frame(
            text=self._text,
            columns=self.size.width,
            now=self._moment.now(),
            wall=self._moment.wall(),
            place=self._place,
            find=self._finds.get(self._place.screen, ""),
            sort=self._sort,
            level=self._level,
            interval=self._interval,
            paused=self._paused,
            maintain=self._maintain.name if self._maintain.held else "",
        )

    def rows(self) -> list[Row]:
        """The shown page."""
        return of(self._place).rows(self._picture, self.frame())

    def draw(self, select: str = "") -> None:
        """Show what changed, unless the line still carries the last picture."""
        if isinstance(self._driver, MeasuredDriver) and self._driver.busy() > SLOW[-1][0] and not select:
            return
        self._drawn = self._moment.now()
        frame = self.frame()
        self._head.show(header(self._picture, frame))
        self._page.show(self.rows(), select)
        self._foot.show(footer(frame, self._place.screen))

    def as_text(self) -> str:
        """The screen as it stands, without colours."""
        bars_and_page = (self._head, self._page, self._foot)
        lines = [widget.render_line(y).text for widget in bars_and_page for y in range(widget.size.height)]
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _notice(self, words: str, *, severity: SeverityLevel = "information", timeout: float = 6.0) -> None:
        """One at a time: the newest is what counts, and the screen below is to be read."""
        self.clear_notifications()
        self.notify(words, severity=severity, timeout=timeout)

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _to(self, place: Place, *, back: bool = False) -> None:
        if not back and place != self._place:
            self._trail = [*self._trail[-20:], self._place]
        self._place = place
        self._page.to_top()
        self.draw(select=place.key)
        self._kick.set()

    def action_go(self, screen: str) -> None:
        """One of the eight."""
        self._to(Place(screen))

    def action_help(self) -> None:
        """The keys."""
        self._to(Place("help"))

    def action_enter(self) -> None:
        """Where the selected row leads."""
        row = self._page.selected
        if row and row.leads and self._place.screen == row.leads.screen == "modbus":
            self._type("tool", row.key, self._text("tui.modbus.type"))
        elif row and row.leads:
            self._place = Place(self._place.screen, row.key, self._place.detail)
            self._to(row.leads)

    def action_move(self, step: int) -> None:
        """To the next thing."""
        self._page.move(step)

    def action_turn(self, pages: int) -> None:
        """By a page."""
        self._page.turn(pages)

    def action_top(self) -> None:
        """The first line."""
        self._page.to_top()
        self.draw()

    def action_end(self) -> None:
        """The last line."""
        self._page.to_end()

    def action_sort(self) -> None:
        """Worst first, or by name."""
        self._sort = "name" if self._sort == "worst" else "worst"
        self.draw()

    def action_level(self) -> None:
        """All of the log, warnings, errors."""
        after = log.CHOICES.index(self._level) + 1
        self._level = log.CHOICES[after % len(log.CHOICES)]
        self.draw()

    def action_pause(self) -> None:
        """Hold the picture still, to read it out on the telephone."""
        self._paused = not self._paused
        self.draw()
        self._kick.set()

    def action_language(self) -> None:
        """The other language."""
        self._text = texts(next(language for language in LANGUAGES if language != self._text.language))
        self._picture.language = self._text.language
        self._kick.set()
        self.draw()

    def action_copy(self) -> None:
        """This screen as text, into the clipboard of the terminal (OSC 52)."""
        lines = [row.plain for row in (header(self._picture, self.frame()), *self.rows()[:COPIED_ROWS])]
        self.copy_to_clipboard("\n".join(lines) + "\n")
        self._notice(self._text("tui.copied", count=len(lines)))

    async def action_leave(self) -> None:
        """The terminal ends; the agent goes on."""
        with suppress(Cannot):
            await self._maintain.free()
        self.exit(message=self._text("tui.left"))

    # --- commands beside the screen -----------------------------------------------------------------------------------

    def action_climb(self) -> None:
        """Try the way to every broker and sink."""
        if self._place.screen == "network":
            self._run("network", ("net",))

    def action_repeat(self) -> None:
        """The tool of this screen once more; elsewhere, ask the agent now."""
        run = self._picture.runs.get(self._place.screen)
        if run and run.words:
            self._run(self._place.screen, run.words)
        self._kick.set()

    def action_stop(self) -> None:
        """End the tool of this screen; on the uplink: try the sink again at once."""
        if self._place.screen == "uplink" and self._may():
            self.run_worker(self._again(), name="edge-again")
        if run := self._picture.runs.get(self._place.screen):
            run.stop()

    def _run(self, screen: str, words: Sequence[str]) -> None:
        if not self._picture.runs[screen].running:
            work = self._picture.runs[screen].go(words, self._picture.file, self._moment.now, self._told)
            self.run_worker(self._finish(work), name=f"edge-{screen}", exit_on_error=False)
            self.call_later(self._page.to_top)

    async def _finish(self, work: Coroutine[object, object, int]) -> None:
        try:
            await work
        finally:
            self.draw()

    def _told(self) -> None:
        """A line came; they may come fast, so draw ten times a second at most."""
        if self._moment.now() - self._drawn > FASTEST:
            self.draw()

    def action_bundle(self) -> None:
        """Everything that somebody far away needs, in one file without secrets."""
        if not self._picture.runs["report"].running:
            self._notice(self._text("tui.bundle.begun"))
            self.run_worker(self._bundle(), name="edge-report", exit_on_error=False)

    async def _bundle(self) -> None:
        run = self._picture.runs["report"]
        folder = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
        file = folder / f"edge-report-{self._moment.wall():%Y%m%d-%H%M%S}.tar.gz"
        code = await run.go(("report", str(file)), self._picture.file, self._moment.now, lambda: None)
        self._notice("\n".join(run.lines), severity="error" if code == 2 else "information")

    # --- changing something -------------------------------------------------------------------------------------------

    async def _take(self, *, steal: bool) -> None:
        """The lock, or who has it."""
        try:
            before = await self._maintain.take(steal=steal)
        except Cannot as why:
            self._notice(f"{why} {self._text('tui.maintain.steal')}", severity="warning", timeout=15)
            return
        key = "tui.maintain.stolen" if before else "tui.maintain.held"
        self._notice(self._text(key, name=before or self._maintain.name))
        self.draw()

    async def _renew(self) -> None:
        if self._maintain.held:
            try:
                await self._maintain.renew()
            except Cannot as why:
                self._notice(str(why), severity="warning", timeout=15)

    def action_steal(self) -> None:
        """Take the lock over from another, who is told."""
        if self._maintain.name and not self._maintain.held:
            self.run_worker(self._take(steal=True), name="edge-maintain")

    def action_candidate(self) -> None:
        """A line for the file with the new configuration."""
        if self._may():
            self._type("candidate", f"{self._picture.file}.new", self._text("tui.config.type"))

    def action_config(self, step: str) -> None:
        """Apply, confirm, or go back."""
        if self._may():
            self.run_worker(self._step(step), name="edge-config")

    def _may(self) -> bool:
        if not self._maintain.held:
            self._notice(self._text("tui.read_only.how"), severity="warning")
        return self._maintain.held

    async def _propose(self, file: str) -> None:
        try:
            found = await self._maintain.propose(await asyncio.to_thread(Path(file).read_bytes))
        except (Cannot, OSError) as why:
            self._notice(str(why), severity="error", timeout=15)
            return
        words = found.problems or found.restart or [self._text("tui.config.ready")]
        self._notice("\n".join(words[:5]), severity="information" if found.usable else "error", timeout=15)
        self._changed()

    async def _step(self, step: str) -> None:
        try:
            await self._maintain.step(step)
        except Cannot as why:
            self._notice(str(why), severity="error", timeout=15)
            return
        self._notice(self._text(f"tui.config.{step}"))
        self._changed()

    async def _again(self) -> None:
        sinks = self._picture.status.value.sinks if self._picture.status.value else []
        chosen = self._page.selected
        wanted = [sink.id for sink in sinks if not chosen or sink.id == chosen.key]
        for sink in wanted:
            try:
                await self._maintain.again(sink)
            except Cannot as why:
                self._notice(str(why), severity="error")
                return
        self._notice(self._text("tui.uplink.again", sinks=", ".join(wanted)))
        self._kick.set()

    def _changed(self) -> None:
        """Ask for the configuration at once."""
        self._picture.config.at = None
        self.action_go("box")

    # --- typing -------------------------------------------------------------------------------------------------------

    def action_find(self) -> None:
        """A line to type a filter into."""
        self._type("find", self._finds.get(self._place.screen, ""), self._text("tui.find"))

    def _type(self, purpose: str, value: str, hint: str) -> None:
        self._purpose = purpose
        field = self.query_one("#line", Input)
        field.placeholder, field.value = hint, value
        field.add_class("open")
        self._foot.display = False
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Rows follow the typing of a filter."""
        if event.input.has_class("open") and self._purpose == "find":
            self._finds[self._place.screen] = event.value.strip()
            self.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The filter stays, a tool begins; the line goes."""
        self._typed(event.input)
        words = event.value.split()
        if self._purpose == "candidate" and words:
            self.run_worker(self._propose(event.value.strip()), name="edge-config")
        if self._purpose == "tool" and words:
            if words[0] in modbus.TOOLS:
                self._run("modbus", ("modbus", *words))
            else:
                self._notice(self._text("tui.modbus.unknown", tools=", ".join(modbus.TOOLS)), severity="warning")
        self.draw()

    def _typed(self, field: Input) -> None:
        """The line goes, the keys are keys again."""
        field.remove_class("open")
        self._foot.display = True
        self._page.focus()

    def action_up(self) -> None:
        """Out of the typing first, then out of the filter, then to the place before."""
        field = self.query_one("#line", Input)
        if field.has_class("open"):
            self._typed(field)
        elif self._finds.pop(self._place.screen, ""):
            self.draw()
        elif self._trail:
            self._to(self._trail.pop(), back=True)
        elif self._place != Place():
            self._to(Place(), back=True)

    # --- the palette --------------------------------------------------------------------------------------------------

    def get_system_commands(self, screen: TextualScreen[object]) -> Iterable[SystemCommand]:
        """Everything that a key does, by its name."""
        text = self._text
        for i, each in enumerate(SCREENS, 1):
            name = text(f"tui.screen.{each.name}")
            yield SystemCommand(name, text("tui.palette.key", key=str(i)), lambda name=each.name: self.action_go(name))
        for name, key, action in (
            ("find", "/", self.action_find),
            ("sort", "s", self.action_sort),
            ("pause", "p", self.action_pause),
            ("copy", "y", self.action_copy),
            ("language", "l", self.action_language),
            ("bundle", "b", self.action_bundle),
            ("help", "?", self.action_help),
            ("quit", "q", self.action_leave),
        ):
            yield SystemCommand(text(f"tui.key.{name}.does"), text("tui.palette.key", key=key), action)
