"""Coming back to a meeting by the page: a reload, the button at the end, a wrong link on the room's own PC."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Dialog

from conference.tickets import DEVICE_LIFE
from tests.conference.browser import Tab, chromium, join, needs_chromium, open_tab
from tests.conference.live import Live, live

pytestmark = [needs_chromium, pytest.mark.xdist_group("machine")]  # one browser at a time


async def accept(dialog: Dialog) -> None:
    await dialog.accept()


async def inside(meeting: Live) -> list[tuple[int, str]]:
    """Number and role of everybody in the room."""
    return [(member.id, member.role) for member in (await meeting.status()).rooms[0].members]


async def leave(tab: Tab) -> None:
    await tab.page.click("#do-leave")
    await tab.page.click("#leave-yes")
    await tab.page.wait_for_selector("#again")


def test_reloaded_page_has_its_invitation_and_its_seat(tmp_path: Path) -> None:
    """Two presses and the chair is the chair again, on the same seat; nobody stands beside as a shadow."""

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False) as meeting, chromium() as browser:
            tab = await open_tab(browser, meeting, path=f"/#t={meeting.ticket('chair')}")
            tab.page.on("dialog", accept)
            await join(tab, "")
            assert await inside(meeting) == [(1, "chair")]
            await tab.page.reload(wait_until="domcontentloaded")
            await join(tab, "")
            assert await inside(meeting) == [(1, "chair")]

    asyncio.run(scenario())


def test_way_back_with_a_link_that_ended_meanwhile(tmp_path: Path) -> None:
    """The box gave a fresh ticket inside: after leaving, `Vào lại` works though the link's own has expired."""

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False) as meeting, chromium() as browser:
            short = meeting.tickets.issue("giao-ban", "site", "Lan", "cl-02", life=12)
            tab = await open_tab(browser, meeting, path=f"/#t={short}")
            await join(tab, "")
            await asyncio.sleep(12)
            await leave(tab)
            await tab.page.click("#again")
            await tab.page.click("#enter")
            await tab.until("globalThis.edge?.call.state === 'open'")

    asyncio.run(scenario())


def test_wrong_link_on_the_pc_of_the_room(tmp_path: Path) -> None:
    """It is refused, and the PC's own ticket stays and lets in."""

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False) as meeting, chromium() as browser:
            own = meeting.tickets.issue("giao-ban", "site", "PC", "cl-02", life=DEVICE_LIFE, device=True)
            ended = meeting.tickets.issue("giao-ban", "site", "PC", "cl-02", life=-1, device=True)
            tab = await open_tab(browser, meeting, path=f"/#t={own}")
            await join(tab, "")
            await leave(tab)
            other = await tab.context.new_page()
            await other.goto(f"{meeting.url}/#t={ended}")
            await other.click("#join")
            await other.click("#enter")
            await other.get_by_role("heading", name="Giấy mời đã hết hạn").wait_for()
            await other.click("#home")
            await join(Tab(other, tab.context), "")
            assert [role for _, role in await inside(meeting)] == ["site"]

    asyncio.run(scenario())


def test_end_in_the_other_language(tmp_path: Path) -> None:
    """Everything on the last screen is said in the language that was chosen there."""

    async def scenario() -> None:
        async with live(tmp_path, help_phone="1022") as meeting, chromium() as browser:
            tab = await open_tab(browser, meeting)
            await join(tab, "Lan")
            assert await tab.page.get_attribute(".stage", "aria-label") == "Màn hình chính"
            await tab.page.click("#language")
            await tab.until("document.querySelector('.stage').getAttribute('aria-label') === 'Main picture'")
            await tab.page.click("#language")
            await leave(tab)
            await tab.page.click("#language")
            await tab.page.get_by_role("heading", name="You have left the meeting.").wait_for()
            assert "office hours" in str(await tab.page.text_content("#help"))

    asyncio.run(scenario())
