"""The page's HTTP side: entering, codes, origins, status, certificate, settings."""

import asyncio
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from conference import certificate, messages
from conference.caller import Caller
from conference.codes import Codes
from conference.settings import Meeting, Settings
from tests.conference.live import Live, Page, live


async def enter(meeting: Live, **wanted: str) -> tuple[int, dict[str, object]]:
    headers = {"X-Forwarded-For": "10.9.8.7", "X-Real-IP": "10.9.8.7"}
    data = json.dumps(wanted)
    async with meeting.session.post(f"{meeting.url}/api/enter", data=data, headers=headers) as response:
        return response.status, await response.json()


def test_open_door_gives_a_guest_ticket(tmp_path: Path) -> None:
    """Without a ticket people come in as guests under the name they gave."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            status, told = await enter(meeting, name=" Chị  Hoa ")
            assert status == 200
            page = Page(meeting, Caller())
            await page.enter(str(told["ticket"]), str(told["room"]))
            assert (page.welcome.role, page.welcome.name) == ("guest", "Chị Hoa")
            await page.drop()

    asyncio.run(scenario())


def test_code_guessing_over_http_is_stopped(tmp_path: Path) -> None:
    """Five wrong codes whatever the headers claim; then even the right one waits; a ticket still opens."""

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False) as meeting:
            code = Codes(tmp_path / "tickets").issue("giao-ban", 3600).code
            wrong = f"{(int(code) + 1) % 10**8:08}"
            assert (await enter(meeting))[1]["reason"] == "code_needed"
            for left in (4, 3, 2, 1, 0):
                assert await enter(meeting, code=wrong) == (
                    403,
                    {"t": "refusal", "reason": "wrong_code", "retry": 0, "left": left},
                )
            assert (await enter(meeting, code=code))[1]["reason"] == "too_many"
            page = Page(meeting, Caller())
            await page.enter(meeting.ticket())
            assert messages.Welcome in page.state
            await page.drop()

    asyncio.run(scenario())


def test_right_code_opens(tmp_path: Path) -> None:
    """A code printed on the notice leads into its room."""

    async def scenario() -> None:
        async with live(tmp_path, open_rooms=False) as meeting:
            code = Codes(tmp_path / "tickets").issue("giao-ban", 3600, role="site").code
            status, told = await enter(meeting, code=f"{code[:4]} {code[4:]}", name="A")
            assert (status, told["room"]) == (200, "giao-ban")

    asyncio.run(scenario())


def test_other_origins_and_addresses_are_kept_out(tmp_path: Path) -> None:
    """A WebSocket from another site's page and a status request from another machine are refused."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await meeting.session.ws_connect(f"{meeting.url}/ws", origin="https://elsewhere.example")
            async with meeting.session.get(f"{meeting.url}/") as response:
                headers = response.headers
                assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
                assert headers["Permissions-Policy"].startswith("camera=(self)")
            async with meeting.session.get(f"{meeting.url}/metrics") as response:
                assert "edge_meeting_packets_per_second 0" in await response.text()
            for path in ("/web/../server.py", "/web/text/none.json", "/web/%2e%2e/server.py"):
                async with meeting.session.get(meeting.url + path) as response:
                    assert response.status == 404

    asyncio.run(scenario())


def test_full_box_turns_newcomers_away(tmp_path: Path) -> None:
    """The third of two places is told to try later; a kept seat is still open."""

    async def scenario() -> None:
        async with live(tmp_path, limits={"clients": 2}) as meeting:
            pages = [Page(meeting, Caller()) for _ in range(4)]
            for page in pages[:3]:
                await page.enter(meeting.ticket())
            assert pages[2].state[messages.Refusal] == messages.Refusal("full", retry=30)
            await pages[0].drop()
            token = meeting.ticket()
            await pages[3].enter(token, seat=pages[0].welcome.seat)
            assert pages[3].welcome.you == pages[0].welcome.you
            for page in pages[1:]:
                await page.drop()

    asyncio.run(scenario())


