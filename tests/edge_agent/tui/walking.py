"""The full-screen terminal on a given picture, for tests that press its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from edge_agent.text import texts
from edge_agent.tui.app import Terminal
from edge_agent.tui.page import Painter
from tests.edge_agent.tui.pictures import Frozen, picture

Walk = Callable[[Terminal, Pilot[None]], Awaitable[None]]


class Still(Terminal):
    """Asks nobody: the picture is given."""

    async def _follow(self) -> None:
        """Wait for the end of the test."""
        await asyncio.Event().wait()


def walk(state: str, steps: Walk, size: tuple[int, int] = (80, 24), *, notices: bool = False) -> None:
    """Run the terminal on a picture and take these steps."""

    async def run() -> None:
        terminal = Still(picture(state), texts("vi", strict=True), Painter(marks=True, colour=True), Frozen())
        async with terminal.run_test(size=size, notifications=notices) as pilot:
            await pilot.pause()
            await steps(terminal, pilot)

    asyncio.run(run())


def text_of(terminal: Terminal) -> str:
    """What stands on the screen."""
    return terminal.as_text()
