"""What the meeting says of itself while one speaks: for the terminal's meeting screen and whoever draws one."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from conference.figures import Client, Status
from tests.conference.live import Live, live


async def status_when(meeting: Live, true: Callable[[Status], bool], within: float = 20.0) -> Status:
    """The first status of which something holds."""
    end = time.monotonic() + within
    while True:
        found = await meeting.status()
        if true(found):
            return found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)


def member(status: Status, id: int) -> Client:
    return next(m for m in status.rooms[0].members if m.id == id)


def shown_to(client: Client) -> list[tuple[str, int]]:
    return [(slot.label.partition("-")[0], slot.shows) for slot in client.down if slot.shows]


def test_status_tells_levels_speaker_and_slots(tmp_path: Path) -> None:
    """Each member's smoothed level, who speaks, what each slot shows, and where the page is."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            loud, still = [await meeting.join("chair", site="cl-01"), await meeting.join(site="cl-02")]
            loud.send_media(level=20)
            you, other = loud.welcome.you, still.welcome.you
            found = await status_when(
                meeting,
                lambda s: (
                    s.rooms[0].speaker == you and member(s, you).level < 40 and len(shown_to(member(s, other))) == 2
                ),
            )
            assert found.pages == (f"https://127.0.0.1:{meeting.port}/",)
            assert member(found, other).level == 127
            assert (member(found, you).mic, member(found, you).camera, member(found, you).hand) == (True, True, False)
            assert shown_to(member(found, other)) == [("video", you), ("audio", you)]
            for page in (loud, still):
                await page.drop()

    asyncio.run(scenario())
