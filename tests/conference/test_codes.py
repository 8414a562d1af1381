"""Meeting codes: the right one opens, guessing does not pay, is told to people and bars nobody who has a ticket."""

import asyncio
import json
import logging
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from conference import messages
from conference.caller import Caller
from conference.codes import DIGITS, ROOM_WINDOW, TRIES_PER_ADDRESS, TRIES_PER_ROOM, Codes, network
from conference.tickets import DEVICE_LIFE, Refused, Tickets
from drivers.meeting import FIELDS, MeetingWatch
from tests.conference.conftest import Clock
from tests.conference.live import Live, Page, live


def tried(codes: Codes, typed: str, address: str) -> str:
    """Why the code was refused; empty: it opened."""
    try:
        codes.enter(typed, address)
    except Refused as refused:
        return refused.reason
    return ""


def off_by(code: str, one: int = 1) -> str:
    """Another code."""
    return f"{(int(code) + one) % 10**DIGITS:0{DIGITS}}"


def test_code_opens_its_room(tmp_path: Path, clock: Clock) -> None:
    """The code may be typed with spaces; a new one replaces it; it expires."""
    codes = Codes(tmp_path, clock)
    code = codes.issue("giao-ban", 3600).code
    assert Codes(tmp_path, clock).enter(f" {code[:4]} {code[4:]} ", "10.0.0.1").room == "giao-ban"
    fresh = codes.issue("giao-ban", 3600).code
    with pytest.raises(Refused):
        codes.enter(code if code != fresh else "0", "10.0.0.1")
    clock.now += 3601
    with pytest.raises(Refused):
        codes.enter(fresh, "10.0.0.2")


def test_guessing_from_one_address_is_stopped(tmp_path: Path, clock: Clock) -> None:
    """Five wrong codes, then none is looked at for a quarter of an hour, not even the right one."""
    codes = Codes(tmp_path, clock)
    code = codes.issue("giao-ban", 10_000).code
    wrong = f"{(int(code) + 1) % 10**8:08}"
    for left in range(TRIES_PER_ADDRESS - 1, -1, -1):
        with pytest.raises(Refused) as caught:
            codes.enter(wrong, "10.0.0.1")
        assert (caught.value.reason, caught.value.left) == ("wrong_code", left)
    with pytest.raises(Refused) as caught:
        codes.enter(code, "10.0.0.1")
    assert caught.value.reason == "too_many"
    assert 0 < caught.value.retry <= 901
    clock.now += 901
    assert codes.enter(code, "10.0.0.1")


def test_guessing_from_many_addresses_is_stopped(tmp_path: Path, clock: Clock) -> None:
    """10,000 guesses from 100 addresses: at most 30 of them are compared in an hour."""
    codes = Codes(tmp_path, clock)
    code = int(codes.issue("giao-ban", 10_000).code)
    compared = 0
    for guess in range(10_000):
        try:
            codes.enter(f"{(code + 1 + guess) % 10**8:08}", f"10.0.{guess % 100}.1")
        except Refused as refused:
            compared += refused.reason == "wrong_code"
    assert compared == TRIES_PER_ROOM


def test_ten_thousand_guesses_hardly_ever_meet() -> None:
    """One in a thousand is allowed: 10,000 codes of 8 digits are one in ten thousand even if all were compared."""
    assert 10_000 / 10**DIGITS <= 0.001
    a_day = TRIES_PER_ROOM * 86_400 / ROOM_WINDOW
    assert a_day / 10**DIGITS < 0.00001


def test_withdrawn_code_puts_out_who_came_by_it(tmp_path: Path, clock: Clock) -> None:
    """It opens nothing any more, and a ticket that it gave is refused; the other room's code stays."""
    codes, tickets = Codes(tmp_path, clock), Tickets(tmp_path, clock)
    leaked, other = codes.issue("giao-ban", 3600), codes.issue("tuan", 3600)
    came = [tickets.passing(code.room, code.role, "Lan", "cl-02", code.id) for code in (leaked, other)]
    assert codes.withdraw(leaked.id)
    assert not codes.withdraw(leaked.id)
    assert tickets.revoke(leaked.id)
    assert codes.all() == [other]
    with pytest.raises(Refused, match="revoked"):
        tickets.read(came[0])
    assert tickets.read(came[1]).room == "tuan"


