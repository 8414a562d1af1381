"""`edge demo --meeting`: a room with three simulated sites, so that one browser sees a living meeting.

The meeting is the real one, `edge meet`, as a process of its own; the sites send what a standard client would. Others
on the network reach the page too, but only the printed link leads in.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from conference.addresses import own_addresses
from conference.server import bind
from conference.sim import site
from conference.tickets import Tickets, invitation
from drivers.meeting import State, measured
from edge_agent.client import Failed, NotRunning, ask
from edge_agent.commands import Wrong
from edge_agent.demo.stage import Program
from edge_agent.demo.terminal import say
from edge_agent.demo_servers import ServerFailed
from edge_agent.text import DAY, Text

ROOM = "giao-ban"
PORT = 8443
"""Taken where it is free, since people remember it."""
SITES = (("cl-02", "Phường Sao Đỏ"), ("cl-05", "Phường Chu Văn An"), ("cl-11", "Xã Hoàng Hoa Thám"))
EVERY = 5.0
"""Seconds between two lines of figures."""
CONFIG = """\
site: cl-01
name: UBND thành phố Chí Linh
language: {language}
state: ./state
control: ./agent.sock
meeting:
  listen: 0.0.0.0:{port}
  room: {room}
  open: false
"""


class Meet(Program):
    """`edge meet`."""

    def __init__(self, folder: Path, language: str, ports: Sequence[int] = (PORT, 0)) -> None:
        """The configuration is `agent.yaml` in `folder`; `ports` are tried in turn, 0 is any free one."""
        config = folder / "agent.yaml"
        self.state = folder / "state" / "meeting"
        super().__init__(folder, "meet", ("meet", "-c", str(config)))
        self.port = _port(ports)
        config.write_text(CONFIG.format(language=language, port=self.port, room=ROOM), encoding="utf-8")

    def answers(self) -> bool:
        """True when its socket does."""
        return self.figures() is not None

    def figures(self) -> State | None:
        """How it does."""
        try:
            found: State = ask(self.state / "meet.sock", "/status", State)
        except (NotRunning, Failed):
            return None
        return found


def _port(ports: Sequence[int]) -> int:
    """The first that is free for TCP and UDP."""
    for wanted in ports:
        with contextlib.suppress(OSError):
            return _free(wanted)
    return PORT


def _free(port: int) -> int:
    both = bind("0.0.0.0", port)  # the demonstration is seen from other machines too, by its ticket
    with both.tcp, both.udp:
        return int(both.udp.getsockname()[1])


def main(seconds: float | None, keep: bool, text: Text) -> int:
    """Run it; 0 when all sites were in the meeting, 1 when not, 2 when it could not run."""
    folder = Path(tempfile.mkdtemp(prefix="edge-demo-"))
    try:
        return asyncio.run(_demonstrate(folder, seconds, text))
    except ServerFailed as failed:
        raise Wrong(text("demo.failed", error=str(failed))) from None
    finally:
        if keep:
            say(text("demo.kept_folder", folder=str(folder)))
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def _demonstrate(folder: Path, seconds: float | None, text: Text) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    meet = Meet(folder, text.language)
    try:
        try:
            await asyncio.to_thread(meet.start)
        except ServerFailed:  # another program took the port between our look and the start
            meet = Meet(folder, text.language, ports=(0,))
            await asyncio.to_thread(meet.start)
        async with _sites(meet):
            _invite(meet, text)
            return await _watch(meet, seconds, stop, text)
    finally:
        await asyncio.to_thread(meet.stop)


@contextlib.asynccontextmanager
async def _sites(meet: Meet) -> AsyncIterator[None]:
    """The simulated sites take part while the block runs."""
    tickets = Tickets(meet.state / "tickets")
    url = f"https://127.0.0.1:{meet.port}"
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(site(url, ROOM, tickets.issue(ROOM, "site", name, id, life=DAY), at, len(SITES)), name=id)
            for at, (id, name) in enumerate(SITES)
        ]
        yield
        for task in tasks:
            task.cancel()


def _invite(meet: Meet, text: Text) -> None:
    """The chair's links: for this machine, and for others on the network."""
    token = Tickets(meet.state / "tickets").issue(ROOM, "chair", socket.gethostname(), "cl-01", life=DAY)
    say(text("demo.meeting.open"))
    say(f"  {invitation('127.0.0.1', meet.port, token)}")
    outside = [address for address in own_addresses("0.0.0.0") if address != "127.0.0.1"]
    if outside:
        say(text("demo.meeting.outside", address=f"https://{outside[0]}:{meet.port}/"))
    say(text("demo.meeting.certificate"))


async def _watch(meet: Meet, seconds: float | None, stop: asyncio.Event, text: Text) -> int:
    """A line of figures now and then, until the time is over or Ctrl-C."""
    began, most = time.monotonic(), 0
    while not stop.is_set() and (seconds is None or time.monotonic() - began < seconds):
        with contextlib.suppress(TimeoutError):
            left = EVERY if seconds is None else min(EVERY, began + seconds - time.monotonic())
            await asyncio.wait_for(stop.wait(), max(0.0, left))
        state = await asyncio.to_thread(meet.figures)
        if state is None:
            raise ServerFailed(meet.tail())
        members, sending, *_ = measured(state)
        most = max(most, int(sending))
        say(text("demo.meeting.now", members=members, sending=sending, packets=state.load.packets_per_second))
    say(text("demo.meeting.end"))
    return 0 if most >= len(SITES) else 1
