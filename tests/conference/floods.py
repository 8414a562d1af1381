"""Slow and greedy clients of the page, as one flood each."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine

import aiohttp

from tests.conference.live import Live

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
    """300 WebSockets that never say hello, as many as there are places: they are closed, sooner when others come."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for at in range(5):
            connector = aiohttp.TCPConnector(ssl=False, limit=0, local_addr=(f"127.0.3.{at + 1}", 0))
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            found += [await session.ws_connect(f"{meeting.url}/ws") for _ in range(60)]
        async with asyncio.timeout(90):
            for socket in found:
                while not socket.closed:
                    await socket.receive()


FLOODS = (pipelined, huge_header, slow_bodies, idle_websockets)


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
