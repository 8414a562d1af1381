"""Tells systemd that the agent is ready, alive and how it does (sd_notify(3)). Without systemd it says nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger("edge.watchdog")

STUCK = 90.0
"""Seconds without a completed turn after which a bus or the journal counts as stuck; above the longest time-out."""


def notify(message: str) -> None:
    """Send one message to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(message.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
    except OSError as error:
        log.warning("service manager unreachable error=%s", error)


async def feed(progress: Callable[[], Mapping[str, float]], status: Callable[[], str]) -> None:
    """Feed the watchdog for ever, but only while every part of `progress` (name -> monotonic time) moves.

    That this coroutine runs proves that the event loop does.
    """
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6 or 10.0
    while True:
        stuck = sorted(name for name, last in progress().items() if time.monotonic() - last > STUCK)
        if stuck:
            log.error("part stuck, watchdog not fed parts=%s", ",".join(stuck))
        else:
            notify(f"WATCHDOG=1\nSTATUS={status()}")
        await asyncio.sleep(interval)