async def two_who_wait(meeting: Live) -> list[Page]:
    """Who came before the hour: they know of each other and are told to wait."""
    pages = [await meeting.join(site=f"cl-0{n}") for n in range(2)]
    pages[0].send_media()
    await pages[1].until(lambda: len(pages[1].members()) == 2)
    told = pages[1].state[messages.Members]
    assert isinstance(told, messages.Members)
    assert told.waiting
    return pages


def test_planned_meeting_waits_for_its_chair(tmp_path: Path) -> None:
    """Before the hour nobody is seen until the chair comes; the page says so."""
    start = datetime.now(UTC) + timedelta(minutes=10)
    plan = Meeting(room="giao-ban", title="Giao ban tuần", start=start)

    async def scenario() -> None:
        async with live(tmp_path, schedule=(plan,)) as meeting:
            async with meeting.session.get(f"{meeting.url}/api/home") as response:
                home = await response.json()
            assert (home["title"], home["room"]) == ("Giao ban tuần", "giao-ban")
            pages = await two_who_wait(meeting)
            assert pages[1].sees() == set()
            chair = await meeting.join("chair")
            await pages[1].until(lambda: pages[1].sees() == {pages[0].welcome.you})
            for page in (*pages, chair):
                await page.drop()

    asyncio.run(scenario())


def test_reloaded_page_in_a_full_box(tmp_path: Path) -> None:
    """Its ticket has a place: it comes back in though no other would, and though it forgot its seat."""

    async def scenario() -> None:
        async with live(tmp_path, limits={"clients": 1}) as meeting:
            before, after, other = [Page(meeting, Caller()) for _ in range(3)]
            ticket = meeting.ticket()
            await before.enter(ticket)
            await before.drop()
            await other.enter(meeting.ticket())
            assert other.state[messages.Refusal] == messages.Refusal("full", retry=30)
            await after.enter(ticket)
            assert after.welcome.you == before.welcome.you
            for page in (after, other):
                await page.drop()

    asyncio.run(scenario())


def test_meeting_whose_hour_has_come(tmp_path: Path) -> None:
    """Who came early waits for the chair until then, not for ever."""
    plan = Meeting(room="giao-ban", title="Giao ban tuần", start=datetime.now(UTC) + timedelta(seconds=8))

    async def scenario() -> None:
        async with live(tmp_path, schedule=(plan,)) as meeting:
            pages = await two_who_wait(meeting)
            await pages[1].until(lambda: pages[1].sees() == {pages[0].welcome.you})
            for page in pages:
                await page.drop()

    asyncio.run(scenario())


def test_certificate_is_made_once_and_healed(tmp_path: Path) -> None:
    """The same certificate after a restart; a damaged one is made anew; the key is private."""
    certificate.context(None, None, tmp_path, ("127.0.0.1", "fd00::1"))
    first = (tmp_path / "page.crt").read_bytes()
    made = certificate.context(None, None, tmp_path, ("127.0.0.1",))
    assert (tmp_path / "page.crt").read_bytes() == first
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2
    assert (tmp_path / "page.key").stat().st_mode & 0o077 == 0
    (tmp_path / "page.crt").write_bytes(first[:100])
    certificate.context(None, None, tmp_path, ("127.0.0.1",))
    assert (tmp_path / "page.crt").read_bytes() not in (first, first[:100])


@pytest.mark.parametrize(
    "wrong",
    [
        {"listen": "8443"},
        {"listen": "host:8443"},
        {"listen": "0.0.0.0:99999"},
        {"room": "Giao Ban"},
        {"cert": "a.pem"},
        {"video_codecs": ()},
        {"video_slots": 0},
        {"colour": "blue"},
        {"limits": {"client": 3}},
        {"schedule": ({"room": "a", "title": "x", "start": "2026-11-23T14:00"},)},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    """Unknown keys, addresses that are none, a certificate without its key, a time without its zone."""
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_defaults_are_the_contract() -> None:
    """The two keys of the contract are enough."""
    settings = Settings.model_validate({"listen": "0.0.0.0:8443", "room": "giao-ban"})
    assert (settings.host, settings.port, sorted(settings.rooms())) == ("0.0.0.0", 8443, ["giao-ban"])
    assert Settings(listen="[::]:0").host == "::"
