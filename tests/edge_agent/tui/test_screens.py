"""Every screen in every state, both languages and three sizes, compared with the pictures beside this file.

`EDGE_PICTURES=write pytest tests/edge_agent/tui/test_screens.py` draws them anew, to be looked at in the difference.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from edge_agent.show import width
from edge_agent.text import texts
from edge_agent.tui.page import Painter
from edge_agent.tui.views.screens import SCREENS
from tests.edge_agent.tui.pictures import STATES, Frozen, picture
from tests.edge_agent.tui.test_app import Still

FOLDER = Path(__file__).parent / "screens"
SIZES = ((40, 20), (80, 24), (200, 60))
WRITE = os.environ.get("EDGE_PICTURES") == "write"


async def drawn(state: str, language: str, size: tuple[int, int]) -> str:
    """The eight screens below each other."""
    terminal = Still(picture(state), texts(language, strict=True), Painter(marks=True, colour=True), Frozen())
    parts = []
    async with terminal.run_test(size=size) as pilot:
        for number, _ in enumerate(SCREENS, 1):
            await pilot.press(str(number))
            too_wide = [row.plain for row in terminal.rows() if width(row.plain) > size[0]]
            assert not too_wide
            parts.append(terminal.as_text())
    return "\f\n".join(parts)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("state", STATES)
def test_screens_look_as_they_did(state: str, language: str, size: tuple[int, int]) -> None:
    """What a technician sees changes only on purpose, and no line is wider than the terminal."""
    shown = asyncio.run(drawn(state, language, size))
    file = FOLDER / f"{size[0]}x{size[1]}-{state}-{language}.txt"
    if WRITE:
        FOLDER.mkdir(exist_ok=True)
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["vi", "en"])
def test_screens_are_never_blank(language: str) -> None:
    """Whatever the state, each screen says something below its first line."""
    for state in STATES:
        for screen in asyncio.run(drawn(state, language, (80, 24))).split("\f\n"):
            assert any(line.strip() for line in screen.splitlines()[1:-1])
