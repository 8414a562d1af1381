"""`edge tui --serve` in Chromium: in by a ticket of the command line, both languages, keys, and who stays outside."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, WebSocket

from conference.tickets import Tickets
from edge_agent.demo_servers import free_port
from edge_agent.ticket import TERMINAL
from edge_agent.tui.serve import MOST
from tests.conference.browser import chromium, needs_chromium
from tests.waiting import wait_until

CONFIG = """
site: cl-02
name: Phường Sao Đỏ
state: ./s
control: ./agent.sock
box: {{every: 1s}}
journal: {{max_bytes: 16MiB}}
meeting: {{listen: "127.0.0.1:{port}", room: giao-ban, state: ./m}}
"""
PATIENCE = 40.0
"""Seconds: each visitor is a process that starts."""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z$]")


class Place:
    """A box with the door open."""

    def __init__(self, folder: Path) -> None:
        """Start both."""
        self.folder, self.port = folder, free_port()
        self.file = folder / "agent.yaml"
        self.file.write_text(CONFIG.format(port=free_port()), encoding="utf-8")
        self._running = [self._start("run"), self._start("tui", "--serve", "--port", str(self.port))]
        assert wait_until((folder / "agent.sock").exists, PATIENCE)
        assert wait_until(lambda: "serving" in (folder / "tui.log").read_text(), PATIENCE)

    def _start(self, command: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{command}.log").open("wb") as log:
            line = [sys.executable, "-m", "edge_agent", command, "-c", str(self.file), *words]
            return subprocess.Popen(line, stderr=log)

    def link(self) -> str:
        """As the command prints it."""
        words = ("ticket", "issue", "--terminal", "--port", str(self.port), "--json", "-c", str(self.file))
        done = subprocess.run([sys.executable, "-m", "edge_agent", *words], capture_output=True, check=True)
        return str(json.loads(done.stdout)["link"])

    def expired(self) -> str:
        """A link whose time is over."""
        token = Tickets(self.folder / "m/tickets").issue(TERMINAL, "guest", "Centre", "hub", life=-1.0)
        return f"http://127.0.0.1:{self.port}/#t={token}"

    def end(self) -> None:
        """Stop both."""
        for process in self._running:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """One for this test."""
    found = Place(tmp_path)
    yield found
    found.end()


class Visitor:
    """A browser, and what its terminal was sent."""

    def __init__(self, page: Page) -> None:
        """Nothing yet."""
        self.page, self._sent, self.faults = page, "", list[str]()
        page.on("websocket", self._listen)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._take)

    def _take(self, frame: bytes | str) -> None:
        if isinstance(frame, bytes):
            self._sent += frame.decode("utf-8", "replace")

    async def shows(self, words: str) -> None:
        """Wait for words on the screens."""
        await until(lambda: words in ESCAPES.sub("", self._sent), words)

    async def says(self, words: str) -> None:
        """Wait for words on the page around them."""
        for _ in range(int(PATIENCE * 10)):
            if words in await self.page.inner_text("body"):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(words)


async def until(true: Callable[[], bool], what: str) -> None:
    """Wait."""
    for _ in range(int(PATIENCE * 10)):
        if true():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(what)


async def comes(browser: Browser, link: str) -> Visitor:
    """Somebody with a browser and cookies of their own opens a link."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    visitor = Visitor(await context.new_page())
    await visitor.page.goto(link)
    return visitor


@needs_chromium
def test_visitor_from_the_centre(place: Place) -> None:
    """Keys work without a click, letters have their marks, the third waits outside, an expired ticket opens nothing."""

    async def script() -> None:
        async with chromium() as browser:
            first = await comes(browser, place.link())
            await first.shows("Dịch vụ họp không trả lời")
            assert await first.page.evaluate("document.fonts.check('16px \"Roboto Mono\"')")
            assert "#t=" not in first.page.url
            await first.page.keyboard.press("l")
            await first.shows("The meeting service does not answer")
            await first.page.keyboard.press("8")
            await first.shows("Recent changes")
            others = [await comes(browser, place.link()) for _ in range(MOST)]
            await others[0].shows("Dịch vụ họp không trả lời")
            await others[1].says("Đang có 2 người xem")
            await (await comes(browser, place.expired())).says("không dùng được nữa")
            await first.page.keyboard.press("q")
            await first.says("Đã đóng")
            await others[1].shows("Dịch vụ họp không trả lời")
            assert first.faults == []

    asyncio.run(script())
