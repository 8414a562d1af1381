"""Slow and greedy clients of the page: it goes on answering, they are cut off, and the log stays short."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import aiohttp
import pytest

from tests.conference.live import Live, live

REQUEST = b"GET /api/home HTTP/1.1\r\nHost: box\r\n\r\n"
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE
Flood = Callable[[Live], Coroutine[None, None, None]]


async def opened(meeting: Live, at: int = 1) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS connection from an address of its own."""
    return await asyncio.open_connection(
        "127.0.0.1", meeting.port, ssl=TRUSTING, local_addr=(f"127.0.2.{at % 200 + 1}", 0)
    )


async def cut_off(reader: asyncio.StreamReader) -> bytes:
    """Everything the box says until it ends the connection."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        async with asyncio.timeout(60):
            return await reader.read(-1)
    return b""


async def sends(meeting: Live, data: bytes, at: int = 1) -> bytes:
    """Send all of it and wait for the end."""
    reader, writer = await opened(meeting, at)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        writer.write(data)
        await writer.drain()
    said = await cut_off(reader)
    writer.close()
    return said


async def pipelined(meeting: Live) -> None:
    """10,000 requests at once on one connection are not 10,000 answers."""
    assert (await sends(meeting, REQUEST * 10_000)).count(b"HTTP/1.1 200") <= 16


async def huge_header(meeting: Live) -> None:
    """A header of 1 MB is not read to its end."""
    assert b" 200 " not in await sends(meeting, REQUEST[:-2] + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n")


async def slow_bodies(meeting: Live) -> None:
    """Forty bodies that are announced and do not come, to both doors that read one."""
    token = meeting.ticket().encode()
    heads = (
        b"POST /api/enter HTTP/1.1\r\nHost: box\r\nContent-Length: 60\r\n\r\n{",
        b"POST /whip/giao-ban HTTP/1.1\r\nHost: box\r\nContent-Type: application/sdp\r\nAuthorization: Bearer "
        + token
        + b"\r\nContent-Length: 900\r\n\r\nv",
    )
    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(sends(meeting, heads[at % 2], at)) for at in range(40)]
    assert all(b" 200 " not in answer.result() and b" 201 " not in answer.result() for answer in answers)


async def idle_websockets(meeting: Live) -> None:
    """250 WebSockets that never say hello are closed."""
    connector = aiohttp.TCPConnector(ssl=False, limit=0, local_addr=("127.0.3.1", 0))
    others = [aiohttp.TCPConnector(ssl=False, limit=0, local_addr=(f"127.0.3.{at}", 0)) for at in range(2, 6)]
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for one in (connector, *others):
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=one))
            found += [await session.ws_connect(f"{meeting.url}/ws") for _ in range(50)]
        async with asyncio.timeout(90):
            for socket in found:
                while not socket.closed:
                    await socket.receive()


FLOODS = (pipelined, huge_header, slow_bodies, idle_websockets)


@pytest.mark.parametrize("flood", FLOODS)
def test_page_answers_through(flood: Flood, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A probe is answered all the while, the greedy are cut off, and less than a hundred lines are logged."""
    flooded(flood, tmp_path, longest=10.0)
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) < 100


@pytest.mark.faults
@pytest.mark.parametrize("flood", FLOODS)
def test_page_answers_at_once_through(flood: Flood, tmp_path: Path) -> None:
    """The same within half a second each time, on a machine that has the time for it."""
    flooded(flood, tmp_path, longest=0.5)


def flooded(flood: Flood, folder: Path, longest: float) -> None:
    """One flood on a live meeting; `longest`: seconds that the page may take to answer meanwhile."""

    async def scenario() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
        async with live(folder) as meeting:
            attacking = asyncio.create_task(flood(meeting))
            while not attacking.done():
                began = time.monotonic()
                async with meeting.session.get(f"{meeting.url}/api/home") as response:
                    assert response.status == 200
                assert time.monotonic() - began < longest
                await asyncio.sleep(0.2)
            await attacking
        assert problems == []

    asyncio.run(scenario())