def test_guessing_at_one_room_does_not_lock_another(tmp_path: Path, clock: Clock) -> None:
    """A room whose code came after the guessing still opens; the locked one opens again after an hour."""
    codes = Codes(tmp_path, clock)
    first = codes.issue("giao-ban", 10_000).code
    for at in range(TRIES_PER_ROOM):
        assert tried(codes, off_by(first), f"10.0.{at}.1") == "wrong_code"
    assert tried(codes, first, "10.1.0.1") == "too_many"
    second = codes.issue("tuan", 10_000).code
    assert codes.enter(second, "10.1.0.1").room == "tuan"
    assert tried(codes, first, "10.1.0.2") == "wrong_code"
    assert codes.guesses().rooms == ("giao-ban",)
    clock.now += ROOM_WINDOW + 1
    assert codes.enter(first, "10.1.0.1").room == "giao-ban"
    assert codes.guesses().rooms == ()


def test_guessing_where_no_code_is_looks_the_same(tmp_path: Path, clock: Clock) -> None:
    """The answers do not tell whether any room has a code."""
    answers = []
    for folder in (tmp_path / "none", tmp_path / "one"):
        codes = Codes(folder, clock)
        wrong = "00000000"
        if folder.name == "one":
            wrong = off_by(codes.issue("giao-ban", 10_000).code)
        answers.append([tried(codes, wrong, f"10.0.{at // 7}.1") for at in range(100)])
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1", "fe80::2", False),
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("", "", True),
    ],
)
def test_address_for_the_limit(one: str, other: str, same: bool) -> None:
    """An IPv6 subscriber has one network of addresses and counts once; neighbours on the cable count each."""
    assert (network(one) == network(other)) is same


def test_each_lock_is_one_line(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """10,000 guesses: a line for each address that was locked and one for the room, with address and number."""
    codes = Codes(tmp_path, clock)
    wrong = off_by(codes.issue("giao-ban", 10_000).code)
    with caplog.at_level(logging.INFO):
        reasons = Counter(tried(codes, wrong, f"10.0.{guess // 100}.1") for guess in range(10_000))
    assert reasons == {"wrong_code": TRIES_PER_ROOM, "too_many": 10_000 - TRIES_PER_ROOM}
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "codes guessed address=10.0.0.1 wrong=5 locked_s=900"
    assert said[-1] == "codes guessed room=giao-ban wrong=30 locked_s=3600"
    assert len(said) == TRIES_PER_ROOM // TRIES_PER_ADDRESS + 1
    told = codes.guesses()
    assert (told.wrong, told.turned_away, told.locks) == (30, 9_970, 7)
    assert (len(told.addresses), told.rooms, told.last_address) == (6, ("giao-ban",), "10.0.5.1")


# --- over the network -------------------------------------------------------------------------------------------------


async def enter(meeting: Live, session: aiohttp.ClientSession, **wanted: str) -> tuple[int, dict[str, object]]:
    """Ask for a ticket, claiming another address as a proxy would."""
    headers = {"X-Forwarded-For": f"10.9.{time.monotonic_ns() % 250}.7", "Forwarded": "for=10.1.1.1"}
    data = json.dumps(wanted)
    async with session.post(f"{meeting.url}/api/enter", data=data, headers=headers) as response:
        return response.status, await response.json()


def coming_from(address: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, local_addr=(address, 0)))


def test_guessing_is_told_and_bars_no_ticket(tmp_path: Path) -> None:
    """300 guesses from 10 addresses, whatever their headers claim: 30 are looked at, people are told, tickets open."""
    control = tmp_path / "m.sock"

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False, control=control) as meeting:
            code = Codes(tmp_path / "tickets").issue("giao-ban", 3600).code
            device = Tickets(tmp_path / "tickets").issue("giao-ban", "site", "A", "a", life=DEVICE_LIFE, device=True)
            reasons: Counter[object] = Counter()
            for at in range(10):
                async with coming_from(f"127.0.6.{at + 1}") as session:
                    for _ in range(30):
                        reasons[(await enter(meeting, session, code=off_by(code)))[1]["reason"]] += 1
            assert reasons == {"wrong_code": TRIES_PER_ROOM, "too_many": 300 - TRIES_PER_ROOM}
            async with coming_from("127.0.6.1") as session:
                assert (await enter(meeting, session, code=code))[1]["reason"] == "too_many"
                here = Live(meeting.settings, meeting.port, session)
                page = Page(here, Caller())
                await page.enter(device)
                assert messages.Welcome in page.state
                await page.drop()
            assert (await meeting.status()).guesses.rooms == ("giao-ban",)
            async with meeting.session.get(f"{meeting.url}/metrics") as response:
                text = await response.text()
            assert "edge_meeting_wrong_codes_total 30\n" in text
            assert "edge_meeting_code_locks 7\n" in text
            await alarmed(control)

    asyncio.run(scenario())


