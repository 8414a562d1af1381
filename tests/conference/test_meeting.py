"""Whole meetings on loopback: real DTLS and SRTP, small clients instead of browsers."""

import asyncio
import os
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from conference import meetings, messages, rtcp, rtp, server
from conference.caller import Caller
from conference.settings import Settings
from tests.conference.live import Live, Page, live


def slot_ssrcs(page: Page) -> list[int]:
    """SSRCs of the slots, in the answer's order: voices first."""
    lines = [line for line in page.answer.split("\r\n") if line.startswith("a=ssrc:")]
    return [int(line[7:].split(" ")[0]) for line in lines]


def test_members_see_and_hear_each_other(tmp_path: Path) -> None:
    """Three members: each sees and hears both others, streams run on without a gap, and nobody renegotiates."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            pages = [await meeting.join(site=f"cl-0{n}") for n in range(3)]
            for page in pages:
                page.send_media()
            for page in pages:
                others = {other.welcome.you for other in pages} - {page.welcome.you}
                await page.until(lambda p=page, o=others: p.sees() == o and p.hears() == o)
            for page in pages:
                await page.until(lambda p=page: len([s for s in slot_ssrcs(p) if p.heard[s] > 10]) == 4)
                assert_unbroken(page)
                await page.drop()

    asyncio.run(scenario())


def assert_unbroken(page: Page) -> None:
    """In every slot, sequence numbers rise by one and pictures begin with a key frame."""
    for ssrc in page.heard:
        packets = [packet for _, packet in page.packets if packet.ssrc == ssrc]
        numbers = [packet.seq for packet in packets]
        assert numbers == [(numbers[0] + at) & 0xFFFF for at in range(len(numbers))]
        if packets[0].pt == 96:
            assert rtp.vp8_picture(packets[0].payload).key


def test_slot_switch_keeps_the_stream_whole(tmp_path: Path) -> None:
    """The chair puts one site after another on every screen: one slot, one stream, a key frame at every change."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            chair = await meeting.join("chair", video_slots=1)
            sites = [await meeting.join(site=f"cl-0{n}") for n in range(2)]
            for site in sites:
                site.send_media()
            for turn in range(4):
                wanted = sites[turn % 2].welcome.you
                await chair.say(messages.Spotlight(wanted))
                await chair.until(lambda w=wanted: chair.slots().video and chair.slots().video[0].member == w)
                await chair.until(lambda t=turn: keys(on_stage(chair)) > t)
                await asyncio.sleep(0.2)
            assert_unbroken(chair)
            pictures = on_stage(chair)
            ids = [rtp.vp8_picture(packet.payload).id for packet in pictures]
            steps = {(after - before) & 0x7FFF for before, after in pairwise(ids)}
            assert steps == {1}
            assert keys(pictures) >= 4
            for page in (chair, *sites):
                await page.drop()

    asyncio.run(scenario())


def on_stage(page: Page) -> list[rtp.Packet]:
    stage = slot_ssrcs(page)[3]
    return [packet for _, packet in page.packets if packet.ssrc == stage]


def keys(pictures: list[rtp.Packet]) -> int:
    return sum(rtp.vp8_picture(packet.payload).key for packet in pictures)


