"""What people wait for, in real browsers: time to the first picture, and the gap when the stage switches.

    python -m bench.meeting_browser

Headless Chromium with fake devices (640x360, 15 pictures a second) on loopback; needs chromium.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path

from playwright.async_api import Browser

from tests.conference.browser import Tab, chromium, join, open_tab
from tests.conference.live import Live, live

JOINS, SWITCHES = 8, 20
_FIRST_PICTURE = """async () => {
  const began = performance.now();
  document.getElementById("enter").click();
  for (;;) {
    const video = document.querySelector(".stage video");
    if (video?.srcObject && video.videoWidth) return performance.now() - began;
    await new Promise((done) => setTimeout(done, 5));
  }
}"""
_SWITCH = """async (member) => {
  const video = document.querySelector(".stage video");
  const began = performance.now();
  let last = began, gap = 0;
  const told = new Promise((done) => edge.call.addEventListener("told", function heard({ detail }) {
    if (detail.t !== "slots" || detail.video[0].member !== member) return;
    edge.call.removeEventListener("told", heard);
    done();
  }));
  const note = (now) => { gap = Math.max(gap, now - last); last = now; video.requestVideoFrameCallback(note); };
  video.requestVideoFrameCallback((now) => { last = now; video.requestVideoFrameCallback(note); });
  edge.call.say({ t: "spotlight", member });
  await told;
  const took = performance.now() - began;
  await new Promise((done) => setTimeout(done, 600));
  return [took, gap];
}"""


async def first_pictures(browser: Browser, meeting: Live) -> list[float]:
    """Milliseconds from the press on "join" to the first decoded picture of another site."""
    found = []
    for _ in range(JOINS):
        tab = await open_tab(browser, meeting)
        await tab.page.click("#join")
        await tab.page.wait_for_selector(".row.ok video")
        await asyncio.sleep(1)
        found.append(float(await tab.page.evaluate(_FIRST_PICTURE)))
        await tab.context.close()
        await asyncio.sleep(0.5)
    return found


async def switches(chair: Tab) -> tuple[list[float], list[float]]:
    """Milliseconds until the page was told, and the largest gap between two pictures shown."""
    told, gaps = [], []
    for turn in range(SWITCHES):
        took, gap = await chair.page.evaluate(_SWITCH, turn % 2 + 1)
        told.append(float(took))
        gaps.append(float(gap))
    return told[1:], gaps[1:]


async def measure() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        async with live(Path(folder)) as meeting, chromium() as browser:
            sites = [await open_tab(browser, meeting) for _ in range(2)]
            for at, site in enumerate(sites):
                await join(site, f"{at}")
            pictures = await first_pictures(browser, meeting)
            chair = await open_tab(browser, meeting, path=f"/#t={meeting.ticket('chair')}")
            await join(chair, "")
            await chair.sees(2)
            told, gaps = await switches(chair)
    for name, values in (("join to first picture", pictures), ("switch told", told), ("gap at a switch", gaps)):
        print(f"{name:<22} median {statistics.median(values):>5.0f} ms   max {max(values):>5.0f} ms   n={len(values)}")


if __name__ == "__main__":
    asyncio.run(measure())
