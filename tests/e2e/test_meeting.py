"""The meeting's commands as people and systemd run them: `edge meet`, `edge ticket`, `edge demo --meeting`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from conference import messages, server, sim, tickets
from edge_agent import __main__ as command_line
from edge_agent.client import ask
from edge_agent.demo_servers import free_port
from edge_agent.meeting_now import MeetingNow
from edge_agent.status import Status
from tests.e2e.box import Process
from tests.waiting import wait_until

CONFIG = """\
site: cl-02
name: Phường Sao Đỏ
language: en
state: ./s
control: ./agent.sock
box: {{disabled: true}}
meeting:
  listen: 127.0.0.1:{port}
  room: giao-ban
  open: false
  schedule:
    - {{title: Giao ban tuần, start: 2026-01-05 14:00, every: 7d, room: tuan}}
"""
PASS = """\
import os, sys
for at, fd in enumerate(sys.argv[1:3]): os.dup2(int(fd), 3 + at)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "edge_agent", "meet", "-c", sys.argv[3]])
"""
"""Hands descriptors over as systemd does."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short name: sockets have room for 107 letters."""
    made = Path(tempfile.mkdtemp(prefix="em-"))
    yield made
    shutil.rmtree(made)


def written(folder: Path, port: int) -> Path:
    file = folder / "agent.yaml"
    file.write_text(CONFIG.format(port=port), encoding="utf-8")
    return file


def edge(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *words], capture_output=True, text=True, timeout=60, check=False
    )


def home(port: int) -> dict[str, Any]:
    """What the page's first screen is told; the certificate is the box's own."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/api/home", timeout=20, context=trusting) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def test_meet_under_a_service_manager(folder: Path) -> None:
    """It takes the sockets passed, says READY and then WATCHDOG, answers, and ends on SIGTERM with 0 and STOPPING."""
    ours = server.bind("127.0.0.1", 0)
    port = int(ours.udp.getsockname()[1])
    file = written(folder, free_port())
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(folder / "n"))
    heard.settimeout(60)
    descriptors = (ours.udp.fileno(), ours.tcp.fileno())
    meet = subprocess.Popen(
        [sys.executable, "-c", PASS, *map(str, descriptors), str(file)],
        env={**os.environ, "NOTIFY_SOCKET": str(folder / "n"), "LISTEN_FDS": "2"},
        pass_fds=descriptors,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert heard.recv(1000).startswith(b"READY=1")
        told = home(port)
        assert (told["title"], told["room"]) == ("Giao ban tuần", "tuan")
        assert (folder / "s/meeting/page.crt").exists()
        assert heard.recv(1000) == b"WATCHDOG=1"
        meet.send_signal(signal.SIGTERM)
        assert meet.wait(20) == 0
        while (last := heard.recv(1000)) == b"WATCHDOG=1":
            pass
        assert last == b"STOPPING=1"
        assert not (folder / "s/meeting/meet.sock").exists()
    finally:
        meet.kill()
        meet.wait()
        heard.close()
        ours.tcp.close()
        ours.udp.close()


def test_meet_where_the_port_is_taken(folder: Path) -> None:
    """One sentence with what to do, and 2."""
    ours = server.bind("127.0.0.1", 0)
    with ours.udp, ours.tcp:
        answer = edge("meet", "-c", written(folder, int(ours.udp.getsockname()[1])))
    assert answer.returncode == 2
    assert "ss -lntup" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_meet_without_a_meeting(folder: Path) -> None:
    """The file says nothing of a meeting: a sentence and 2."""
    (folder / "agent.yaml").write_text("site: cl-02\nlanguage: en\n")
    answer = edge("meet", "-c", folder / "agent.yaml")
    assert (answer.returncode, "“meeting”" in answer.stderr) == (2, True)


def test_ticket_from_the_command_line_opens_the_room(folder: Path) -> None:
    """The printed link's ticket is welcome; revoked on the command line it is put out; a code opens too."""
    port = free_port()
    file = written(folder, port)
    meet = Process(folder / "meet.log", "meet", "-c", str(file))
    try:
        assert wait_until((folder / "s/meeting/meet.sock").exists, 60)
        made = json.loads(edge("ticket", "issue", "-c", file, "--role", "chair", "--json").stdout)
        assert made["link"].startswith(f"https://127.0.0.1:{port}/#t=")
        [row] = json.loads(edge("ticket", "list", "-c", file, "--json").stdout)
        assert (row["id"], row["name"], row["role"]) == (made["id"], "Phường Sao Đỏ", "chair")
        asyncio.run(welcomed_then_revoked(port, made["link"].partition("#t=")[2], file, made["id"]))
        code = json.loads(edge("ticket", "issue", "-c", file, "--code", "--json").stdout)
        assert asyncio.run(entered(port, code["code"]))["room"] == "giao-ban"
        listed = json.loads(edge("ticket", "list", "-c", file, "--json").stdout)
        assert [row["code"] for row in listed if row["id"] == code["id"]] == [code["code"]]
        assert edge("ticket", "revoke", code["id"], "-c", file).returncode == 0
        assert code["id"] not in edge("ticket", "list", "-c", file, "--json").stdout
    finally:
        assert meet.stop() == 0


