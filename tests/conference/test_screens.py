"""Every screen in both languages at three sizes and at 200 % zoom: looked at by axe-core, kept as pictures if wanted.

EDGE_SCREENSHOTS=folder keeps the pictures.
"""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Error

from conference.settings import Meeting
from tests.conference.browser import Tab, chromium, join, needs_chromium, open_tab
from tests.conference.live import Live, live

pytestmark = [needs_chromium, pytest.mark.xdist_group("machine")]  # one browser at a time

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
SIZES = {"phone": (320, 640), "laptop": (1280, 720), "wall": (3840, 2160)}
CHECKED = {**SIZES, "zoomed": (640, 360)}
"""Zoomed: the laptop at 200 %."""
RUN_AXE = """async () => (await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}))
  .violations.map((found) => `${found.id}: ${found.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`)"""
SMALL_TARGETS = """() => [...document.querySelectorAll("button, a, summary, input, select")]
  .filter((one) => one.checkVisibility()).map((one) => [one.id || one.textContent, one.getBoundingClientRect().height])
  .filter(([, height]) => height < 44 && height > 0)"""


async def look(tab: Tab, name: str) -> None:
    """No accessibility fault, no sideways scrolling, no small target, at every size."""
    await tab.page.evaluate(AXE)
    for size, (width, height) in CHECKED.items():
        await tab.page.set_viewport_size({"width": width, "height": height})
        await asyncio.sleep(0.15)
        assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, size)
        assert await tab.page.evaluate(SMALL_TARGETS) == [], (name, size)
        if folder := os.environ.get("EDGE_SCREENSHOTS"):
            await tab.page.screenshot(path=Path(folder) / f"{name}-{size}.png")
        assert await tab.page.evaluate(RUN_AXE) == [], (name, size)
    await tab.page.set_viewport_size({"width": 1280, "height": 800})


@pytest.mark.parametrize("language", ["vi", "en"])
def test_screens_are_well_made(language: str, tmp_path: Path) -> None:
    """Home, waiting, check, meeting, its dialogs, the lost line and the end."""

    async def scenario() -> None:
        box: dict[str, Any] = {"language": language, "name": "UBND phường Sao Đỏ", "help_phone": "0220 3123 456"}
        soon = datetime.now(UTC) + timedelta(minutes=10)
        box["schedule"] = (Meeting(room="giao-ban", title="Giao ban tuần", start=soon),)
        async with live(tmp_path, **box) as meeting, chromium() as browser:
            other = await open_tab(browser, meeting)
            await join(other, "Phường Ẩm Ễ Ỗ – ậệộợự")
            await other.until("document.querySelector('.nobody')?.checkVisibility() ?? false")
            await look(other, f"waiting-{language}")
            await walk(browser, meeting, language)

    asyncio.run(scenario())


async def walk(browser: Browser, meeting: Live, language: str) -> None:
    tab = await open_tab(browser, meeting, path=f"/#t={meeting.ticket('chair')}")
    await tab.page.wait_for_selector("#join")
    await look(tab, f"home-{language}")
    await tab.page.click("#join")
    await tab.page.wait_for_selector(".row.ok video")
    await look(tab, f"check-{language}")
    await tab.page.click("#enter")
    await tab.until("globalThis.edge?.call.state === 'open'")
    await tab.sees(1)
    await look(tab, f"meeting-{language}")
    width, height = CHECKED["zoomed"]
    await tab.page.set_viewport_size({"width": width, "height": height})
    assert await tab.page.evaluate("document.querySelector('.stage').clientHeight") >= 200
    for button, dialog in (("#people-open", "people"), ("#do-sound", "sound"), ("#do-leave", "leave")):
        await tab.page.click(button)
        await tab.page.wait_for_selector("dialog[open]")
        await look(tab, f"{dialog}-{language}")
        await tab.page.keyboard.press("Escape")
    await keyboard_works(tab)
    await tab.page.evaluate("edge.call.lostAt = Date.now() - 40000; edge.call.set('lost')")
    await asyncio.sleep(1.2)
    await look(tab, f"lost-{language}")
    await tab.page.evaluate("edge.call.end({reason: 'removed'})")
    await tab.page.wait_for_selector("#home")
    assert await tab.page.locator("#again").count() == 0
    await look(tab, f"removed-{language}")
    await tab.page.reload()
    await tab.page.click("#join")
    await tab.page.fill("#name", "Phường Sao Đỏ")
    await tab.page.click("#enter")
    await tab.until("globalThis.edge?.call.state === 'open'")
    await tab.page.click("#do-leave")
    await tab.page.wait_for_selector("dialog[open]")
    await tab.page.click("#leave-yes")
    await tab.page.wait_for_selector("#again")
    await look(tab, f"end-{language}")
    assert tab.faults == []


