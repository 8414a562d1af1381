"""What is said for a moment: where it stands on the screen, and what a key put on the clipboard."""

from __future__ import annotations

import base64
import re

import pytest
from textual.pilot import Pilot
from textual.widgets._toast import Toast

from edge_agent.text import texts
from edge_agent.tui.app import Terminal
from tests.edge_agent.tui.walking import walk


def test_copy_puts_the_screen_on_the_clipboard() -> None:
    """`y` sends the whole screen as OSC 52, which the terminal of the technician's own computer takes."""
    sent: list[str] = []

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        assert terminal._driver is not None
        terminal._driver.write = sent.append  # type: ignore[assignment, method-assign]  # what would go to the terminal
        await pilot.press("2", "y")
        (found,) = re.findall(r"\x1b\]52;c;([A-Za-z0-9+/=]+)\a", "".join(sent))
        copied = base64.b64decode(found).decode()
        assert "met-1.weather.temp_c" in copied
        assert copied.startswith(" Chí Minh")

    walk("ok", steps)


@pytest.mark.parametrize("size", [(40, 20), (80, 24), (200, 60)])
def test_notice_covers_no_first_step(size: tuple[int, int]) -> None:
    """What is said for a moment stands in the last lines of the page, as wide as it is and as low as it can; what it
    says is never taken for markup."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        terminal._notice("[/etc] " + texts("vi")("tui.read_only.how"))
        await pilot.pause(0.2)
        (toast,) = terminal.screen.query(Toast)
        assert "[/etc]" in str(toast.render())
        assert toast.region.width == size[0]
        assert toast.region.bottom == size[1] - 1
        assert toast.region.height <= (4 if size[0] == 40 else 2)

    walk("fault", steps, size, notices=True)


def test_question_before_a_restart_is_whole_on_a_phone() -> None:
    """It stands above the line for the answer, and goes with it."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        terminal._maintain._token = "x"
        await pilot.press("8", "R")
        await pilot.pause(0.2)
        (toast,) = terminal.screen.query(Toast)
        assert " ".join(str(toast.render()).split()) == texts("vi")("tui.restart.ask.box")
        assert toast.region.bottom == 19
        await pilot.press("n", "enter")
        await pilot.pause(0.2)
        assert not terminal.screen.query(Toast)

    walk("ok", steps, (40, 20), notices=True)
