"""The frame of the full-screen terminal: a page, a line above, a line below, and the way from place to place."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

from textual.app import App, ComposeResult
from textual.notifications import SeverityLevel
from textual.widgets import Input
from textual.widgets.input import Selection

from edge_agent.text import LANGUAGES, Text, texts
from edge_agent.tui.driver import MeasuredDriver
from edge_agent.tui.maintain import Maintain
from edge_agent.tui.page import Bar, Page, Painter
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Place, Row, paragraph, with_twins
from edge_agent.tui.terminal import in_browser
from edge_agent.tui.views import log
from edge_agent.tui.views.frame import Frame
from edge_agent.tui.views.screens import footer, header, of

COPIED_ROWS = 400
SLOW = ((3.0, 30.0), (0.5, 5.0))
"""A line that is behind by more than the first makes the refresh wait for the second; seconds."""


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


class Shell(App[None]):
    """Shows places and goes from one to the other; what can be done there is in `app.py`."""

    CSS = """
    Screen { layout: vertical; }
    #line { height: 1; border: none; padding: 0 1; display: none; }
    #line.open { display: block; }
    SearchIcon { display: none; }
    ToastRack { overflow: hidden; }
    Toast { width: 100%; max-width: 100%; margin: 0; padding: 0; text-style: reverse; }
    Toast.-information, Toast.-warning, Toast.-error { border: none; }
    """

    def __init__(self, picture: Picture, text: Text, painter: Painter, moment: Moment, maintain: str = "") -> None:
        """`text`: the language to begin with; `maintain`: who wants to change things, empty: only looks."""
        super().__init__(driver_class=None if in_browser() else MeasuredDriver, ansi_color=True)
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
        self._owed = False
        """A picture was left out, since the terminal still had the last one to show."""
        self._kick = asyncio.Event()
        self._purpose = "find"
        """What the typed line is for: find or tool."""

    def compose(self) -> ComposeResult:
        """Three lines of structure."""
        yield self._head
        yield self._page
        yield Input(id="line", select_on_focus=False)
        yield self._foot

    def on_mount(self) -> None:
        """Begin to ask and to draw."""
        self.theme = "ansi-dark"
        self._page.focus()
        self.run_worker(self._follow(), name="edge-ask")
        self.set_interval(1.0, self._tick)
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
        due = self._moment.now() - self._drawn >= self._interval - 0.1
        if not self._paused and (due or self._owed):
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
            marks=self._page.painter.marks,
            maintain=self._maintain.name if self._maintain.held else "",
        )

    def rows(self) -> list[Row]:
        """The shown page."""
        return of(self._place).rows(self._picture, self.frame())

    def draw(self, select: str = "") -> None:
        """Show what changed, unless the line still carries the last picture."""
        line = self._driver if isinstance(self._driver, MeasuredDriver) else None
        self._owed = line is not None and line.behind() > SLOW[-1][0] and not select
        if self._owed:
            return
        self._drawn = self._moment.now()
        frame = self.frame()
        self._head.show(header(self._picture, frame))
        self._page.show(self.rows(), select)
        self._foot.show(footer(frame, self._place.screen))
        if line is not None:
            self.call_after_refresh(line.ask)

    def as_text(self) -> str:
        """The screen as it stands, without colours."""
        bars_and_page = (self._head, self._page, self._foot)
        lines = [widget.render_line(y).text for widget in bars_and_page for y in range(widget.size.height)]
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _notice(self, words: str, *, severity: SeverityLevel = "information", timeout: float = 6.0) -> None:
        """One at a time, in the last lines of the page: the newest counts, and what stands first is to be read."""
        self.clear_notifications()
        columns = self.size.width
        lines = [row.plain.ljust(columns) for line in words.splitlines() for row in paragraph(line, columns - 1, 1)]
        shown = "\n".join(lines if self._page.painter.marks else map(with_twins, lines))
        self.notify(shown, severity=severity, timeout=timeout, markup=False)

    def none_found(self) -> str:
        """For the palette."""
        return self._text("tui.palette.none")

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

    # --- typing -------------------------------------------------------------------------------------------------------

    def action_find(self) -> None:
        """A line to type a filter into."""
        self._type("find", self._finds.get(self._place.screen, ""), self._text("tui.find"))

    def _type(self, purpose: str, value: str, hint: str) -> None:
        self._purpose = purpose
        field = self.query_one("#line", Input)
        field.placeholder, field.value = hint, value
        field.selection = Selection(0, len(value))  # not on focus, which may come after the first letters
        field.add_class("open")
        self._foot.display = False
        self.screen.set_focus(field)  # at once: what is typed ahead is meant for the line

    def on_input_changed(self, event: Input.Changed) -> None:
        """Rows follow the typing of a filter."""
        if event.input.has_class("open") and self._purpose == "find":
            self._finds[self._place.screen] = event.value.strip()
            self.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A filter stays, anything else is done; the line goes."""
        self._typed(event.input)
        self.entered(event.value.strip())
        self.draw()

    def entered(self, words: str) -> None:
        """What was typed for another purpose than a filter."""

    def _typed(self, field: Input) -> None:
        """The line goes, the keys are keys again."""
        field.remove_class("open")
        if self._purpose == "restart":
            self.clear_notifications()  # the question
        self._foot.display = True
        self.screen.set_focus(self._page)

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
