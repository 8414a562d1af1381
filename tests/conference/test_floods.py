"""Slow and greedy clients of the page: it goes on answering, they are cut off, and the log stays short."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from tests.conference.attacks import assert_went_on
from tests.conference.floods import FLOODS, Flood
from tests.conference.live import live, nothing_unhandled, watched

LONGEST = 5.0
"""Seconds for an answer, and without a packet; strict on a process of its own: test_siege.py."""


@pytest.mark.parametrize("flood", FLOODS)
def test_page_answers_through(flood: Flood, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A probe is answered and the picture goes on all the while, the greedy are cut off, and the log stays short."""

    async def scenario() -> None:
        async with nothing_unhandled(), live(tmp_path) as meeting:
            sender, viewer = await watched(meeting)
            start = time.monotonic()
            attacking = asyncio.create_task(flood(meeting))
            while not attacking.done():
                began = time.monotonic()
                async with meeting.session.get(f"{meeting.url}/api/home") as response:
                    assert response.status == 200
                assert time.monotonic() - began < LONGEST
                await asyncio.sleep(0.2)
            await attacking
            assert_went_on(viewer, start, LONGEST)
            for page in (sender, viewer):
                await page.drop()

    asyncio.run(scenario())
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) < 100