def test_floor_is_one_act(tmp_path: Path) -> None:
    """Giving the floor shows the site to all, asks it to speak, silences the others, and clears its hand."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            chair = await meeting.join("chair")
            first, second = [await meeting.join(site=f"cl-0{n}") for n in range(2)]
            await first.say(messages.Hand(up=True))
            await chair.until(lambda: chair.person(first.welcome.you).hand == 1)
            await second.say(messages.Hand(up=True))
            await chair.until(lambda: chair.person(second.welcome.you).hand == 2)
            await first.say(messages.Floor(first.welcome.you))
            await chair.say(messages.Floor(second.welcome.you))
            await second.until(lambda: messages.Asked in second.state)
            assert second.state[messages.Asked] == messages.Asked("speak")
            await first.until(lambda: first.state.get(messages.Asked) == messages.Asked("mute"))
            await chair.until(lambda: chair.person(second.welcome.you).hand == 0)
            people = chair.members()
            assert people[first.welcome.you].hand == 1
            assert not people[first.welcome.you].mic
            assert people[chair.welcome.you].mic
            found = chair.state[messages.Members]
            assert isinstance(found, messages.Members)
            assert found.floor == found.spotlight == second.welcome.you
            for page in (chair, first, second):
                await page.drop()

    asyncio.run(scenario())


def test_seat_is_kept_for_a_lost_connection(tmp_path: Path) -> None:
    """Who comes back with the seat has the same number and place, though the ticket expired; others saw `away`."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            viewer = await meeting.join("chair")
            token = meeting.tickets.issue("giao-ban", "site", "Sao Đỏ", "cl-02", life=3.0)
            page = Page(meeting, Caller())
            await page.enter(token)
            await page.call()
            page.send_media()
            you = page.welcome.you
            await viewer.until(lambda: viewer.sees() == {you})
            await page.drop()
            await viewer.until(lambda: viewer.person(you).away)
            await asyncio.sleep(3.0)
            stranger = Page(meeting, Caller())
            await stranger.enter(token)
            assert stranger.state[messages.Refusal] == messages.Refusal("expired")
            back = Page(meeting, Caller())
            await back.enter(token, seat=page.welcome.seat)
            assert back.welcome.you == you
            await back.call()
            back.send_media()
            await viewer.until(lambda: not viewer.person(you).away and viewer.sees() == {you})
            for each in (viewer, back, stranger):
                await each.drop()

    asyncio.run(scenario())


def test_seat_does_not_renew_another_ticket(tmp_path: Path) -> None:
    """Only who has the same role and site comes back with a ticket that expired: a guest's seat revives no chair's."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            old = meeting.tickets.issue("giao-ban", "chair", "A", "cl-02", life=-1.0)
            guest = await meeting.join("guest")
            page = Page(meeting, Caller())
            await page.enter(old, seat=guest.welcome.seat)
            assert page.state[messages.Refusal] == messages.Refusal("expired")
            for each in (guest, page):
                await each.drop()

    asyncio.run(scenario())


def test_client_that_moves_goes_on(tmp_path: Path) -> None:
    """Another address in mid-stream: after one signed check both directions go on, in the same connection."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            moving, viewer = [await meeting.join(site=f"cl-0{n}") for n in range(2)]
            for page in (moving, viewer):
                page.send_media()
            await viewer.until(lambda: bool(viewer.sees() and viewer.hears()))
            await moving.until(lambda: bool(moving.sees() and moving.hears()))
            elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            elsewhere.bind(("127.0.0.4", 0))
            elsewhere.setblocking(False)
            moving.caller.move(elsewhere)
            counts = len(viewer.packets), len(moving.packets)
            await viewer.until(lambda: len(viewer.packets) > counts[0] + 50)
            await moving.until(lambda: len(moving.packets) > counts[1] + 50)
            assert not viewer.person(moving.welcome.you).away
            for page in (moving, viewer):
                await page.drop()

    asyncio.run(scenario())


def test_one_ticket_is_one_session(tmp_path: Path) -> None:
    """The same ticket again takes the seat over: the old page is told and sent away."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            token = meeting.ticket()
            first, second = Page(meeting, Caller()), Page(meeting, Caller())
            await first.enter(token)
            await second.enter(token)
            await first.until(lambda: messages.Refusal in first.state)
            assert first.state[messages.Refusal] == messages.Refusal("taken_over")
            assert first.welcome.you == second.welcome.you
            await second.until(lambda: len(second.members()) == 1)
            for page in (first, second):
                await page.drop()

    asyncio.run(scenario())


def test_revoked_ticket_ends_the_stay(tmp_path: Path) -> None:
    """Revoking on the command line puts the bearer out within seconds, and the seat does not let them back."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            token = meeting.ticket()
            page = Page(meeting, Caller())
            await page.enter(token)
            meeting.tickets.revoke(meeting.tickets.read(token).id)
            await page.until(lambda: messages.Refusal in page.state)
            assert page.state[messages.Refusal] == messages.Refusal("revoked")
            again = Page(meeting, Caller())
            await again.enter(token, seat=page.welcome.seat)
            assert again.state[messages.Refusal] == messages.Refusal("revoked")
            for each in (page, again):
                await each.drop()

    asyncio.run(scenario())


