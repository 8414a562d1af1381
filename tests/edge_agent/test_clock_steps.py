"""The clock is set while readings are on their way: which time they get, who hears of it, and how long they wait."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from drivers.reading import Readings
from edge_agent.dating import StepEvents
from tests.edge_agent.clock_box import HOUR, LEVEL, SERIES, SYNCED, UNKNOWN, WAITING, YEAR_1970, Box, run


def now_ms() -> int:
    """By the right clock."""
    return time.time_ns() // 1_000_000


@pytest.mark.parametrize("step", [1000, -1000, HOUR], ids=["+1s", "-1s", "+1h"])
def test_small_step_reaches_the_centre_as_a_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A second is a step; the box reports its size."""

    async def work(box: Box) -> None:
        box.off = step
        await box.dating._turn()
        async with aclosing(StepEvents(box.dating).readings()) as batches, asyncio.timeout(10):
            (readings,) = (await anext(batches)).readings
        assert (readings.source.device, tuple(q.field for q in readings.source.quantities)) == (
            "box",
            ("clock_step_s",),
        )
        assert abs(float(readings.values[0] or 0) - step / 1000) < 0.4

    run(tmp_path, monkeypatch, work)


def test_slewing_is_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time source that draws the clock along moves it by less than half a second between two looks."""

    async def work(box: Box) -> None:
        box.off = 200
        await box.dating._turn()
        assert (box.dating.steps.empty(), box.clock.step_s) == (True, 0.0)

    run(tmp_path, monkeypatch, work)


def test_reading_from_before_the_step_gets_the_right_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read by the wrong clock and comes to be stamped by the right one: its monotonic time tells."""

    async def work(box: Box) -> None:
        mono = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        read = Readings(LEVEL, now_ms() + box.off, mono, (1.0,))
        box.off, box.told = 0, SYNCED
        await box.dating._turn()
        stamped = box.dating.stamp(SERIES, read)
        assert stamped is not None
        assert abs(stamped.time - now_ms()) < 20_000

    run(tmp_path, monkeypatch, work, off=YEAR_1970, told=UNKNOWN)


def test_readings_wait_for_the_clock_as_long_as_patience_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that answers does not end the wait by itself."""

    async def work(box: Box) -> None:
        box.read(1.0)
        await box.journal.flush()
        box.journal.heard()
        await box.dating._turn()
        assert (box.journal.held, await box.sent()) == (1, [])

    run(tmp_path, monkeypatch, work, off=YEAR_1970, told=WAITING, patience=300)


def test_clock_that_is_lost_again_is_waited_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience that ended once lasts again after the clock was right."""

    async def work(box: Box) -> None:
        box.read(1.0)
        await box.journal.flush()
        box.journal.heard()
        await asyncio.sleep(0.02)
        await box.dating._turn()
        assert len(await box.sent()) == 1
        for box.off, box.told in ((0, SYNCED), (YEAR_1970, WAITING)):
            await box.dating._turn()
        box.read(2.0)
        await box.journal.flush()
        assert (box.journal.held, await box.sent()) == (1, [])

    run(tmp_path, monkeypatch, work, off=YEAR_1970, told=WAITING, patience=0.01)


def test_what_comes_while_readings_are_dated_waits_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamped earlier, it would stand before them. Dated rows are as young as their readings are."""

    async def work(box: Box) -> None:
        box.read(1.0)
        await box.journal.flush()
        box.off, box.told = 0, SYNCED
        async with box.journal.alone():
            dating = asyncio.create_task(box.dating._turn())
            await asyncio.sleep(0.05)
            coming = asyncio.create_task(box.dating.admitted())
            await asyncio.sleep(0.05)
            assert not coming.done()
        async with asyncio.timeout(10):
            await asyncio.gather(dating, coming)
        oldest = await box.journal.oldest_waiting_ms("centre")
        assert oldest is not None
        assert abs(oldest - now_ms()) < 20_000

    run(tmp_path, monkeypatch, work, off=YEAR_1970, told=WAITING)
