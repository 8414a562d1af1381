"""What the meeting says of itself while one speaks: for the terminal's meeting screen and whoever draws one."""

import asyncio
import re
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from conference import messages
from conference.figures import Client, Status
from tests.conference.live import Live, live, watched


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


def test_metrics_tell_what_the_status_tells(tmp_path: Path) -> None:
    """Each figure of slots, streams and members in one group, with slot and layer; the page's freezes slot by slot."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            sender, viewer = await watched(meeting)
            await viewer.say(messages.Stats(freezes=3, by_slot=(2, 1)))
            found = await status_when(meeting, lambda s: member(s, viewer.welcome.you).page.freezes == 3)
            assert [slot.freezes for slot in member(found, viewer.welcome.you).down] == [2, 1, *[0] * 7]
            async with meeting.session.get(f"{meeting.url}/metrics") as response:
                lines = (await response.text()).splitlines()
            of = f'room="giao-ban",member="{viewer.welcome.you}"'
            told = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
            assert told[f'edge_meeting_slot_freezes_total{{{of},slot="video-1"}}'] == "1"
            assert told[f'edge_meeting_slot_layer{{{of},slot="video-0"}}'] == "0"
            assert told[f'edge_meeting_slot_layer{{{of},slot="video-5"}}'] == "-1"
            assert told[f'edge_meeting_slot_loss_ratio{{{of},slot="audio-2"}}'] == "0.0"
            assert told[f"edge_meeting_freezes_total{{{of}}}"] == "3"
            up = f'room="giao-ban",member="{sender.welcome.you}",kind="camera",layer="0"'
            assert int(told[f"edge_meeting_stream_packets_total{{{up}}}"]) > 0
            names = [line.split()[2] if line[0] == "#" else re.split("[{ ]", line)[0] for line in lines]
            groups = [name for name, _ in groupby(names)]
            assert len(groups) == len(set(groups))
            assert len(lines) < 250
            for page in (sender, viewer):
                await page.drop()

    asyncio.run(scenario())


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
