"""Real browsers in a meeting: headless Chromium with fake devices."""

import asyncio
from pathlib import Path

from tests.conference.browser import chromium, join, needs_chromium, open_tab
from tests.conference.live import live

pytestmark = needs_chromium


def test_four_tabs_see_and_hear_each_other(tmp_path: Path) -> None:
    """Each decodes three pictures and hears voices without a freeze; the fourth joining renegotiates nothing."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting, chromium() as browser:
            tabs = [await open_tab(browser, meeting) for _ in range(4)]
            for at, tab in enumerate(tabs):
                await join(tab, f"Phường {at + 1}")
                await tab.page.click("#do-mic")
            descriptions = await tabs[0].page.evaluate("edge.call.pc.remoteDescription.sdp")
            for tab in tabs:
                await tab.sees(3)
            before = [await tab.frames() for tab in tabs]
            await asyncio.sleep(8)
            after = [await tab.frames() for tab in tabs]
            for old, new in zip(before, after, strict=True):
                decoded = [b["frames"] - a["frames"] for a, b in zip(old["video"], new["video"], strict=True)]
                assert min(sorted(decoded)[-3:]) >= 0.95 * 8 * 15 - 3
                assert sum(one["freezes"] for one in new["video"]) - sum(one["freezes"] for one in old["video"]) == 0
                assert sum(b["energy"] > a["energy"] for a, b in zip(old["audio"], new["audio"], strict=True)) >= 2
            assert await tabs[0].page.evaluate("edge.call.pc.remoteDescription.sdp") == descriptions
            assert [tab.faults for tab in tabs] == [[], [], [], []]

    asyncio.run(scenario())
