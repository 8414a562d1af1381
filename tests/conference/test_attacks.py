"""Hostile packets change nothing: each attack runs against a live meeting in which the picture goes on."""

import asyncio
import contextlib
import os
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from conference import dtls, messages, rtcp, sdp, stun
from conference.caller import Caller
from tests.conference.live import Live, Page, live

HELLO = bytes.fromhex("16feff0000000000000000003a0100002e000000000000002efefd") + os.urandom(32) + bytes(20)
"""A DTLS ClientHello, as far as a demultiplexer looks."""

Attack = Callable[[Live, list[Page]], Awaitable[None]]


def stranger() -> socket.socket:
    """A socket that nobody validated."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.2", 0))
    made.setblocking(False)
    return made


async def shoot(meeting: Live, datagrams: list[bytes]) -> None:
    """Send from a stranger's address, letting the meeting run in between."""
    with contextlib.closing(stranger()) as sock:
        for at, data in enumerate(datagrams):
            with contextlib.suppress(BlockingIOError):
                sock.sendto(data, ("127.0.0.1", meeting.port))
            if at % 50 == 49:
                await asyncio.sleep(0)


async def empty_and_short(meeting: Live, _pages: list[Page]) -> None:
    await shoot(meeting, [b""] * 100 + [bytes((first,)) for first in range(256)] + [b"\x15\xfe\xfd" + bytes(12)] * 20)


async def stray_hellos(meeting: Live, _pages: list[Page]) -> None:
    await shoot(meeting, [HELLO] * 20)


async def random_datagrams(meeting: Live, _pages: list[Page]) -> None:
    rng = random.Random(3)
    await shoot(meeting, [rng.randbytes(rng.randint(0, 300)) for _ in range(20_000)])


async def forged_checks(meeting: Live, pages: list[Page]) -> None:
    """Right names with wrong passwords, and damaged copies of a right check."""
    caller = pages[0].caller
    rng = random.Random(4)
    wrong = stun.request(caller._username, b"wrong", bytes(12))
    right = stun.request(caller._username, caller._key, bytes(12))
    damaged = []
    for _ in range(10_000):
        raw = bytearray(right)
        raw[rng.randrange(60)] ^= rng.randrange(1, 256)
        damaged.append(bytes(raw))
    await shoot(meeting, [wrong] * 5_000 + damaged)


async def inside_short(_meeting: Live, pages: list[Page]) -> None:
    """The same from a joined client's own address."""
    for data in [b"", *(bytes((first,)) for first in range(256)), HELLO, HELLO, HELLO]:
        pages[1].caller.send(data)
        await asyncio.sleep(0)


