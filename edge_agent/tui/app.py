"""The full-screen terminal: what its keys do besides going from screen to screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from textual.app import SystemCommand
from textual.binding import Binding
from textual.command import CommandPalette
from textual.screen import Screen as TextualScreen

from edge_agent.tui.driver import MeasuredDriver
from edge_agent.tui.maintain import RENEW, RESTARTS, YES, Cannot, said_of, why_not
from edge_agent.tui.palette import Commands
from edge_agent.tui.rows import Place
from edge_agent.tui.runs import manner, report_file
from edge_agent.tui.shell import Shell
from edge_agent.tui.terminal import in_browser
from edge_agent.tui.views import modbus
from edge_agent.tui.views.frame import letters_of
from edge_agent.tui.views.screens import SCREENS

FASTEST = 0.1
"""Seconds between two pictures while a tool prints."""


def _key(key: str, action: str) -> Binding:
    return Binding(key, action, show=False)


class Terminal(Shell):
    """The technician's terminal."""

    COMMANDS = {Commands}  # noqa: RUF012 - as Textual declares it
    BINDINGS = [  # noqa: RUF012 - as Textual declares it
        *(_key(str(i), f"go('{screen.name}')") for i, screen in enumerate(SCREENS, 1)),
        _key("colon", "command_palette"),
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
        _key("t", "test"),
        _key("b", "bundle"),
        _key("S", "steal"),
        _key("d", "candidate"),
        _key("A", "config('apply')"),
        _key("Y", "config('confirm')"),
        _key("B", "config('back')"),
        _key("R", "restart"),
        _key("u,z", "update"),
        _key("q,ctrl+c,ctrl+q", "leave"),
    ]

    def on_mount(self) -> None:
        """Ask for the right to change things, where that is wanted. Textual calls Shell's as well."""
        if self._maintain.name:
            self.run_worker(self._take(steal=False), name="edge-maintain")
            self.set_interval(RENEW, self._renew)

    def action_enter(self) -> None:
        """Where the selected row leads."""
        row = self._page.selected or self._page.first()
        if row and row.leads and self._place.screen == row.leads.screen == "modbus":
            self._type("tool", row.key, self._text("tui.modbus.type"))
        elif row and row.leads:
            self._place = Place(self._place.screen, row.key, self._place.detail)
            self._to(row.leads)

    async def action_leave(self) -> None:
        """The terminal ends; the agent goes on."""
        with suppress(Cannot):
            await self._maintain.free()
        if isinstance(self._driver, MeasuredDriver):
            await self._driver.settle()
        self.exit(message=self._text("tui.left"))

    def entered(self, words: str) -> None:
        """A tool begins, or a candidate is looked at."""
        if self._purpose == "candidate" and words:
            self.run_worker(self._propose(words), name="edge-config")
        if self._purpose == "restart" and words.casefold() in YES:
            self.run_worker(self._restart(self._place.screen), name="edge-restart")
        if self._purpose == "tool" and words:
            self._tool(words.split())

    def _tool(self, words: Sequence[str]) -> None:
        if words[0] in modbus.TOOLS:
            self._run("modbus", ("modbus", *words))
        else:
            self._notice(self._text("tui.modbus.unknown", tools=", ".join(modbus.TOOLS)), severity="warning")

    # --- commands beside the screen -----------------------------------------------------------------------------------

    def action_climb(self) -> None:
        """Try the way to every broker and sink."""
        if self._place.screen == "network":
            self._run("network", ("net",))

    def action_test(self) -> None:
        """From the uplink: send a test reading and read it back, with the time that each rung takes."""
        if self._place.screen == "uplink":
            self.action_go("network")
            self.action_climb()

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

    def _visits(self) -> bool:
        """True, and said, for a visitor in a browser: who only looks starts nothing on the box."""
        if in_browser():
            self._notice(self._text("tui.visitor"), severity="warning")
        return in_browser()

    def _run(self, screen: str, words: Sequence[str]) -> None:
        if not self._picture.runs[screen].running and not self._visits():
            file, speaks = self._picture.file, manner(self._text.language, letters_of(self.size.width))
            work = self._picture.runs[screen].go(words, file, self._moment.now, self._told, speaks)
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
        if not self._picture.runs["report"].running and not self._visits():
            self._notice(self._text("tui.bundle.begun"))
            self.run_worker(self._bundle(), name="edge-report", exit_on_error=False)

    async def _bundle(self) -> None:
        run = self._picture.runs["report"]
        file = str(report_file(self._moment.wall()))
        code = await run.go(("report", file), self._picture.file, self._moment.now, lambda: None)
        self._notice("\n".join(run.lines), severity="error" if code == 2 else "information")

    # --- changing something -------------------------------------------------------------------------------------------

    async def _take(self, *, steal: bool) -> None:
        """The lock, or who has it."""
        try:
            before = await self._maintain.take(steal=steal)
        except Cannot as why:
            self._notice(f"{why} {self._text('tui.maintain.steal')}", severity="warning")
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

    def action_restart(self) -> None:
        """The service of this screen, after a question."""
        if self._place.screen in RESTARTS and self._may():
            self._notice(self._text(f"tui.restart.ask.{self._place.screen}"), severity="warning", timeout=60)
            self._type("restart", "", self._text("tui.restart.type"))

    async def _restart(self, screen: str) -> None:
        try:
            await self._maintain.restart(RESTARTS[screen])
        except Cannot as why:
            self._notice(str(why), severity="error", timeout=15)
            return
        self._notice(self._text(f"tui.restart.done.{screen}"), timeout=15)
        if screen == "box":
            await self._maintain.again_after_restart()
            self.draw()

    def action_update(self) -> None:
        """There is no updating from here, and whoever looks for it is told."""
        if self._place.screen == "box":
            self._notice(self._text("tui.update.none"), timeout=15)

    def _may(self) -> bool:
        if not self._maintain.held:
            self._notice(self._text("tui.read_only.how"), severity="warning")
        return self._maintain.held

    async def _propose(self, file: str) -> None:
        try:
            found = await self._maintain.propose(await asyncio.to_thread(Path(file).read_bytes))
        except (Cannot, OSError) as why:
            self._notice(why_not(why, file, self._text), severity="error", timeout=15)
            return
        words = said_of(found, self._picture.file, self._text)
        well = found.usable and found.writable
        self._notice("\n".join(words[:5]), severity="information" if well else "error", timeout=15)
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

    # --- the palette --------------------------------------------------------------------------------------------------

    def action_command_palette(self) -> None:
        """Everything by its name."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder=self._text("tui.palette.find")))

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
            ("level", "v", self.action_level),
            ("climb", "c", lambda: self._there("network", self.action_climb)),
            ("test", "t", lambda: self._there("uplink", self.action_test)),
            ("repeat", "r", self.action_repeat),
            ("stop", "x", self.action_stop),
            ("steal", "S", self.action_steal),
            ("candidate", "d", self.action_candidate),
            ("apply", "A", lambda: self.action_config("apply")),
            ("confirm", "Y", lambda: self.action_config("confirm")),
            ("go_back", "B", lambda: self.action_config("back")),
            ("restart", "R", self.action_restart),
        ):
            yield SystemCommand(text(f"tui.key.{name}.does"), text("tui.palette.key", key=key), action)

    def _there(self, screen: str, action: Callable[[], None]) -> None:
        """From the palette: on the screen that the key is for."""
        self.action_go(screen)
        action()
