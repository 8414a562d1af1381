"""Standard clients (WHIP, WHEP) as members of a room: whose the seat is, the floor, what they may ask."""

import asyncio
from pathlib import Path

from conference import messages
from conference.caller import Caller
from tests.conference.live import Live, Page, live
from tests.conference.test_standard_clients import post

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


async def whip(meeting: Live, ticket: str) -> tuple[Page, str]:
    """A client that sends, and where its session is."""
    sender = Page(meeting, Caller())
    answer = await post(meeting, "whip", ticket, sender.caller.offer())
    assert answer.status == 201
    await sender.caller.connect(await answer.text())
    sender.send_media()
    return sender, meeting.url + answer.headers["Location"]


def test_camera_that_takes_over_a_page(tmp_path: Path) -> None:
    """The page with the same ticket is told and goes; the camera keeps the seat and is seen."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            viewer = await meeting.join("site")
            page, ticket = Page(meeting, Caller()), meeting.ticket("site", "cl-05")
            await page.enter(ticket)
            await page.call()
            camera, _ = await whip(meeting, ticket)
            await page.until(lambda: messages.Refusal in page.state)
            await page.drop()
            await viewer.until(lambda: viewer.sees() == {page.welcome.you})
            await asyncio.sleep(1)
            assert not viewer.person(page.welcome.you).away
            seen = len(viewer.packets)
            await viewer.until(lambda: len(viewer.packets) > seen + 20)
            for one in (viewer, camera):
                await one.drop()

    asyncio.run(scenario())


def test_old_session_of_a_camera_that_came_anew(tmp_path: Path) -> None:
    """Its end ends nothing: the seat is the new session's, whose own end gives it up."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            viewer, ticket = await meeting.join("site"), meeting.ticket("site", "cl-05")
            before, old = await whip(meeting, ticket)
            await viewer.until(lambda: bool(viewer.sees()))
            after, new = await whip(meeting, ticket)
            assert (await meeting.session.delete(old)).status == 200
            await asyncio.sleep(0.5)
            assert len(viewer.members()) == 2
            seen = len(viewer.packets)
            await viewer.until(lambda: len(viewer.packets) > seen + 20)
            assert (await meeting.session.delete(new)).status == 200
            await viewer.until(lambda: len(viewer.members()) == 1)
            for one in (viewer, before, after):
                await one.drop()

    asyncio.run(scenario())


def test_camera_gets_its_voice_back(tmp_path: Path) -> None:
    """Nobody sits before it: what another's floor took from it comes back, and the floor switches it on."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            chair, other = await meeting.join("chair"), await meeting.join("site")
            camera, _ = await whip(meeting, meeting.ticket("site", "cl-05"))
            await chair.until(lambda: len(chair.hears()) == 1)
            (id,) = chair.hears()
            await chair.say(messages.Floor(other.welcome.you))
            await chair.until(lambda: not chair.person(id).mic)
            await chair.say(messages.Floor(0))
            await chair.until(lambda: chair.person(id).mic)
            await chair.say(messages.Mute(0))
            await chair.until(lambda: not chair.hears())
            await chair.say(messages.Floor(id))
            await chair.until(lambda: chair.hears() == {id})
            for one in (chair, other, camera):
                await one.drop()

    asyncio.run(scenario())


def test_what_a_session_may_be_asked(tmp_path: Path) -> None:
    """Candidates are taken (204), an ICE restart is not done (422), another type of body is none (415)."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            camera, session = await whip(meeting, meeting.ticket("site", "cl-05"))
            ufrag = next(line for line in camera.caller.offer().splitlines() if line.startswith("a=ice-ufrag:"))
            other = {"Content-Type": "text/plain"}
            wanted = ((FRAGMENT, ufrag, 204), (FRAGMENT, "a=ice-ufrag:anew", 422), (other, ufrag, 415))
            for headers, body, status in wanted:
                answer = await meeting.session.patch(session, data=body + "\r\n", headers=headers)
                assert answer.status == status
            await camera.drop()

    asyncio.run(scenario())
