"""Waiting in a test for what should become true, for as long as a loaded machine may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds."""


async def until(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    """Return as soon as the condition holds. Raises TimeoutError when it does not within so many seconds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], bool], timeout: float = 10.0, step: float = 0.02) -> bool:
    """Poll from a thread; False when it did not become true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True
