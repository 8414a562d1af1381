"""Tickets: what is refused."""

import base64
import json
from pathlib import Path

import jwt
import pytest

from conference.tickets import DEFAULT_LIFE, DEVICE_LIFE, DEVICE_OUT, Refused, Tickets
from tests.conference.conftest import Clock


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


def test_ticket_of_another_room_or_time_is_refused(tickets: Tickets, tmp_path: Path, clock: Clock) -> None:
    """Another room, an expired one, one from a clock ten minutes ahead, one that is not good yet."""
    token = tickets.issue("giao-ban", "guest", "A", "cl-02")
    assert reason(tickets, token, "other") == "wrong_room"
    clock.now += DEFAULT_LIFE
    assert reason(tickets, token) == "expired"
    clock.now += 600
    ahead = tickets.issue("giao-ban", "guest", "A", "cl-02")
    clock.now -= 600
    assert reason(tickets, ahead) == "not_yet"
    claims = jwt.decode(tickets.issue("giao-ban", "guest", "A", "cl-02"), options={"verify_signature": False})
    later = {**claims, "nbf": clock.now + 600}
    assert reason(tickets, jwt.encode(later, (tmp_path / "ticket.key").read_bytes(), algorithm="HS256")) == "not_yet"


def test_renewed_ticket_lives_on_and_can_be_revoked(tickets: Tickets, clock: Clock) -> None:
    """Who is inside gets a fresh life for the same ticket; revoking its id ends that too."""
    ticket = tickets.read(tickets.issue("giao-ban", "site", "A", "cl-02"))
    clock.now += DEFAULT_LIFE - 1
    fresh = tickets.renewed(ticket)
    clock.now += DEFAULT_LIFE - 1
    assert tickets.read(fresh).id == ticket.id
    tickets.revoke(ticket.id)
    assert reason(tickets, fresh) == "revoked"


def test_ticket_of_somebody_sent_out(tickets: Tickets, tmp_path: Path, clock: Clock) -> None:
    """No life of it opens the door again; the room's own PC is let in to the next day's meeting."""
    person = tickets.read(tickets.issue("giao-ban", "site", "A", "cl-02"))
    box = tickets.read(device := tickets.issue("giao-ban", "site", "B", "cl-02", life=DEVICE_LIFE, device=True))
    fresh = tickets.renewed(person)
    for one in (person, box):
        tickets.keep(tickets.send_out(one))
    for found in (tickets, Tickets(tmp_path, clock)):
        assert [reason(found, token) for token in (fresh, device)] == ["removed"] * 2
    clock.now += DEVICE_OUT
    assert reason(tickets, fresh) == "expired"
    assert tickets.read(device).name == "B"


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


def test_ticket_of_another_ward_is_refused(tickets: Tickets, tmp_path: Path, clock: Clock) -> None:
    """Each box has its own key, so what another ward's box issued for a room of the same name opens nothing here."""
    other = Tickets(tmp_path / "other", clock)
    assert reason(tickets, other.issue("giao-ban", "chair", "A", "cl-03")) == "invalid"


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