async def welcomed_then_revoked(port: int, ticket: str, file: Path, id: str) -> None:
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(f"https://127.0.0.1:{port}/ws") as page,
    ):
        hello = messages.Hello(messages.VERSION, ticket, "giao-ban", "", "")
        await page.send_str(msgspec.json.encode(hello).decode())
        assert (await page.receive_json())["t"] == "welcome"
        revoked = await asyncio.to_thread(edge, "ticket", "revoke", id, "-c", file)
        assert revoked.returncode == 0
        while (told := await page.receive_json())["t"] != "refusal":
            pass
        assert told["reason"] == "revoked"


async def entered(port: int, code: str) -> dict[str, str]:
    """The page's answer to a code: a room, or the reason why not."""
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"https://127.0.0.1:{port}/api/enter", json={"code": code}) as answer,
    ):
        return dict(await answer.json())


def test_tickets_as_people_see_them(folder: Path) -> None:
    """Link and QR code, the list, and a sentence for each mistake."""
    file = written(folder, free_port())
    issued = edge("ticket", "issue", "-c", file, "--device", "--qr", "--room", "tuan")
    assert "Link for the room's PC, room tuan (site)" in issued.stdout
    assert max(map(len, issued.stdout.split("edge ticket revoke")[0].splitlines()[2:])) <= 79
    assert "█▀▀▀▀▀█" in issued.stdout or "█ ▄▄▄▄▄ █" in issued.stdout
    assert "room's PC" in edge("ticket", "list", "-c", file).stdout
    for words, said in (
        (("issue", "--room", "none"), "There is no room “none”"),
        (("issue", "--for", "12"), "“12” is not a time"),
        (("revoke", "none"), "There is no ticket or code “none”"),
    ):
        answer = edge("ticket", *words, "-c", file)
        assert answer.returncode == 2
        assert said in answer.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")
def test_root_issues_as_the_meetings_user(folder: Path) -> None:
    """What root's command makes belongs to whom the state folder belongs."""
    file = written(folder, free_port())
    state = folder / "s/meeting"
    state.mkdir(parents=True)
    folder.chmod(0o755)
    os.chown(state, 65534, 65534)
    assert edge("ticket", "issue", "-c", file).returncode == 0
    assert {path.stat().st_uid for path in state.rglob("*")} == {65534}