async def keyboard_works(tab: Tab) -> None:
    """M and H act, and Tab goes through the buttons from left to right."""
    await tab.page.keyboard.press("m")
    await tab.until("document.getElementById('do-mic').getAttribute('aria-pressed') === 'true'")
    await tab.page.keyboard.press("h")
    await tab.until("document.getElementById('do-hand').getAttribute('aria-pressed') === 'true'")
    await tab.page.focus("#do-mic")
    for wanted in ("do-camera", "do-hand"):
        await tab.page.keyboard.press("Tab")
        assert await tab.page.evaluate("document.activeElement.id") == wanted


@pytest.mark.parametrize("language", ["vi", pytest.param("en", marks=pytest.mark.faults)])
def test_screens_of_what_goes_otherwise_are_well_made(language: str, tmp_path: Path) -> None:
    """A code that is asked for and wrong, devices that are refused, a shared screen, a busy box, no secure address."""

    async def scenario() -> None:
        async with (
            live(tmp_path, language=language, open_rooms=False) as meeting,
            chromium("--auto-accept-this-tab-capture") as browser,
        ):
            await coded(browser, meeting, language)
            await refused(browser, meeting, language)
            await shared(browser, meeting, language)
            await insecure(browser, meeting, language)

    asyncio.run(scenario())


async def coded(browser: Browser, meeting: Live, language: str) -> None:
    """The code is asked for; a wrong one is said to be so, with what is left."""
    tab = await open_tab(browser, meeting)
    await tab.page.click("#join")
    await tab.page.fill("#code", "12345678")
    await tab.page.keyboard.press("Enter")
    await tab.page.wait_for_selector(".problem:has-text('4')")
    await look(tab, f"code-{language}")
    await tab.context.close()


async def refused(browser: Browser, meeting: Live, language: str) -> None:
    """Camera and microphone are refused by the browser; then the box is too busy for a newcomer."""
    tab = await open_tab(browser, meeting, path=f"/#t={meeting.ticket()}", script=FAIL)
    await tab.page.evaluate("failing = {camera: 'NotAllowedError', microphone: 'NotAllowedError'}")
    await tab.page.click("#join")
    await tab.page.locator(".row.bad").nth(1).wait_for()
    await look(tab, f"denied-{language}")
    await tab.page.click("#enter")
    await tab.until("globalThis.edge?.call.state === 'open'")
    await tab.page.evaluate("edge.call.end({reason: 'busy', retry: 30})")
    await tab.page.wait_for_selector("#again")
    await look(tab, f"busy-{language}")
    await tab.context.close()


async def shared(browser: Browser, meeting: Live, language: str) -> None:
    """A screen is shared: on the stage of the others, with a word on the button of who shares."""
    speaker, viewer = [await open_tab(browser, meeting, path=f"/#t={meeting.ticket('chair', n)}") for n in ("a", "b")]
    for tab in (speaker, viewer):
        await join(tab, "")
    await viewer.sees(1)
    await speaker.page.click("#do-share")
    await viewer.sees(2)
    await look(viewer, f"shared-{language}")
    await look(speaker, f"sharing-{language}")
    for tab in (speaker, viewer):
        assert tab.faults == []
        await tab.context.close()


async def insecure(browser: Browser, meeting: Live, language: str) -> None:
    """No camera without a secure address: what to do stands there."""
    tab = await open_tab(browser, meeting, path=f"/#t={meeting.ticket()}")
    await tab.page.evaluate("Object.defineProperty(window, 'isSecureContext', {value: false})")
    await tab.page.click("#join")
    await tab.page.wait_for_selector("a[href^='https']")
    await look(tab, f"insecure-{language}")
    await tab.context.close()


