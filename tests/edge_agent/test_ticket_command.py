"""`edge ticket issue`: what cannot stand on a ticket is refused before there is one."""

import json
from pathlib import Path

import pytest

from conference.tickets import MAX_NAME, Tickets
from edge_agent.__main__ import main


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    made = tmp_path / "agent.yaml"
    made.write_text(
        "site: cl-01\nname: Phường Chí Minh\nlanguage: en\nstate: s\n"
        "meeting: {listen: '127.0.0.1:8443', room: giao-ban}\n"
    )
    return str(made)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "x" * 3000), "The name must be one line of at most 60 letters."),
        (("--name", "x" * (MAX_NAME + 1)), "The name must be one line"),
        (("--name", "Bà Lan\nông Tư"), "The name must be one line"),
        (("--name", "Bà\tLan"), "The name must be one line"),
        (("--name", "Lan\x1b[31m"), "The name must be one line"),
        (("--site", "BAD SITE"), "“BAD SITE” cannot be an id."),
        (("--site", "cl-01\n"), "cannot be an id."),
        (("--site", "x" * 33), "cannot be an id."),
        (("--port", "8091"), "--port goes with --terminal only."),
        (("--code", "--name", "Lan"), "A meeting code carries no name"),
    ],
)
def test_ticket_for_a_name_or_site_that_is_none(
    words: tuple[str, ...], said: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence, exit code 2, and nothing in the list."""
    assert main(["ticket", "issue", "-c", file, *words]) == 2
    assert said in capsys.readouterr().err
    assert main(["ticket", "list", "-c", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_port_of_a_terminal_that_is_not_served(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would count for nothing."""
    assert main(["tui", "--port", "8091", "-c", file]) == 2
    assert "--port goes with --serve only." in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--maintain",), ("--plain",), ("--thin",), ("--language", "vi")])
def test_served_terminal_is_for_looking(words: tuple[str, ...], file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What would count for nothing there is refused, and nothing is served."""
    assert main(["tui", "--serve", *words, "-c", file]) == 2
    assert "--serve lets others look only" in capsys.readouterr().err


def test_ticket_for_the_terminal_is_no_invitation(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its words are of screens, not of a room."""
    assert main(["ticket", "issue", "--terminal", "-c", file]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Link to look at the technician's screens")
    assert "room" not in said.splitlines()[0]


def test_ticket_for_the_longest_name(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Sixty letters with marks go in, composed, and the ticket is taken."""
    name = "ẫ" * MAX_NAME
    assert main(["ticket", "issue", "-c", file, "--json", "--name", f" {name}\u00a0", "--site", "cl-02"]) == 0
    token = json.loads(capsys.readouterr().out)["link"].partition("#t=")[2]
    ticket = Tickets(Path(file).parent / "s/meeting/tickets").read(token)
    assert (ticket.name, ticket.site) == (name, "cl-02")


def test_ticket_too_long_to_come_back(tmp_path: Path) -> None:
    """Whoever asks for one, nothing is listed that would be refused at the door."""
    tickets = Tickets(tmp_path)
    with pytest.raises(ValueError, match="too long"):
        tickets.issue("giao-ban", "site", "x" * 3000, "cl-01")
    assert tickets.all() == []