def test_agent_watches_the_meeting(folder: Path) -> None:
    """`edge status` says that the meeting does not answer, until it does; then its figures are points like others."""
    file = written(folder, free_port())
    agent = Process(folder / "agent.log", "run", "-c", str(file))
    control = folder / "agent.sock"

    def status() -> Status:
        found: Status = ask(control, "/status", Status)
        return found

    def meeting() -> MeetingNow:
        now: MeetingNow = ask(control, "/meeting", MeetingNow)
        return now

    try:
        assert wait_until(control.exists, 60)
        assert wait_until(lambda: any("systemctl status edge-meet" in reason for reason in status().reasons), 60)
        assert status().points.total == 0
        meet = Process(folder / "meet.log", "meet", "-c", str(file))
        assert wait_until(lambda: status().verdict == "ok" and status().points.good == 12, 60), status()
        points = json.loads(edge("points", "-c", file, "--json").stdout)
        assert {"point": "meeting.meeting.members", "value": 0} in [
            {name: point[name] for name in ("point", "value")} for point in points
        ]
        assert meeting().state == "empty"
        assert meeting().page.startswith("https://127.0.0.1:")
        asyncio.run(one_site_speaks(folder, meeting))
        meet.kill()
        assert meeting().state == "down"
    finally:
        assert agent.stop() == 0


async def one_site_speaks(folder: Path, meeting: Callable[[], MeetingNow]) -> None:
    """The agent tells who is in, that the microphone is open, how loud, and who speaks; never the person's name."""
    ticket = tickets.Tickets(folder / "s/meeting/tickets").issue("giao-ban", "site", "Bà Lan", "cl-05", life=600)
    page = meeting().page
    async with asyncio.timeout(60):
        site = asyncio.create_task(sim.site(page, "giao-ban", ticket, 0, 1), name="site")
        while not (members := [each for room in (await asyncio.to_thread(meeting)).rooms for each in room.members]) or (
            not members[0].speaks
        ):
            await asyncio.sleep(0.2)
        site.cancel()
    (member,) = members
    assert (member.site, member.role, member.connected, member.voice) == ("cl-05", "site", True, True)
    assert 10 < member.level < 55
    assert b"Lan" not in msgspec.json.encode(member)


def test_guessing_is_an_alarm_for_the_technician(folder: Path) -> None:
    """Five wrong codes: `edge status` names the address that guesses and what to try, and answers 1."""
    port = free_port()
    file = written(folder, port)
    meet = Process(folder / "meet.log", "meet", "-c", str(file))
    try:
        assert wait_until((folder / "s/meeting/meet.sock").exists, 60)
        code = json.loads(edge("ticket", "issue", "-c", file, "--code", "--json").stdout)["code"]
        for one in range(1, 6):
            assert asyncio.run(entered(port, f"{(int(code) + one) % 10**8:08}"))["reason"] == "wrong_code"
        agent = Process(folder / "agent.log", "run", "-c", str(file))
        try:
            assert wait_until(lambda: named(folder / "agent.sock"), 60)
            shown = edge("status", "-c", file)
            assert (shown.returncode, "Ask who uses 127.0.0.1" in shown.stdout) == (1, True), shown.stdout
        finally:
            assert agent.stop() == 0
        assert (folder / "meet.log").read_text().count("codes guessed") == 1
    finally:
        assert meet.stop() == 0


def named(control: Path) -> bool:
    """The agent has heard of it."""
    if not control.exists():
        return False
    found: Status = ask(control, "/status", Status)
    return any("127.0.0.1" in reason for reason in found.reasons)


def test_demonstration_of_a_meeting(folder: Path) -> None:
    """Three sites are in the room; Ctrl-C ends it with 0, and it leaves nothing behind."""
    words = [sys.executable, "-m", "edge_agent", "demo", "--meeting", "--language", "en", "--seconds", "90"]
    surroundings = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=surroundings)
    assert demo.stdout is not None
    said = []
    for line in demo.stdout:
        said.append(line)
        if "3 sending picture and sound" in line:
            demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 0, said
    assert any("/#t=" in line for line in said)
    assert list(folder.iterdir()) == []


def test_roles_of_the_command_line() -> None:
    """The command line offers the roles that tickets have."""
    assert command_line.ROLES == tickets.ROLES