def test_whole_way_by_keyboard(tmp_path: Path) -> None:
    """From the first page into the meeting, to who is here and out again: Tab, Enter and Escape are enough."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting, chromium() as browser:
            tab = await open_tab(browser, meeting, path=f"/#t={meeting.ticket('chair')}")
            await press(tab, "join")
            await tab.page.wait_for_selector(".row.ok video")
            await press(tab, "enter")
            await tab.until("globalThis.edge?.call.state === 'open'")
            await tab.until("document.querySelector('#people-open')?.checkVisibility() ?? false")
            await press(tab, "people-open")
            await tab.page.wait_for_selector("dialog[open] .people button")
            await tab.page.locator("[data-act^=spotlight]").focus()
            await tab.page.keyboard.press("Enter")
            await tab.until("document.activeElement.dataset.act?.startsWith('spotlight') && edge.call.state === 'open'")
            await tab.page.keyboard.press("Escape")
            await tab.until("document.activeElement.id === 'people-open'")
            await press(tab, "do-leave")
            await press(tab, "leave-yes")
            await tab.page.wait_for_selector("#again")
            assert tab.faults == []

    asyncio.run(scenario())


async def press(tab: Tab, id: str) -> None:
    """Go there with Tab, and press Enter."""
    await tab.page.wait_for_selector(f"#{id}")
    for _ in range(30):
        if await tab.page.evaluate("document.activeElement.id") == id:
            break
        await tab.page.keyboard.press("Tab")
    assert await tab.page.evaluate("document.activeElement.id") == id
    await tab.page.keyboard.press("Enter")


FAIL = """
const working = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
globalThis.failing = {};
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const name = failing[wanted.video ? "camera" : "microphone"];
  if (name) throw Object.assign(new Error(), {name});
  return working(wanted);
};
"""
FAILURES = {
    "camera": {
        "NotAllowedError": "chọn “Cho phép”",
        "NotReadableError": "Camera đang được chương trình khác dùng",
        "NotFoundError": "Không tìm thấy camera",
        "OverconstrainedError": "Camera đã chọn không dùng được",
        "AbortError": "Camera bị dừng khi đang bật",
        "SecurityError": "không cho trang web dùng",
        "TypeError": "TypeError",
    },
    "microphone": {
        "NotAllowedError": "chọn “Cho phép”",
        "NotReadableError": "Micro đang được chương trình khác dùng",
        "NotFoundError": "Không tìm thấy micro",
        "OverconstrainedError": "Micro đã chọn không dùng được",
        "AbortError": "Micro bị dừng khi đang bật",
        "SecurityError": "không cho trang web dùng",
        "TypeError": "TypeError",
    },
}


def test_every_device_error_has_a_way_forward(tmp_path: Path) -> None:
    """Each error of getUserMedia, of either device, has its own sentence and a button that helps once it is over."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting, chromium() as browser:
            await fails_and_recovers(await open_tab(browser, meeting, script=FAIL), "camera", "Vào họp chỉ có tiếng")
            await fails_and_recovers(await open_tab(browser, meeting, script=FAIL), "microphone", "Vào họp")

    asyncio.run(scenario())


async def fails_and_recovers(tab: Tab, device: str, enter: str) -> None:
    """One error after another of one device; the other works; `enter`: the words to join as things are."""
    row = tab.page.locator(".row").nth(["camera", "microphone"].index(device))
    press = tab.page.locator("#join")
    for error, words in FAILURES[device].items():
        await tab.page.evaluate("([device, error]) => { failing[device] = error; }", [device, error])
        await press.click()
        await row.get_by_text(words).wait_for()
        await tab.until(f"document.getElementById('enter').textContent === '{enter}'")
        assert "bad" in (await row.get_attribute("class") or "").split()
        press = row.get_by_role("button", name="Thử lại")
    await tab.page.evaluate("failing = {}")
    await press.click()
    await tab.page.locator(".row.bad").wait_for(state="detached")
    await tab.until("document.getElementById('enter').textContent === 'Vào họp'")


def test_joining_works_without_any_device(tmp_path: Path) -> None:
    """With neither camera nor microphone one comes in to watch and listen."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting, chromium() as browser:
            other = await open_tab(browser, meeting)
            await join(other, "A")
            tab = await open_tab(browser, meeting, script=FAIL)
            await tab.page.evaluate("failing = {camera: 'NotFoundError', microphone: 'NotFoundError'}")
            await tab.page.click("#join")
            await tab.page.get_by_text("Không tìm thấy micro").wait_for()
            assert await tab.page.locator("#enter").text_content() == "Vào họp để xem và nghe"
            await tab.page.click("#enter")
            await tab.sees(1)

    asyncio.run(scenario())


def test_insecure_page_says_what_to_do(tmp_path: Path) -> None:
    """Without mediaDevices the page offers the secure address and does not break."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting, chromium() as browser:
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            await page.add_init_script("Object.defineProperty(window, 'isSecureContext', {value: false})")
            await page.goto(meeting.url)
            await page.click("#join")
            link = page.get_by_role("link", name="Mở địa chỉ an toàn")
            assert await link.get_attribute("href") == f"{meeting.url}/"

    asyncio.run(scenario())


def test_self_signed_certificate_is_clicked_through(tmp_path: Path) -> None:
    """Past the browser's warning, as staff would go, camera and microphone work and joining does."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting, chromium() as browser:
            context = await browser.new_context()
            page = await context.new_page()
            with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
                await page.goto(meeting.url)
            await page.locator("#details-button").wait_for()
            await page.keyboard.type("thisisunsafe", delay=20)
            await page.wait_for_selector("#join")
            assert await page.evaluate("isSecureContext")
            await join(Tab(page, context), "Phường")

    asyncio.run(scenario())
