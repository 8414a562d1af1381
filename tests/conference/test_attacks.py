"""Hostile packets change nothing: each attack runs against a live meeting in which the picture goes on."""

import asyncio
import time
from pathlib import Path

import pytest

from conference import messages
from conference.caller import Caller
from tests.conference.attacks import ATTACKS, HELLO, Attack, assert_went_on, shoot
from tests.conference.floods import dawdle, ended
from tests.conference.live import Page, live, nothing_unhandled


@pytest.mark.parametrize("attack", ATTACKS)
def test_picture_goes_on_through(attack: Attack, tmp_path: Path) -> None:
    """Others' media goes on, nothing reaches the loop's handler, and a newcomer still gets in."""

    async def scenario() -> None:
        async with nothing_unhandled(), live(tmp_path) as meeting:
            pages = [await meeting.join(site=f"cl-0{n}") for n in range(3)]
            pages[0].send_media()
            await pages[2].until(lambda: pages[0].welcome.you in pages[2].sees())
            began = time.monotonic()
            await attack(meeting, pages)
            await asyncio.sleep(0.5)
            assert_went_on(pages[2], began, longest=5.0)
            late = await meeting.join(site="late")
            await late.until(lambda: pages[0].welcome.you in late.sees())
            for page in (*pages, late):
                await page.drop()

    asyncio.run(scenario())


def test_hellos_before_the_handshake_change_nothing(tmp_path: Path) -> None:
    """Twenty stray ClientHellos, empty datagrams and alerts while a client has answered but not dialled yet."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            for _ in range(5):
                page = Page(meeting, Caller())
                await page.enter(meeting.ticket())
                await page.say(messages.Offer(page.caller.offer()))
                await page.until(lambda p=page: messages.Answer in p.state)
                await shoot(meeting, [HELLO] * 20 + [b""] * 5)
                answer = page.state[messages.Answer]
                assert isinstance(answer, messages.Answer)
                dialling = asyncio.create_task(page.caller.connect(answer.sdp))
                await shoot(meeting, [HELLO] * 20 + [b""] * 5)
                async with asyncio.timeout(20):
                    await dialling
                assert page.caller.srtp is not None
                await page.drop()

    asyncio.run(scenario())


def test_slow_connections_do_not_shut_the_page(tmp_path: Path) -> None:
    """400 connections that say one byte and wait, from 20 addresses: the page answers, and they are cut off."""

    async def scenario() -> None:
        async with live(tmp_path, limits={"connections": 120}) as meeting:
            slow = [await dawdle(f"127.0.1.{at % 20 + 1}", meeting.port) for at in range(400)]
            began = time.monotonic()
            async with meeting.session.get(f"{meeting.url}/api/home") as response:
                assert response.status == 200
            assert time.monotonic() - began < 5.0
            refused = (await meeting.status()).connections_refused
            assert refused >= 250
            async with asyncio.timeout(30):
                while not all(ended(sock) for sock in slow):
                    await asyncio.sleep(0.2)
            for sock in slow:
                sock.close()

    asyncio.run(scenario())
