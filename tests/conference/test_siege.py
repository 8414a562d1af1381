"""Each attack of the reliability facts' tests 20, 21, 23, 24 and 25 in full, on a meeting in a process of its own.

While it runs the picture goes on without a gap of a second, the page opens for a newcomer, the loop is never late and
the log stays short. For a machine that has nothing else to do: `make faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import math
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from conference import messages
from conference.caller import Caller
from conference.codes import TRIES_PER_ROOM, Codes
from tests.conference.apart import Apart, apart
from tests.conference.attacks import (
    ATTACKS,
    HELLO,
    Attack,
    assert_went_on,
    bad_messages,
    bad_offers,
    inside_mutated,
    shoot,
)
from tests.conference.floods import FLOODS, TRUSTING, Flood, dawdle, ended
from tests.conference.live import Live, Page

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

GAP, ANSWER, LAG, LINES = 1.0, 1.0, 200.0, 100
"""Seconds without a packet, seconds to open the page, milliseconds (99th percentile) the loop is late, lines logged."""
AT_ONCE = 0.2
"""Seconds to open the page while others are greedy at its own door."""
PAUSE = 0.2
"""Seconds between two looks at the page."""
WINDOW = 10.0
"""Seconds of which the lag is told; each siege lasts at least so long."""
CUT = 10.0
"""Seconds after which an attacker's connection is cut off."""


class Probe(threading.Thread):
    """Opens the page as a newcomer does, again and again, and notes how long it took."""

    def __init__(self, port: int) -> None:
        super().__init__(name="probe")
        self.took: list[float] = []
        self.late = 0.0
        """Seconds that the machine woke this thread late, at worst: what others on it cost is not the meeting's."""
        self._port = port
        self._end = threading.Event()

    def run(self) -> None:
        due = time.perf_counter() + PAUSE
        while not self._end.wait(PAUSE):
            began = time.perf_counter()
            self.late = max(self.late, began - due)
            self.took.append(time.perf_counter() - began if self._answered() else math.inf)
            due = time.perf_counter() + PAUSE

    def _answered(self) -> bool:
        asked = http.client.HTTPSConnection(
            "127.0.0.1", self._port, timeout=10, context=TRUSTING, source_address=("127.0.5.1", 0)
        )
        with contextlib.closing(asked), contextlib.suppress(OSError, http.client.HTTPException):
            asked.request("GET", "/api/home")
            return asked.getresponse().status == 200
        return False

    def stop(self) -> None:
        self._end.set()
        self.join()


@contextlib.asynccontextmanager
async def besieged(folder: Path, answer: float = ANSWER, **settings: object) -> AsyncIterator[tuple[Apart, list[Page]]]:
    """A meeting of three, of whom the first sends and the third watches; what it promises is checked at the end."""
    async with apart(folder, **settings) as meeting:
        pages = [await meeting.join(site=f"cl-0{n}") for n in range(3)]
        pages[0].send_media()
        await pages[2].until(lambda: pages[0].welcome.you in pages[2].sees())
        probe = Probe(meeting.port)
        probe.start()
        began = time.monotonic()
        try:
            yield meeting, pages
            await asyncio.sleep(max(1.0, began + WINDOW - time.monotonic()))
        finally:
            await asyncio.to_thread(probe.stop)
        assert_went_on(pages[2], began, GAP)
        assert max(probe.took) < answer + probe.late, sorted(probe.took)[-5:]
        assert (await meeting.status()).load.lag_ms < LAG + 1000 * probe.late
        assert len(meeting.lines()) < LINES, meeting.lines()[-5:]
        for page in pages:
            await page.drop()


# --- test 20: slow and greedy clients ---------------------------------------------------------------------------------


async def slow_loris(meeting: Live) -> None:
    """1,100 connections that say a byte now and then, more than the meeting has descriptors."""
    since = {}
    for at in range(1_100):
        sock = await dawdle(f"127.0.1.{at % 55 + 1}", meeting.port)
        since[sock] = time.monotonic()
    said = time.monotonic()
    while since:
        for sock in list(since):
            if ended(sock):
                assert time.monotonic() - since.pop(sock) < CUT
                sock.close()
        if time.monotonic() - said > 3:
            said = time.monotonic()
            for sock in since:
                with contextlib.suppress(OSError):
                    sock.send(b"\x03")
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("flood", [slow_loris, *FLOODS])
def test_greedy_clients(flood: Flood, tmp_path: Path) -> None:
    """The page opens at once all the while, they are cut off within ten seconds, for less than half a core."""

    async def scenario() -> None:
        async with besieged(tmp_path, answer=AT_ONCE) as (meeting, _pages):
            before, began = meeting.cpu(), time.monotonic()
            await flood(meeting)
            assert time.monotonic() - began < CUT + 2  # two seconds to open them all
            await asyncio.sleep(max(0.0, 3 - (time.monotonic() - began)))
            assert (meeting.cpu() - before) / (time.monotonic() - began) < 0.5

    asyncio.run(scenario())