def test_only_leaders_lead(tmp_path: Path) -> None:
    """A site's orders change nothing; the chair mutes all; who is sent out stays out with that ticket."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            chair = await meeting.join("chair")
            token = meeting.ticket()
            site = Page(meeting, Caller())
            await site.enter(token)
            await site.call()
            you = site.welcome.you
            for order in (messages.Mute(0), messages.Remove(chair.welcome.you), messages.Spotlight(you)):
                await site.say(order)
            await chair.until(lambda: chair.person(you).mic)
            assert chair.person(chair.welcome.you).mic
            await chair.say(messages.Mute(0))
            await chair.until(lambda: not chair.person(you).mic)
            assert chair.person(chair.welcome.you).mic
            await chair.say(messages.Remove(you))
            await site.until(lambda: site.state.get(messages.Refusal) == messages.Refusal("removed"))
            again = Page(meeting, Caller())
            await again.enter(token)
            assert again.state[messages.Refusal] == messages.Refusal("removed")
            for page in (chair, site, again):
                await page.drop()

    asyncio.run(scenario())


def test_who_was_sent_out_of_a_room_that_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the ticket nor the fresh one given inside opens anything, after an empty room or a restart of the box."""
    monkeypatch.setattr(meetings, "_QUALITY_TURNS", 4)

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            chair, site, token = Page(meeting, Caller()), Page(meeting, Caller()), meeting.ticket()
            await chair.enter(meeting.ticket("chair"))
            await site.enter(token)
            await chair.say(messages.Remove(site.welcome.you))
            await site.until(lambda: messages.Refusal in site.state)
            await chair.say(messages.Leave())
            while (await meeting.status()).rooms:
                await asyncio.sleep(0.05)
            renewed = site.state[messages.Renewed]
            assert isinstance(renewed, messages.Renewed)
            for each in (token, renewed.ticket):
                await refused_as("removed", meeting, each)
            for page in (chair, site):
                await page.drop()
        async with live(tmp_path) as meeting:
            await refused_as("removed", meeting, token)

    asyncio.run(scenario())


async def refused_as(reason: str, meeting: Live, token: str) -> None:
    page = Page(meeting, Caller())
    await page.enter(token)
    assert page.state[messages.Refusal] == messages.Refusal(reason)
    await page.drop()


def test_thin_line_pauses_pictures_and_keeps_voices(tmp_path: Path) -> None:
    """A viewer with a thin line loses the picture with a word, never the voice; others lose nothing."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            sender, thin, other = [await meeting.join(site=f"cl-0{n}") for n in range(3)]
            sender.send_media(more=800)
            await thin.until(lambda: bool(thin.sees() and thin.hears()))
            await other.until(lambda: bool(other.sees()))
            await asyncio.sleep(2)
            for _ in range(30):
                thin.caller.send_rtcp(rtcp.receiver_report(()) + rtcp.estimate(10_000, [1]))
                await asyncio.sleep(0.1)
            await thin.until(lambda: thin.slots().video[0].layer == -1)
            await thin.until(lambda: bool((q := thin.state.get(messages.Quality)) and getattr(q, "weak", False)))
            before = len(thin.packets)
            await thin.until(lambda: len(thin.packets) > before + 10)
            assert {packet.pt for _, packet in thin.packets[before:]} == {111}
            assert other.slots().video[0].layer == 0
            for page in (sender, thin, other):
                await page.drop()

    asyncio.run(scenario())


def test_sockets_of_a_service_manager_are_used(tmp_path: Path) -> None:
    """Descriptors come in any order; the port is theirs, and the clock's beat is heard."""

    async def scenario() -> None:
        ours = server.bind("127.0.0.1", 0)
        number = ours.udp.getsockname()[1]
        passed = server.inherited(*consecutive(ours.udp, ours.tcp))
        beat = asyncio.Event()
        made = Settings(listen="127.0.0.1:1", state=tmp_path)
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(server.run(made, port.set_result, beat.set, passed))
        assert await port == number
        async with asyncio.timeout(20):
            await beat.wait()
        serving.cancel()
        await asyncio.wait((serving,))

    asyncio.run(scenario())


def consecutive(*socks: socket.socket) -> tuple[int, int]:
    """Copies of sockets under neighbouring descriptors, as a service manager passes them."""
    first = 200
    for at, sock in enumerate(socks):
        os.dup2(sock.fileno(), first + at)
        sock.close()
    return first, len(socks)
