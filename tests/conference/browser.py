"""Headless Chromium with a fake camera and microphone, as ward staff would use it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.conference.live import Live

CHROMIUM = shutil.which("chromium") or ""
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (apt-get install chromium)")

_ARGS = (
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-gpu",
)
_SMALL_CAMERA = """
const original = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) => original(wanted.video
  ? {video: {width: %(width)d, height: %(height)d, frameRate: 15}} : wanted);
"""
_COUNT = """async () => {
  const found = [];
  const call = globalThis.edge?.call;
  if (!call?.pc) return found;
  for (const report of (await call.pc.getStats()).values())
    if (report.type === "inbound-rtp") found.push({
      id: report.id, kind: report.kind, frames: report.framesDecoded ?? 0, freezes: report.freezeCount ?? 0,
      lost: report.packetsLost ?? 0, packets: report.packetsReceived ?? 0, energy: report.totalAudioEnergy ?? 0,
      frozen: report.totalFreezesDuration ?? 0,
      height: report.frameHeight ?? 0, codec: report.codecId ?? "", received: report.framesReceived ?? 0,
    });
  return found;
}"""

_SENT = """async () => [...(await edge.call.pc.getStats()).values()]
  .filter((report) => report.type === "outbound-rtp" && report.kind === "video")
  .reduce((sum, report) => sum + (report.framesSent ?? 0), 0)"""


@contextlib.asynccontextmanager
async def chromium(*extra: str) -> AsyncIterator[Browser]:
    """A browser; everything it opened is closed with it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGS, *extra])
        yield browser
        await browser.close()


class Tab:
    """One person's browser."""

    def __init__(self, page: Page, context: BrowserContext) -> None:
        self.page = page
        self.context = context
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)

    async def frames(self) -> dict[str, list[dict[str, Any]]]:
        """Counters of incoming streams, by kind; only those that ever got a packet."""
        found = [one for one in await self.page.evaluate(_COUNT) if one["packets"]]
        return {kind: [one for one in found if one["kind"] == kind] for kind in ("audio", "video")}

    async def sent(self) -> int:
        """Pictures that the camera's stream has sent so far."""
        return int(await self.page.evaluate(_SENT))

    async def until(self, expression: str, within: float = 45.0) -> None:
        """Wait until a JavaScript expression is true (the page's policy forbids Playwright's own way)."""
        for _ in range(int(within * 20)):
            if await self.page.evaluate(expression):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {within} s: {expression} {self.faults}")

    async def sees(self, pictures: int, within: float = 45.0) -> None:
        """Wait until so many pictures are being decoded."""
        for _ in range(int(within * 10)):
            if sum(one["frames"] > 3 for one in (await self.frames())["video"]) >= pictures:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{pictures} pictures wanted: {await self.frames()} {self.faults}")


async def open_tab(
    browser: Browser, live: Live, *, width: int = 640, height: int = 360, path: str = "/", script: str = ""
) -> Tab:
    """A tab on the box's first page; `script` runs in it before the page's own."""
    context = await browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    await page.add_init_script(_SMALL_CAMERA % {"width": width, "height": height} + script)
    tab = Tab(page, context)
    await page.goto(live.url + path, wait_until="domcontentloaded")
    return tab


async def join(tab: Tab, name: str) -> None:
    """Two presses; the browser's own question is answered by a flag."""
    await tab.page.click("#join")
    if name:
        await tab.page.fill("#name", name)
    await tab.page.wait_for_selector(".row.ok video", timeout=30_000)
    await tab.page.click("#enter")
    await tab.until("globalThis.edge?.call.state === 'open'")
