"""Hostile packets, descriptions and messages, as one attack each on a live meeting."""

import asyncio
import contextlib
import itertools
import os
import random
import socket
import struct
import time
from collections.abc import Awaitable, Callable

import aiohttp

from conference import dtls, messages, rtcp, sdp, stun
from conference.caller import Caller
from tests.conference.live import Live, Page

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
            if at % 50 == 0:
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


async def inside_mutated(_meeting: Live, pages: list[Page], packets: int = 20_000) -> None:
    """Packets of a joined client with changed bytes, before and after they are encrypted."""
    rng, caller = random.Random(5), pages[1].caller
    for turn in range(packets):
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


async def data_channel_packets(_meeting: Live, pages: list[Page]) -> None:
    """SCTP in the client's own DTLS though no data channel was agreed: INIT with an empty parameter, short SACK."""
    tunnel = pages[1].caller._tunnel
    assert tunnel is not None
    head = struct.pack(">HHII", 5000, 5000, 0, 0)
    init = struct.pack(">BBHIIHHI", 1, 0, 24, 1, 131_072, 10, 10, 1) + struct.pack(">HH", 0xC000, 0)
    for chunk in [init, struct.pack(">BBH", 3, 0, 4), b"\x03\0\0\0", b"", bytes(1_000)] * 20:
        await tunnel._transport._send_data(head + chunk)
        await asyncio.sleep(0)


async def many_checks(_meeting: Live, pages: list[Page]) -> None:
    """A joined client asks for its path 10,000 times in a second, and each is answered."""
    caller = pages[1].caller
    request = stun.request(caller._username, caller._key, os.urandom(12))
    for at in range(10_000):
        caller.send(request)
        if at % 100 == 99:
            await asyncio.sleep(0.01)


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
    data_channel_packets,
    many_checks,
    many_streams,
    bad_offers,
    bad_messages,
)


def assert_went_on(viewer: Page, began: float, longest: float = 1.0) -> None:
    times = [when for when, packet in viewer.packets if when > began and packet.pt == 96]
    ends = [began, *times, time.monotonic()]
    gaps = {round(before - began, 2): round(after - before, 2) for before, after in itertools.pairwise(ends)}
    assert max(gaps.values()) < longest, f"{len(times)} packets; pauses {{at second: seconds}}: " + str(
        {at: gap for at, gap in gaps.items() if gap > longest / 2}
    )
