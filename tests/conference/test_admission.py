"""A machine that is busy with meetings lets nobody new in; those inside stay, and newcomers come when it is better."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from conference import messages, server
from conference.admission import LAG_AGAIN, LAG_SHARE, Admission
from conference.caller import Caller
from tests.conference.live import Live, Page, live
from tests.conference.test_status import status_when

PACKETS = 1_000
"""A second; the least that may be set."""
LOST = "cl-03"


@pytest.mark.parametrize(
    ("measured", "open_after"),
    [
        ([(999, 0.0)], True),
        ([(1000, 0.0)], False),
        ([(1000, 0.0), (950, 0.0)], False),
        ([(1000, 0.0), (899, 0.0)], True),
        ([(300, 201.0)], False),
        ([(300, 201.0), (300, 150.0)], False),
        ([(300, 201.0), (300, 99.0)], True),
        ([(200, 900.0)], True),
        ([(300, 900.0), (100, 900.0)], True),
    ],
)
def test_door_opens_later_than_it_shuts(measured: list[tuple[int, float]], open_after: bool) -> None:
    """Shut at the limit or by lag under load, open again below nine tenths or half the lag. Lag alone is nothing."""
    door = Admission(PACKETS)
    for packets, lag in measured:
        door.measure(packets, lag)
    assert door.open is open_after


def test_lagging_loop_lets_nobody_new_in(tmp_path: Path) -> None:
    """While something stops the loop again and again newcomers are told that the box is busy; a kept seat is open."""

    async def scenario() -> None:
        async with live(tmp_path, limits={"packets_per_second": PACKETS}) as meeting:
            pages = [await meeting.join(site=f"cl-0{n}") for n in range(4)]
            for page in pages:
                page.send_media()
            hog = asyncio.create_task(hogging())
            found = await status_when(meeting, lambda s: not s.admitting, within=60)
            assert (found.load.lag_ms > 200, found.rooms[0].members[0].connected) == (True, True)
            assert await asked(meeting) == messages.Refusal("busy", retry=30)
            lost = pages.pop()
            await lost.drop()
            back = Page(meeting, Caller())
            await back.enter(meeting.ticket(site=LOST), seat=lost.welcome.seat)
            assert back.welcome.you == lost.welcome.you
            hog.cancel()
            found = await status_when(meeting, lambda s: s.admitting, within=60)
            calm = found.load.lag_ms < LAG_AGAIN or found.load.packets_per_second <= LAG_SHARE / 2 * PACKETS
            assert (calm, found.turned_away) == (True, 1)
            assert await asked(meeting) is None
            for page in (*pages, back):
                await page.drop()

    asyncio.run(scenario())


async def hogging() -> None:
    """Takes the loop for itself, again and again."""
    while True:
        time.sleep(0.25)  # noqa: ASYNC251  # this is the fault
        await asyncio.sleep(0.15)


async def asked(meeting: Live) -> messages.ToPage | None:
    """What a newcomer is told instead of a welcome."""
    page = Page(meeting, Caller())
    await page.enter(meeting.ticket())
    told = page.state.get(messages.Refusal)
    await page.drop()
    return told


@pytest.mark.parametrize("language", ["vi", "en"])
def test_page_has_a_sentence_for_a_busy_box(language: str) -> None:
    """With the seconds until another try is worth it, and no word of a full room."""
    words = json.loads((server.WEB / "text" / f"{language}.json").read_text(encoding="utf-8"))
    assert "{retry}" in words["refused.busy"]
    assert words["refused.busy"] != words["refused.full"]
