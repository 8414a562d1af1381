"""Every screen in every state, both languages and three sizes, compared with the pictures beside this file.

`EDGE_PICTURES=write pytest tests/edge_agent/tui/test_screens.py` draws them anew, to be looked at in the difference.
"""

from __future__ import annotations

import asyncio
import os
import re
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
DOCS = Path(__file__).parents[3] / "docs" / "screens"
SHOTS = [("overview", "fault", "1"), ("points", "fault", "2"), ("uplink", "fault", "4"), ("box", "ok", "8")]
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


@pytest.mark.parametrize(("name", "state", "key"), SHOTS)
def test_documentation_has_its_pictures(name: str, state: str, key: str) -> None:
    """Drawn by the same command; they load nothing from elsewhere."""
    file = DOCS / f"terminal-{name}.svg"
    if WRITE:
        DOCS.mkdir(exist_ok=True)
        file.write_text(asyncio.run(svg(state, key)), encoding="utf-8")
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", file.read_text(encoding="utf-8"))


async def svg(state: str, key: str) -> str:
    """One screen as a picture, in the reader's own fixed font."""
    terminal = Still(picture(state), texts("vi", strict=True), Painter(marks=True, colour=True), Frozen())
    async with terminal.run_test(size=(80, 24)) as pilot:
        await pilot.press(key)
        terminal.clear_notifications()
        drawn_so_far = terminal.export_screenshot(title="edge tui")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn_so_far, flags=re.DOTALL)