async def alarmed(control: Path) -> None:
    """The agent's driver hears of it: readings and an alarm with the address."""
    watch = MeetingWatch(control)
    batch = await anext(aiter(watch.readings()))
    readings = dict(zip(FIELDS, batch.readings[0].values, strict=True))
    assert (readings["wrong_codes"], readings["code_locks"]) == (30, 7)
    [trouble] = watch.troubles()
    assert (trouble.what, trouble.facts) == ("meeting_codes_guessed", {"address": "127.0.6.6"})
    assert abs(trouble.since - time.time()) < 60


def test_code_is_no_ticket(tmp_path: Path) -> None:
    """Guessing over the WebSocket and at the standard clients' doors: a code is refused there, right or wrong."""

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False) as meeting:
            code = Codes(tmp_path / "tickets").issue("giao-ban", 3600).code
            for typed in (code, off_by(code)):
                page = Page(meeting, Caller())
                await page.enter(typed)
                assert page.state[messages.Refusal] == messages.Refusal("invalid")
                await page.drop()
                for door in ("whip", "whep"):
                    assert (await posted(meeting, f"/{door}/giao-ban", typed))[0] == 401

    asyncio.run(scenario())


async def posted(meeting: Live, path: str, token: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
    async with meeting.session.post(meeting.url + path, data="v=0\r\n", headers=headers) as response:
        return response.status, await response.text()


Ask = Callable[[], Awaitable[object]]
ROOMS = ("giao-ban", "unknown")
TURNS = 40
EQUAL = 0.005
"""Seconds by which the medians may differ (reliability test 21)."""


def test_codes_take_equally_long(tmp_path: Path) -> None:
    """A right code and a wrong one, before the lock and behind it: nothing is told by the time."""

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False) as meeting:
            code = Codes(tmp_path / "tickets").issue("giao-ban", 3600).code
            sessions = [coming_from(f"127.0.7.{at + 1}") for at in range(TURNS)]
            for session in sessions:  # the first request also shakes hands
                await enter(meeting, session)
            right = [partial(enter, meeting, session, code=code) for session in sessions]
            wrong = [partial(enter, meeting, session, code=off_by(code)) for session in sessions]
            found = await medians({"right": right, "wrong": wrong[: TRIES_PER_ROOM - 1]})
            for ask in wrong[TRIES_PER_ROOM - 1 :]:
                await ask()
            found |= await medians({"right, locked": right, "wrong, locked": wrong})
            assert max(found.values()) - min(found.values()) < EQUAL, found
            for session in sessions:
                await session.close()

    asyncio.run(scenario())


def test_tickets_take_equally_long(tmp_path: Path) -> None:
    """Good, revoked and forged tickets at a room that is and one that is not; a forged one learns of no room."""

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False) as meeting:
            good, revoked = meeting.ticket(), meeting.ticket()
            meeting.tickets.revoke(meeting.tickets.read(revoked).id)
            forged = good[:-6] + "AAAAAA"
            assert {(await posted(meeting, f"/whip/{room}", forged)) for room in ROOMS} == {(401, "invalid")}
            found = await medians(
                {
                    f"{what} {room}": [partial(posted, meeting, f"/whip/{room}", token)] * TURNS
                    for what, token in (("good", good), ("revoked", revoked), ("forged", forged))
                    for room in ROOMS
                }
            )
            assert max(found.values()) - min(found.values()) < EQUAL, found

    asyncio.run(scenario())


async def medians(ways: Mapping[str, Sequence[Ask]]) -> dict[str, float]:
    """Median seconds of each way, asked in turn, so that whatever else the machine does meets all alike."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(TURNS):
        for way, asks in ways.items():
            if turn < len(asks):
                began = time.perf_counter()
                await asks[turn]()
                took[way].append(time.perf_counter() - began)
    return {way: statistics.median(times) for way, times in took.items()}
