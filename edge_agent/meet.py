"""`edge meet`: the meeting in the foreground, as a process of its own, so that it can never starve the sensors.

Sockets may come from a service manager (sd_listen_fds(3)); it is told when pages are answered and that media moves.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import ssl
import sys
import time
from typing import TYPE_CHECKING

from drivers.marked import Problems
from edge_agent import config as configuration
from edge_agent.commands import Wrong
from edge_agent.config import Config
from edge_agent.meeting_config import Meeting, settings_of
from edge_agent.text import Text, texts
from edge_agent.watchdog import notify

if TYPE_CHECKING:
    from conference.server import Sockets

log = logging.getLogger("edge.meet")

FIRST_SOCKET = 3
"""SD_LISTEN_FDS_START."""
BEAT = 5.0
"""Seconds between two signs of life."""


def meeting_of(arguments: argparse.Namespace) -> tuple[Config, Meeting, Text]:
    """The configuration and its meeting. Raises Wrong."""
    try:
        config = configuration.load(arguments.config)
    except Problems as problems:
        raise Wrong("\n".join(configuration.render(problems.problems, texts(arguments.language)))) from None
    text = texts(config.language)
    if config.meeting is None:
        raise Wrong(text("meet.not_configured", file=str(config.file)))
    return config, config.meeting, text


def main(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    import uvloop

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config, meeting, text = meeting_of(arguments)
    if meeting.hub:
        log.warning("not available yet path=meeting.hub part=hub")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, meeting))
    except ssl.SSLError as error:
        raise Wrong(text("meet.bad_certificate", file=str(meeting.cert), error=str(error))) from None
    except OSError as error:
        raise Wrong(text("meet.cannot_start", listen=meeting.listen, error=str(error))) from None
    return 0


async def _serve(config: Config, meeting: Meeting) -> None:
    from conference import server

    serving = asyncio.current_task()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        stopping.set()
        notify("STOPPING=1")
        if serving:
            serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await server.run(settings_of(config, meeting), ready=_ready, beat=_Beat(), sockets=_inherited())
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise


def _ready(port: int) -> None:
    gc.freeze()
    notify(f"READY=1\nSTATUS=port {port}")
    log.info("ready port=%d", port)


class _Beat:
    """Called once a second while the clock of the media runs; every few seconds the watchdog hears of it."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + BEAT
            notify("WATCHDOG=1")


def _inherited() -> Sockets | None:
    """Sockets that were opened for this very process, else None. Raises OSError when they are others than needed."""
    from conference.server import inherited

    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    if not count.isdigit() or pid != str(os.getpid()):
        return None
    try:
        return inherited(FIRST_SOCKET, int(count))
    except ValueError as error:
        raise OSError(str(error)) from error
