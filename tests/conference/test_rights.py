"""What a ticket gives inside: whose screen is shown, and that it lives as long as its bearer stays."""

import asyncio
from pathlib import Path

import pytest

from conference import meetings, messages
from conference.caller import Caller
from conference.tickets import DEFAULT_LIFE, Role
from tests.conference.live import Live, Page, live


async def sharing(meeting: Live, role: Role) -> set[str]:
    """Kinds of pictures that the box takes from somebody who offers a screen."""
    page = Page(meeting, Caller())
    await page.enter(meeting.ticket(role))
    await page.say(messages.Offer(page.caller.offer(), screen="1"))
    await page.until(lambda: messages.Answer in page.state)
    answer = page.state[messages.Answer]
    assert isinstance(answer, messages.Answer)
    await page.caller.connect(answer.sdp)
    await page.say(messages.State(mic=True, camera=True, screen=True))
    page.send_media()
    found: set[str] = set()
    while not found:
        [room] = (await meeting.status()).rooms
        found = {up.kind for m in room.members if m.id == page.welcome.you for up in m.up} - {"voice"}
        await asyncio.sleep(0.02)
    await page.drop()
    return found


def test_screen_of_a_guest(tmp_path: Path) -> None:
    """A guest's page may offer one: it is no screen to the room; a site's is."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            assert await sharing(meeting, "guest") == {"camera"}
            assert await sharing(meeting, "site") == {"screen"}

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_ticket_is_renewed_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every two minutes, long before it ends, a page gets its ticket with a fresh life: a restart puts nobody out."""
    assert meetings._RENEW_TURNS * meetings.TICK == 120 < DEFAULT_LIFE / 2
    monkeypatch.setattr(meetings, "_RENEW_TURNS", 4)

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            page = Page(meeting, Caller())
            await page.enter(meeting.ticket())
            await page.until(lambda: messages.Renewed in page.state)
            first = page.state[messages.Renewed]
            await page.until(lambda: page.state[messages.Renewed] != first)
            fresh = page.state[messages.Renewed]
            assert isinstance(first, messages.Renewed)
            assert isinstance(fresh, messages.Renewed)
            before, after = (meeting.tickets.read(told.ticket) for told in (first, fresh))
            assert after.id == before.id
            assert after.expires > before.expires
            await page.drop()

    asyncio.run(asyncio.wait_for(scenario(), 60))
