"""A live meeting in the test's own event loop, and pages that are a WebSocket and a small client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from conference import messages, rtp
from conference.caller import OPUS_TYPE, VP8_TYPE, Caller
from conference.figures import Status
from conference.messages import Answer, FromPage, Refusal, ToPage, Welcome
from conference.server import run
from conference.settings import Settings
from conference.tickets import Role, Tickets

FRAME = 1 / 15
KEY_FRAME = b"\x90\xe0\x80\x00\x00\x20" + bytes((0x10, 0, 0)) + bytes(900)
DELTA_FRAME = b"\x90\xe0\x80\x00\x00\x20" + bytes((0x11, 0, 0)) + bytes(300)


class Live:
    """A running server."""

    def __init__(self, settings: Settings, port: int, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self.port = port
        self.session = session
        self.url = f"https://127.0.0.1:{port}"
        self.tickets = Tickets(settings.tickets)

    async def status(self) -> Status:
        async with self.session.get(f"{self.url}/status") as response:
            return msgspec.json.decode(await response.read(), type=Status)

    def ticket(self, role: Role = "site", site: str = "", room: str = "giao-ban") -> str:
        return self.tickets.issue(room, role, f"{role} {site}", site or "cl-02")

    async def join(self, role: Role = "site", site: str = "", **slots: int) -> Page:
        page = Page(self, Caller(**{"audio_slots": 3, "video_slots": 6, **slots}))  # type: ignore[arg-type]
        await page.enter(self.ticket(role, site))
        await page.call()
        return page


@contextlib.asynccontextmanager
async def live(state: Path, port_number: int = 0, **settings: Any) -> AsyncIterator[Live]:
    """Serve on a port of 127.0.0.1, a free one if none is named, or where `listen` says."""
    made = Settings.model_validate({"listen": f"127.0.0.1:{port_number}", "state": state} | settings)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(run(made, port.set_result))
    await asyncio.wait((serving, port), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Live(made, port.result(), session)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


@contextlib.asynccontextmanager
async def nothing_unhandled() -> AsyncIterator[None]:
    """Whatever happens inside, the event loop's last resort hears nothing of it."""
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    yield
    assert problems == []


async def watched(meeting: Live) -> tuple[Page, Page]:
    """A page that sends, and one that sees its picture."""
    sender, viewer = [await meeting.join(site=f"cl-0{n}") for n in range(2)]
    sender.send_media()
    await viewer.until(lambda: bool(viewer.sees()))
    return sender, viewer


class Page:
    """What a browser's page does, without a browser."""

    def __init__(self, live: Live, caller: Caller) -> None:
        self.live = live
        self.caller = caller
        self.state: dict[type, ToPage] = {}
        self.heard: Counter[int] = Counter()
        self.packets: list[tuple[float, rtp.Packet]] = []
        self.welcome = Welcome(1, 0, "", "", "", "", 0, 0, 0, 0)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        caller.on_rtp = self._rtp

    def _rtp(self, packet: rtp.Packet, now: float) -> None:
        self.heard[packet.ssrc] += 1
        self.packets.append((now, packet))

    async def enter(self, ticket: str, room: str = "giao-ban", seat: str = "", name: str = "") -> None:
        self._socket = await self.live.session.ws_connect(f"{self.live.url}/ws")
        await self.say(messages.Hello(messages.VERSION, ticket, room, name, seat))
        self._tasks.append(asyncio.create_task(self._listen()))
        await self.until(lambda: Welcome in self.state or Refusal in self.state)
        if Welcome in self.state:
            self.welcome = self.state[Welcome]  # type: ignore[assignment]

    async def call(self) -> None:
        await self.say(messages.Offer(self.caller.offer()))
        await self.until(lambda: Answer in self.state)
        answer = self.state[Answer]
        assert isinstance(answer, Answer)
        self.answer = answer.sdp
        await self.caller.connect(answer.sdp)
        await self.say(messages.State(mic=True, camera=True))
        self._tasks.append(asyncio.create_task(self.caller.keep()))

    async def say(self, message: FromPage) -> None:
        assert self._socket is not None
        await self._socket.send_str(msgspec.json.encode(message).decode())

    async def _listen(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            told = msgspec.json.decode(message.data, type=ToPage)
            self.state[type(told)] = told
            self._news.set()

    async def until(self, true: Any, within: float = 20.0) -> None:
        """Wait until something holds."""
        end = time.monotonic() + within
        while not true():
            assert time.monotonic() < end, f"not within {within} s: {self.state.keys()}"
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), 0.05)

    def send_media(self, *, level: int = 30, more: int = 0) -> None:
        """Send pictures and sound until hung up: 15 frames (`more` bytes larger) and 50 voice packets a second."""
        self._tasks.append(asyncio.create_task(self._pictures(bytes(more))))
        self._tasks.append(asyncio.create_task(self._voice(level)))

    async def _pictures(self, more: bytes) -> None:
        wants_key = [True]
        self.caller.on_rtcp = lambda found: wants_key.append(any(type(m).__name__ == "KeyFrameRequest" for m in found))
        for frame in range(100_000):
            key = any(wants_key)
            wants_key.clear()
            payload = KEY_FRAME if key else DELTA_FRAME
            payload = payload[:2] + (0x8000 | frame & 0x7FFF).to_bytes(2, "big") + payload[4:] + more
            self.caller.send_rtp(VP8_TYPE | 128, frame, frame * 6000, payload, video=True)
            await asyncio.sleep(FRAME)

    async def _voice(self, level: int) -> None:
        for frame in range(100_000):
            self.caller.send_rtp(OPUS_TYPE, frame, frame * 960, b"voice" * 10, video=False, level=level)
            await asyncio.sleep(0.02)

    def slots(self) -> messages.Slots:
        found = self.state.get(messages.Slots, messages.Slots((), ()))
        assert isinstance(found, messages.Slots)
        return found

    def members(self) -> dict[int, messages.Person]:
        found = self.state.get(messages.Members, messages.Members(()))
        assert isinstance(found, messages.Members)
        return {person.id: person for person in found.people}

    def person(self, id: int) -> messages.Person:
        return self.members().get(id, messages.Person(id, "", "", ""))

    def sees(self) -> set[int]:
        return {seen.member for seen in self.slots().video if seen.member}

    def hears(self) -> set[int]:
        return set(self.slots().audio) - {0}

    async def drop(self) -> None:
        """Go without a goodbye."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._socket is not None:
            await self._socket.close()
        await self.caller.close()
