"""Waiting with an end: for an event, and for a disk that may be busy or failing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("edge.journal")

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a question waits for the disk."""


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event; False: it did not come in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def soon(asking: Coroutine[Any, Any, T], otherwise: T) -> T:
    """The answer, or `otherwise` while the disk is busy or fails. The question itself is not broken off."""
    asked = asyncio.ensure_future(asking)
    asked.add_done_callback(_heard)
    done, _ = await asyncio.wait([asked], timeout=PATIENCE)
    return asked.result() if done and not asked.exception() else otherwise


def _heard(asked: asyncio.Future[Any]) -> None:
    """Take note of an error that nobody waits for any more."""
    if not asked.cancelled() and (error := asked.exception()):
        log.warning("journal cannot be asked error=%s", error)
