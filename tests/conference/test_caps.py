"""Bit rates that the settings allow: of a client, of a site's line, of a room."""

import asyncio
from pathlib import Path

from tests.conference.live import Page, live

MORE = 800
"""Bytes added to a frame: the picture takes about 135 kbit/s."""


def test_sender_above_its_cap(tmp_path: Path) -> None:
    """Who ignores what it is told to keep to is not passed on; the others' pictures go on."""

    async def scenario() -> None:
        async with live(tmp_path, limits={"client_kbit": 100}) as meeting:
            modest, greedy, viewer = [await meeting.join(site=f"cl-0{n}") for n in range(3)]
            modest.send_media()
            await viewer.until(lambda: viewer.sees() == {modest.welcome.you})
            greedy.send_media(more=MORE + 300)
            await viewer.until(lambda: greedy.welcome.you in viewer.sees())
            await viewer.until(lambda: viewer.sees() == {modest.welcome.you})
            before = len(viewer.packets)
            await viewer.until(lambda: len(viewer.packets) > before + 30)
            for page in (modest, greedy, viewer):
                await page.drop()

    asyncio.run(scenario())


def layer(page: Page) -> int:
    """What the stage shows; -1: a frozen picture."""
    return page.slots().video[0].layer


def test_line_of_a_site_is_shared(tmp_path: Path) -> None:
    """Two viewers behind one thin line have half of it each, too little; one alone behind such a line has a picture."""

    async def scenario() -> None:
        async with live(tmp_path, limits={"site_kbit": 200}) as meeting:
            sender, alone = await meeting.join(site="cl-01"), await meeting.join(site="cl-02")
            pair = [await meeting.join(site="cl-03") for _ in range(2)]
            sender.send_media(more=MORE)
            await alone.until(lambda: bool(alone.sees()))
            await alone.until(lambda: layer(alone) == 0)
            assert [layer(page) for page in pair] == [-1, -1]
            for page in (sender, alone, *pair):
                await page.drop()

    asyncio.run(scenario())


def test_room_has_a_cap(tmp_path: Path) -> None:
    """What the room may take is shared by those in it: two have enough for a picture each, six have not."""

    async def scenario() -> None:
        async with live(tmp_path, limits={"room_kbit": 330}) as meeting:
            sender, viewer = await meeting.join(site="cl-01"), await meeting.join(site="cl-02")
            sender.send_media(more=MORE)
            await viewer.until(lambda: bool(viewer.sees()) and layer(viewer) == 0)
            more = [await meeting.join(site=f"cl-0{n}") for n in range(3, 7)]
            await viewer.until(lambda: layer(viewer) == -1)
            for page in more:
                await page.drop()
            await viewer.until(lambda: layer(viewer) == 0)
            for page in (sender, viewer):
                await page.drop()

    asyncio.run(scenario())