# --- test 21: guessing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("addresses", [1, 100])
def test_ten_thousand_guesses(addresses: int, tmp_path: Path) -> None:
    """10,000 codes over HTTP and 200 over WebSockets, with forged headers: thirty at most are looked at."""

    async def scenario() -> None:
        async with besieged(tmp_path, open_rooms=False) as (meeting, _pages):
            code = int(Codes(tmp_path / "tickets").issue("giao-ban", 3600).code)
            reasons: Counter[str] = Counter()
            for at in range(100):
                connector = aiohttp.TCPConnector(ssl=False, local_addr=(f"127.0.8.{at % addresses + 1}", 0))
                async with aiohttp.ClientSession(connector=connector) as session:
                    for turn in range(100):
                        reasons[await guessed(meeting, session, code + 1 + at * 100 + turn)] += 1
                    for turn in range(2):
                        page = Page(Live(meeting.settings, meeting.port, session), Caller())
                        await page.enter(f"{(code + turn) % 10**8:08}")
                        assert page.state[messages.Refusal] == messages.Refusal("invalid")
                        await page.drop()
            looked_at = 5 if addresses == 1 else TRIES_PER_ROOM
            assert reasons == {"wrong_code": looked_at, "too_many": 10_000 - looked_at}

    asyncio.run(scenario())


async def guessed(meeting: Live, session: aiohttp.ClientSession, code: int) -> str:
    headers = {"X-Forwarded-For": f"10.0.{code % 250}.1", "X-Real-IP": f"10.0.{code % 250}.1"}
    body = {"code": f"{code % 10**8:08}"}
    async with session.post(f"{meeting.url}/api/enter", json=body, headers=headers) as response:
        return str((await response.json())["reason"])


# --- test 23: datagrams from nobody -----------------------------------------------------------------------------------


RNG = random.Random(11)
STRAYS: dict[str, Callable[[], list[bytes]]] = {
    "empty": lambda: [b""] * 20,
    "one byte": lambda: [bytes((first,)) for first in range(256)],
    "alert": lambda: [b"\x15\xfe\xfd" + bytes(8) + b"\0\x02\x02\x28"] * 20,
    "hello": lambda: [HELLO] * 20,
    "random": lambda: [RNG.randbytes(RNG.randint(0, 300)) for _ in range(20_000)],
    "flood": lambda: [RNG.randbytes(100) for _ in range(1_000)] * 200,
}


@pytest.mark.parametrize("kind", STRAYS)
def test_strays_before_and_after_the_handshake(kind: str, tmp_path: Path) -> None:
    """Ten runs of ten: the call comes up, stays up and its messages arrive."""

    async def scenario() -> None:
        async with besieged(tmp_path) as (meeting, pages):
            for _ in range(10):
                await one_call(meeting, pages[2], partial(shoot, meeting, STRAYS[kind]()))

    asyncio.run(scenario())


async def one_call(meeting: Live, other: Page, attack: Callable[[], Coroutine[None, None, None]]) -> None:
    """A call that is attacked from its offer to the first picture, and again when it is up."""
    page = Page(meeting, Caller(audio_slots=1, video_slots=2))
    await page.enter(meeting.ticket())
    await page.say(messages.Offer(page.caller.offer()))
    await page.until(lambda: messages.Answer in page.state)
    answer = page.state[messages.Answer]
    assert isinstance(answer, messages.Answer)
    before = asyncio.create_task(attack())
    await page.caller.connect(answer.sdp)
    await page.say(messages.State(mic=True, camera=True))
    await before
    await page.until(lambda: len(page.packets) > 5)
    for up in (True, False):
        await attack()
        await page.say(messages.Hand(up=up))
        await other.until(lambda u=up: (other.person(page.welcome.you).hand > 0) is u)
    seen = len(page.packets)
    await page.until(lambda: len(page.packets) > seen + 5)
    await page.say(messages.Leave())
    await page.drop()


# --- tests 24 and 25: malformed checks, packets and descriptions ------------------------------------------------------


SPOKEN = (bad_offers, bad_messages)
"""Once each: these take seats, and who takes one stands in the log."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_on_a_process_of_its_own(attack: Attack, tmp_path: Path) -> None:
    """Again and again for ten seconds: others lose no second of the picture, and the loop is never late."""

    async def scenario() -> None:
        async with besieged(tmp_path) as (meeting, pages):
            began = time.monotonic()
            await attack(meeting, pages)
            while attack not in SPOKEN and time.monotonic() - began < WINDOW:
                await attack(meeting, pages)

    asyncio.run(scenario())


def test_hundred_thousand_mutations(tmp_path: Path) -> None:
    """100,000 damaged packets of a joined client."""

    async def scenario() -> None:
        async with besieged(tmp_path) as (meeting, pages):
            await inside_mutated(meeting, pages, 100_000)

    asyncio.run(scenario())
