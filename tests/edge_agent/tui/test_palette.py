"""Finding by letters: in the palette and with a filter, with marks or without."""

from __future__ import annotations

import msgspec
import pytest
from textual.pilot import Pilot

from edge_agent.text import texts
from edge_agent.tui.app import Terminal
from edge_agent.tui.views.frame import Frame
from tests.edge_agent.tui.pictures import Frozen
from tests.edge_agent.tui.walking import text_of, walk


def test_palette_has_every_key() -> None:
    """Whatever a key does can be found by its name: nobody remembers all of them."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        commands = list(terminal.get_system_commands(terminal.screen))
        keys = {command.help.split()[-1] for command in commands}
        assert {*"12345678/spylb?qvctrxSdAYBR"} <= keys

    walk("ok", steps)


@pytest.mark.parametrize(
    ("typed", "shown"), [("Máy", "Raspberry Pi 4"), ("nhat ky", "Tất cả: 1 dòng"), ("zzz", "● Mọi")]
)
def test_palette_finds_a_screen_by_its_name(typed: str, shown: str) -> None:
    """`:` and a few letters, with marks or without, lead where the digit does; what does not exist leads nowhere."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("colon", *typed)
        await pilot.pause(0.5)
        await pilot.press("enter")
        await pilot.pause(0.5)
        assert shown in text_of(terminal)

    walk("ok", steps)


def test_filter_without_marks_finds_words_with_marks() -> None:
    """Not every keyboard at a cabinet has them."""
    frame = Frame(texts("vi"), 80, 0.0, Frozen().wall(), find="duong bus")
    assert frame.fits("Không trả lời (Đường bus line-2)")
    assert not frame.fits("Không trả lời")
    assert not msgspec.structs.replace(frame, find="đường búS").fits("đường bus")
