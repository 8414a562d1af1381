"""Tickets and codes: what is refused, and that guessing does not pay."""

import base64
import json
from pathlib import Path

import jwt
import pytest

from conference.tickets import DEFAULT_LIFE, TRIES_PER_ADDRESS, TRIES_PER_ROOM, Codes, Refused, Tickets


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tickets(tmp_path: Path, clock: Clock) -> Tickets:
    return Tickets(tmp_path, clock)


def reason(tickets: Tickets, token: str, room: str = "giao-ban") -> str:
    with pytest.raises(Refused) as caught:
        tickets.read(token, room)
    return caught.value.reason


def test_ticket_is_read_by_another_process(tickets: Tickets, tmp_path: Path, clock: Clock) -> None:
    """A ticket issued on the command line is good in the running meeting, and so is its revocation."""
    token = tickets.issue("giao-ban", "site", "Phường Sao Đỏ", "cl-02")
    other = Tickets(tmp_path, clock)
    ticket = other.read(token, "giao-ban")
    assert (ticket.role, ticket.name, ticket.site, ticket.device) == ("site", "Phường Sao Đỏ", "cl-02", False)
    assert [(t.id, revoked) for t, revoked in other.all()] == [(ticket.id, False)]
    assert other.revoke(ticket.id)
    assert not other.revoke(ticket.id)
    assert reason(tickets, token) == "revoked"
    assert tickets.all()[0][1]


def test_ticket_of_another_room_or_time_is_refused(tickets: Tickets, clock: Clock) -> None:
    """Another room, an expired one, one from a clock ten minutes ahead."""
    token = tickets.issue("giao-ban", "guest", "A", "cl-02")
    assert reason(tickets, token, "other") == "wrong_room"
    clock.now += DEFAULT_LIFE
    assert reason(tickets, token) == "expired"
    clock.now += 600
    ahead = tickets.issue("giao-ban", "guest", "A", "cl-02")
    clock.now -= 600
    assert reason(tickets, ahead) == "not_yet"


def test_renewed_ticket_lives_on_and_can_be_revoked(tickets: Tickets, clock: Clock) -> None:
    """Who is inside gets a fresh life for the same ticket; revoking its id ends that too."""
    ticket = tickets.read(tickets.issue("giao-ban", "site", "A", "cl-02"))
    clock.now += DEFAULT_LIFE - 1
    fresh = tickets.renewed(ticket)
    clock.now += DEFAULT_LIFE - 1
    assert tickets.read(fresh).id == ticket.id
    tickets.revoke(ticket.id)
    assert reason(tickets, fresh) == "revoked"


def test_forged_tickets_are_refused(tickets: Tickets, tmp_path: Path, clock: Clock) -> None:
    """No algorithm, another key, changed claims, missing claims, wrong role, 8 kB, garbage."""
    token = tickets.issue("giao-ban", "guest", "A", "cl-02")
    claims = jwt.decode(token, options={"verify_signature": False})
    key = (tmp_path / "ticket.key").read_bytes()
    head, body, signature = token.split(".")
    chair = base64.urlsafe_b64encode(json.dumps({**claims, "role": "chair"}).encode()).rstrip(b"=").decode()
    forged = [
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, b"k" * 32, algorithm="HS256"),
        f"{head}.{chair}.{signature}",
        f"{head}.{body}.",
        jwt.encode({**claims, "role": "king"}, key, algorithm="HS256"),
        jwt.encode({k: v for k, v in claims.items() if k != "exp"}, key, algorithm="HS256"),
        jwt.encode({**claims, "name": "x" * 8000}, key, algorithm="HS256"),
        "",
        "a.b.c",
        "\u00e9" * 20,
    ]
    for bad in forged:
        assert reason(tickets, bad) == "invalid"


def test_torn_list_still_starts(tickets: Tickets, tmp_path: Path, clock: Clock) -> None:
    """A half written last line costs that line only; a damaged key ends the old tickets and new ones work."""
    tickets.issue("giao-ban", "guest", "A", "cl-02")
    with (tmp_path / "tickets.jsonl").open("ab") as file:
        file.write(b'{"ticket": {"id": "ha')
    assert len(Tickets(tmp_path, clock).all()) == 1
    (tmp_path / "ticket.key").write_bytes(b"")
    fresh = Tickets(tmp_path, clock)
    assert fresh.read(fresh.passing("giao-ban", "guest", "B", "cl-02")).name == "B"
    assert (tmp_path / "ticket.key").stat().st_mode & 0o077 == 0


def test_code_opens_its_room(tmp_path: Path, clock: Clock) -> None:
    """The code may be typed with spaces; a new one replaces it; it expires."""
    codes = Codes(tmp_path, clock)
    code = codes.issue("giao-ban", 3600)
    assert Codes(tmp_path, clock).enter(f" {code[:4]} {code[4:]} ", "10.0.0.1") == ("giao-ban", "guest")
    fresh = codes.issue("giao-ban", 3600)
    with pytest.raises(Refused):
        codes.enter(code if code != fresh else "0", "10.0.0.1")
    clock.now += 3601
    with pytest.raises(Refused):
        codes.enter(fresh, "10.0.0.2")


def test_guessing_from_one_address_is_stopped(tmp_path: Path, clock: Clock) -> None:
    """Five wrong codes, then none is looked at for a quarter of an hour, not even the right one."""
    codes = Codes(tmp_path, clock)
    code = codes.issue("giao-ban", 10_000)
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
    code = int(codes.issue("giao-ban", 10_000))
    compared = 0
    for guess in range(10_000):
        try:
            codes.enter(f"{(code + 1 + guess) % 10**8:08}", f"10.0.{guess % 100}.1")
        except Refused as refused:
            compared += refused.reason == "wrong_code"
    assert compared == TRIES_PER_ROOM
