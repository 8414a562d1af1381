"""What a technician at a plain terminal does beside looking: tools, the bundle, and changes under the maintenance lock.

The same commands and routes as on the full screen; what they say comes as lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from edge_agent.tui.maintain import RENEW, RESTARTS, YES, Cannot, Maintain, said_of, why_not
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import paragraph
from edge_agent.tui.runs import manner, report_file
from edge_agent.tui.views import modbus
from edge_agent.tui.voice import Voice


class Work:
    """The hands of one technician."""

    def __init__(self, picture: Picture, voice: Voice, maintain: Maintain) -> None:
        """`maintain`: the lock, wanted or not."""
        self._picture, self._voice, self.maintain = picture, voice, maintain

    def _say(self, key: str, **facts: object) -> None:
        self._voice.say(self._voice.text(key, **facts))

    # --- commands -----------------------------------------------------------------------------------------------------

    async def run(self, screen: str, words: Sequence[str]) -> None:
        """A command of `edge`, its lines as they come."""
        run = self._picture.runs[screen]
        self._voice.say(f"edge {' '.join(words)}  {self._voice.text('tui.run.running')}")
        now, speaks = asyncio.get_running_loop().time, manner(self._voice.text.language, self._voice.size()[0] - 1)
        await run.go(words, self._picture.file, now, lambda: self._tell(run.lines[-1]), speaks)
        self._say("tui.run.done", ago=0.0)

    def _tell(self, line: str) -> None:
        """Lines of a command do not end amid a word."""
        indent = len(line) - len(line.lstrip())
        for row in paragraph(line.strip(), self._voice.size()[0] - 1, indent):
            self._voice.say(row.plain)

    def stop(self) -> None:
        """What runs ends as by Ctrl-C."""
        for run in self._picture.runs.values():
            run.stop()

    async def tool(self, words: Sequence[str]) -> None:
        """A tool of the Modbus bench, as it was typed."""
        if words and words[0] in modbus.TOOLS:
            await self.run("modbus", ("modbus", *words))
        elif words:
            self._say("tui.modbus.unknown", tools=", ".join(modbus.TOOLS))

    async def bundle(self, wall: datetime) -> None:
        """Everything that somebody far away needs, in one file without secrets."""
        self._say("tui.bundle.begun")
        run = self._picture.runs["report"]
        words = ("report", str(report_file(wall)))
        await run.go(words, self._picture.file, asyncio.get_running_loop().time, lambda: self._tell(run.lines[-1]))

    # --- the lock -----------------------------------------------------------------------------------------------------

    async def take(self, *, steal: bool) -> None:
        """The lock, or who has it."""
        try:
            before = await self.maintain.take(steal=steal)
        except Cannot as why:
            self._voice.say(f"{why} {self._voice.text('tui.maintain.steal')}")
            return
        self._say("tui.maintain.stolen" if before else "tui.maintain.held", name=before or self.maintain.name)

    async def renew(self) -> None:
        """Signs of life, for ever; who has lost the lock is told."""
        while True:
            await asyncio.sleep(RENEW)
            if self.maintain.held:
                try:
                    await self.maintain.renew()
                except Cannot as why:
                    self._voice.say(str(why))

    async def leave(self) -> None:
        """Another may have the lock."""
        with suppress(Cannot):
            await self.maintain.free()

    def may(self) -> bool:
        """Things may be changed from here; else how is said."""
        if not self.maintain.held:
            self._say("tui.read_only.how")
        return self.maintain.held

    # --- changes ------------------------------------------------------------------------------------------------------

    async def propose(self, file: str) -> bool:
        """A candidate for the configuration: what is wrong with it is said. True: it was looked at."""
        try:
            found = await self.maintain.propose(await asyncio.to_thread(Path(file).read_bytes))
        except (Cannot, OSError) as why:
            self._voice.say(why_not(why, file, self._voice.text))
            return False
        for words in said_of(found, self._picture.file, self._voice.text):
            self._tell(words)
        return True

    async def step(self, name: str) -> bool:
        """Apply, confirm, back. True: it was done."""
        try:
            await self.maintain.step(name)
        except Cannot as why:
            self._voice.say(str(why))
            return False
        self._say(f"tui.config.{name}")
        return True

    async def again(self, chosen: str) -> None:
        """A sink, or all where none is chosen, is tried now."""
        sinks = self._picture.status.value.sinks if self._picture.status.value else []
        wanted = [sink.id for sink in sinks if not chosen or sink.id == chosen]
        try:
            for sink in wanted:
                await self.maintain.again(sink)
        except Cannot as why:
            self._voice.say(str(why))
            return
        self._say("tui.uplink.again", sinks=", ".join(wanted))

    async def restart(self, screen: str, answer: str) -> None:
        """The service of this screen, where the answer was yes."""
        if answer.casefold() not in YES:
            return
        try:
            await self.maintain.restart(RESTARTS[screen])
        except Cannot as why:
            self._voice.say(str(why))
            return
        self._say(f"tui.restart.done.{screen}")
        if screen == "box":
            await self.maintain.again_after_restart()
