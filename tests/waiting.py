"""Waiting in a test for what should become true, for as long as a loaded machine may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds."""


async def until(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    """Return as soon as the condition holds. Raises TimeoutError when it does not within so many seconds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