async def inside_mutated(_meeting: Live, pages: list[Page]) -> None:
    """20,000 packets of a joined client with changed bytes, before and after they are encrypted."""
    rng, caller = random.Random(5), pages[1].caller
    for turn in range(20_000):
        raw = bytearray(
            struct.pack(">BBHII", 0x90, 96, turn & 0xFFFF, turn * 90, caller.video_ssrc) + rng.randbytes(60)
        )
        for _ in range(rng.randint(0, 5)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        raw[0] = 0x80 | raw[0] & 0x3F
        raw[8:12] = rng.choice((caller.video_ssrc, rng.getrandbits(32))).to_bytes(4, "big")
        send_raw(caller, bytes(raw[: rng.randint(12, len(raw))]))
        if turn % 4 == 0:
            caller.send_rtcp(mutated_feedback(rng, caller))
        if turn % 50 == 0:
            await asyncio.sleep(0)


def send_raw(caller: Caller, raw: bytes) -> None:
    assert caller.srtp is not None
    dtls.scratch[: len(raw)] = raw
    size = caller.srtp.protect(len(raw))
    caller.send(dtls.scratch[:size])


def mutated_feedback(rng: random.Random, caller: Caller) -> bytes:
    whole = (
        rtcp.receiver_report([rtcp.Report(rng.getrandbits(32), 255, -1, 2**32 - 1, 2**32 - 1)] * rng.randint(0, 3))
        + rtcp.estimate(rng.getrandbits(40), [1])
        + rtcp.nack(rng.getrandbits(32), [rng.randrange(65536) for _ in range(20)])
        + rtcp.sender_report(caller.video_ssrc, rng.getrandbits(64), 1, 2, 3)
    )
    raw = bytearray(whole[: rng.randint(8, len(whole))])
    for _ in range(rng.randint(0, 6)):
        raw[rng.randrange(4, len(raw))] = rng.randrange(256)
    return bytes(raw)


async def short_estimate(_meeting: Live, pages: list[Page]) -> None:
    """A truncated REMB and a transport-wide report, which end bare aiortc's session."""
    for _ in range(50):
        pages[1].caller.send_rtcp(struct.pack(">BBHII4sI", 0x8F, 206, 4, 1, 0, b"REMB", 0xFF00_0000))
        pages[1].caller.send_rtcp(struct.pack(">BBHIIII", 0x8F, 205, 4, 1, 2, 3, 4))
        await asyncio.sleep(0)


async def many_streams(_meeting: Live, pages: list[Page]) -> None:
    """A client that begins a new stream with every packet is held to a dozen."""
    caller = pages[1].caller
    for at in range(5_000):
        send_raw(caller, struct.pack(">BBHII", 0x80, 96, at & 0xFFFF, at, 50_000 + at) + b"\x10\0\0")
        if at % 50 == 0:
            await asyncio.sleep(0)


async def bad_offers(meeting: Live, _pages: list[Page]) -> None:
    """Descriptions too long, without ICE, with 500 sections, or for a data channel: refused, one page each."""
    good = Caller().offer()
    for text in (
        "v=0\r\n" + "x" * 70_000,
        good.replace("a=ice-pwd", "a=x"),
        good + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:n\r\n" * 500,
        "",
    ):
        page = Page(meeting, Caller())
        await page.enter(meeting.ticket())
        await page.say(messages.Offer(text))
        await page.until(lambda p=page: messages.Refusal in p.state)
        assert page.state[messages.Refusal] == messages.Refusal("bad_offer")
        await page.drop()
    channel = good + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:9\r\na=sctp-port:5000\r\n"
    page = Page(meeting, Caller())
    await page.enter(meeting.ticket())
    await page.say(messages.Offer(channel))
    await page.until(lambda: messages.Answer in page.state)
    answer = page.state[messages.Answer]
    assert isinstance(answer, messages.Answer)
    assert "m=application 0 " in answer.sdp
    assert all(s.kind != "application" or s.direction == "inactive" for s in sdp.parse(answer.sdp).sections)
    await page.drop()


async def bad_messages(meeting: Live, _pages: list[Page]) -> None:
    """Garbage, unknown kinds, wrong types, huge messages, floods and silence over the WebSocket."""
    for raw in ("", "[]", '{"t":"none"}', '{"t":"view","heights":"x"}', '{"t":"hello"}', "x" * 200_000, "\0" * 50):
        async with meeting.session.ws_connect(f"{meeting.url}/ws") as other:
            await other.send_str(raw)
            async with asyncio.timeout(15):
                while (await other.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass
    page = Page(meeting, Caller())
    await page.enter(meeting.ticket())
    with contextlib.suppress(ConnectionError, aiohttp.ClientError):
        for _ in range(500):
            await page.say(messages.Hand(up=True))
    await page.until(lambda: page.state.get(messages.Refusal) == messages.Refusal("too_fast"))
    await page.drop()


ATTACKS = (
    empty_and_short,
    stray_hellos,
    random_datagrams,
    forged_checks,
    inside_short,
    inside_mutated,
    short_estimate,
    many_streams,
    bad_offers,
    bad_messages,
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_picture_goes_on_through(attack: Attack, tmp_path: Path) -> None:
    """Others' media goes on, nothing reaches the loop's handler, and a newcomer still gets in."""
    attacked(attack, tmp_path, longest=5.0)


@pytest.mark.faults
@pytest.mark.parametrize("attack", ATTACKS)
def test_picture_never_stops_for_a_second(attack: Attack, tmp_path: Path) -> None:
    """The same on a machine that has the time for it: no second without a packet."""
    attacked(attack, tmp_path, longest=1.0)


def attacked(attack: Attack, folder: Path, longest: float) -> None:
    """One attack on a live meeting; `longest`: seconds that a viewer may be without a packet."""

    async def scenario() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
        async with live(folder) as meeting:
            pages = [await meeting.join(site=f"cl-0{n}") for n in range(3)]
            pages[0].send_media()
            await pages[2].until(lambda: pages[0].welcome.you in pages[2].sees())
            began = time.monotonic()
            await attack(meeting, pages)
            await asyncio.sleep(0.5)
            assert_went_on(pages[2], began, longest)
            late = await meeting.join(site="late")
            await late.until(lambda: pages[0].welcome.you in late.sees())
            for page in (*pages, late):
                await page.drop()
        assert problems == []

    asyncio.run(scenario())


def assert_went_on(viewer: Page, began: float, longest: float = 1.0) -> None:
    times = [when for when, packet in viewer.packets if when > began and packet.pt == 96]
    gaps = [after - before for before, after in zip([began, *times], [*times, time.monotonic()], strict=True)]
    assert max(gaps) < longest


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


def ended(sock: socket.socket) -> bool:
    """The other side closed it; nothing was said on it."""
    with contextlib.suppress(ConnectionError):
        try:
            assert sock.recv(10) == b""
        except BlockingIOError:
            return False
    return True


async def dawdle(address: str, port: int) -> socket.socket:
    sock = socket.socket()
    sock.bind((address, 0))
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, b"\x16")
    return sock
