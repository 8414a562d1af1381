"""The terminal in a browser: who gets in, how many, and what the page may load."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path

import aiohttp
from aiohttp.test_utils import TestServer

from conference.tickets import Tickets
from edge_agent.text import texts
from edge_agent.ticket import TERMINAL
from edge_agent.tui.serve import COOKIE, HOST, Door

SHOWS = f"exec {sys.executable} -c 'print(\"__GANGLION__\", flush=True); import sys; sys.stdin.buffer.read(1)'"
"""Stands for the screens: begins as a process of textual-serve does, and goes at the first message."""
FORBIDDEN, FULL = int(HTTPStatus.FORBIDDEN), int(HTTPStatus.SERVICE_UNAVAILABLE)


class Visitor:
    """A browser at the door."""

    def __init__(self, server: TestServer, session: aiohttp.ClientSession) -> None:
        """Without a ticket."""
        self._server, self._session = server, session
        self.socket: aiohttp.ClientWebSocketResponse | None = None

    async def enters(self, token: str) -> int:
        """Present a ticket."""
        async with self._session.post(self._server.make_url("/enter"), data=token) as answer:
            return answer.status

    async def sees(self) -> str:
        """The page."""
        async with self._session.get(self._server.make_url("/")) as answer:
            return await answer.text()

    async def opens(self, origin: str = "") -> int:
        """Open the screens; 200 where they stay open."""
        place = origin or f"http://{self._server.host}:{self._server.port}"
        try:
            self.socket = await self._session.ws_connect(self._server.make_url("/ws"), headers={"Origin": place})
        except aiohttp.WSServerHandshakeError as refused:
            return refused.status
        return 200


@asynccontextmanager
async def visitors(tickets: Tickets, count: int) -> AsyncIterator[list[Visitor]]:
    """So many browsers, each with cookies of its own."""
    server = TestServer(Door(SHOWS, tickets, texts("en")).application())
    await server.start_server()
    jars = [aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) for _ in range(count)]
    try:
        yield [Visitor(server, jar) for jar in jars]
    finally:
        for jar in jars:
            await jar.close()
        await server.close()


def visit(folder: Path, count: int, script: Callable[[Tickets, list[Visitor]], Awaitable[None]]) -> None:
    """Run a script with browsers."""

    async def run() -> None:
        tickets = Tickets(folder / "tickets")
        async with asyncio.timeout(20), visitors(tickets, count) as found:
            await script(tickets, found)

    asyncio.run(run())


def ticket(tickets: Tickets, room: str = TERMINAL, life: float = 60.0) -> str:
    """A new one."""
    return tickets.issue(room, "guest", "Centre", "hub", life=life)


def test_ticket_opens_the_screens(tmp_path: Path) -> None:
    """Without one there is a sentence only; with one the screens."""

    async def script(tickets: Tickets, found: list[Visitor]) -> None:
        (visitor,) = found
        assert await visitor.opens() == FORBIDDEN
        assert "textual.js" not in await visitor.sees()
        assert await visitor.enters(ticket(tickets)) == 200
        assert "textual.js" in await visitor.sees()
        assert await visitor.opens() == 200

    visit(tmp_path, 1, script)


def test_other_tickets_open_nothing(tmp_path: Path) -> None:
    """A meeting's, an expired one, a revoked one, none at all."""

    async def script(tickets: Tickets, found: list[Visitor]) -> None:
        revoked = ticket(tickets)
        tickets.revoke(tickets.read(revoked).id)
        for token in (ticket(tickets, room="hop-phuong"), ticket(tickets, life=-1.0), revoked, "", "x" * 7000):
            assert await found[0].enters(token) == FORBIDDEN

    visit(tmp_path, 1, script)


def test_third_visitor_waits(tmp_path: Path) -> None:
    """Each visitor is a process; when one leaves there is room again."""

    async def script(tickets: Tickets, found: list[Visitor]) -> None:
        for visitor in found:
            assert await visitor.enters(ticket(tickets)) == 200
        assert [await visitor.opens() for visitor in found] == [200, 200, FULL]
        assert found[0].socket
        await found[0].socket.close()
        while await found[-1].opens() == FULL:
            await asyncio.sleep(0.05)

    visit(tmp_path, 3, script)


def test_screens_are_served_on_loopback_only() -> None:
    """Whoever wants them elsewhere puts a tunnel or a proxy in front."""
    assert ip_address(HOST).is_loopback


def test_page_of_another_site_gets_nothing(tmp_path: Path) -> None:
    """It has the visitor's cookie where the browser lets it, but not our address."""

    async def script(tickets: Tickets, found: list[Visitor]) -> None:
        assert await found[0].enters(ticket(tickets)) == 200
        assert await found[0].opens(origin="http://evil.example") == FORBIDDEN

    visit(tmp_path, 1, script)


def test_page_loads_from_nowhere_else(tmp_path: Path) -> None:
    """No outside host is contacted, and the ticket stands in no page."""

    async def script(tickets: Tickets, found: list[Visitor]) -> None:
        token = ticket(tickets)
        await found[0].enters(token)
        page = await found[0].sees()
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)
        assert token not in page
        assert COOKIE not in page

    visit(tmp_path, 1, script)


def test_screens_of_a_real_box_come_to_the_browser(tmp_path: Path) -> None:
    """The program itself behind the door: the first screen says what is wrong, in Vietnamese; `q` ends the visit."""
    file = tmp_path / "agent.yaml"
    file.write_text("site: cl-02\nname: Phường Sao Đỏ\nstate: ./state\n", encoding="utf-8")
    command = f"exec {sys.executable} -m edge_agent tui -c {file}"

    async def run() -> None:
        tickets = Tickets(tmp_path / "tickets")
        server = TestServer(Door(command, tickets, texts("vi")).application())
        await server.start_server()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            visitor = Visitor(server, session)
            assert await visitor.enters(ticket(tickets)) == 200
            assert await visitor.opens() == 200
            assert visitor.socket
            seen = b""
            async with asyncio.timeout(30):
                while "Thử lần lượt" not in seen.decode("utf-8", "ignore"):
                    message = await visitor.socket.receive()
                    assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), seen[-500:]
                    seen += message.data if isinstance(message.data, bytes) else b""
                await visitor.socket.send_json(["stdin", "q"])
                while not visitor.socket.closed:
                    await visitor.socket.receive()
        await server.close()

    asyncio.run(run())
