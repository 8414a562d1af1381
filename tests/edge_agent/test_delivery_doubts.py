"""How long an answer is doubted, how long a failing sink is left alone, and what ends both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent import delivery, unwritten
from edge_agent.delivery import SinkNow, forward
from edge_agent.journal import Journal, Settled
from edge_agent.rows import Row
from edge_agent.sinks import Life, SinkDown
from tests.edge_agent.centre_box import Centre, deliver, fill, reading
from tests.waiting import until

REAL_SLEEP = asyncio.sleep


@contextmanager
def pauses(monkeypatch: pytest.MonkeyPatch, most: int) -> Iterator[list[float]]:
    """The seconds that a sink was left alone, without their passing; the one after `most` does not end."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        task = asyncio.current_task()
        if task is None or not task.get_name().startswith("rest "):
            return await REAL_SLEEP(seconds)
        slept.append(seconds)
        return await REAL_SLEEP(0 if len(slept) <= most else 3600)

    monkeypatch.setattr("edge_agent.delivery.asyncio.sleep", sleep)
    yield slept


# --- an answer that is not durable yet --------------------------------------------------------------------------------


def test_look_at_the_server_confirms_only_what_it_has_had_for_long_enough(tmp_path: Path) -> None:
    """What was sent a second later is in doubt a second longer."""
    store, centre = fill(tmp_path, 10), Centre()
    centre.alive = Life(1.5, 100.0, {})

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: len(centre.got) == 10)
        await asyncio.sleep(1.0)
        journal.put([reading(1)])
        await until(lambda: len(centre.got) == 11)
        await until(lambda: journal.states["centre"].delivered >= 10)
        assert journal.states["centre"].delivered == 10
        await until(lambda: journal.states["centre"].delivered == 11)
        assert time.monotonic() - centre.got[10][0] >= 1.5

    deliver(store, centre, script)


def test_server_that_gives_way_to_another_make_gets_it_again(tmp_path: Path) -> None:
    """What the old one had not confirmed is sent to the new one, whose answer counts at once."""
    store, centre = fill(tmp_path, 10), Centre()
    centre.alive = Life(1.0, 100.0, {})

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: len(centre.got) == 10)
        centre.alive = None
        await until(lambda: journal.states["centre"].delivered == 10)
        assert sorted(centre.ids) == sorted([*range(1, 11)] * 2)

    deliver(store, centre, script)


def test_delivery_begun_anew_sends_what_was_in_doubt_again(tmp_path: Path) -> None:
    """Another address in the configuration, or a part that failed: nobody remembers what the server had."""
    store, centre = fill(tmp_path, 10), Centre()
    centre.alive = Life(100.0, 100.0, {})

    async def main() -> None:
        journal = Journal(store, {"centre": ()}, 0.01, 30)
        for times in (1, 2):
            sending = asyncio.create_task(forward(centre, journal, SinkNow("centre", "here"), spread=0.0))
            await until(lambda times=times: len(centre.got) == 10 * times)  # type: ignore[misc]  # default of a lambda
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert (journal.states["centre"].delivered, journal.waiting("centre")) == (0, 10)
        await journal.close()

    asyncio.run(main())


@pytest.mark.parametrize("alive", [None, Life(1.0, 100.0, {})], ids=["overwrites", "may-store-twice"])
def test_only_a_server_that_overwrites_is_sent_anything_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: Life | None
) -> None:
    """While the disk takes nothing, the other one waits for it."""
    monkeypatch.setattr(unwritten, "PATIENCE", 0.0)
    monkeypatch.setattr(delivery, "AHEAD_EVERY", 0.02)
    store, centre = fill(tmp_path, 0), Centre()
    centre.alive = alive

    async def main() -> None:
        journal = Journal(store, {"centre": ()}, 0.01, 30)  # it never commits
        journal.put([reading(1)])
        sending = asyncio.create_task(forward(centre, journal, SinkNow("centre", "here")))
        await asyncio.sleep(0.3)
        if alive is None:
            await until(lambda: bool(centre.got))
        assert len(centre.got) == (alive is None)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await journal.close()

    asyncio.run(main())


# --- a sink that fails ------------------------------------------------------------------------------------------------


def test_server_is_looked_at_before_it_is_sent_anything_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another process that has lost what was in doubt: that goes out again, before the doubt is over."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.05)
    store, centre = fill(tmp_path, 10), Centre()
    centre.alive = Life(3600.0, 100.0, {})

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: len(centre.got) == 10)
        centre.down = SinkDown("unreachable", "words")
        journal.put([reading(1)])
        await until(lambda: now.state == "down")
        centre.asked.clear()
        centre.alive, centre.down = Life(3600.0, 200.0, {}), None
        await until(lambda: len(centre.got) == 21)
        assert centre.asked[:2] == ["life", "send"]
        assert sorted(centre.ids) == sorted([*range(1, 11)] * 2 + [11])

    deliver(store, centre, script)


def test_sink_with_nothing_to_do_is_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that went away in the night is told then, not by the first reading of a morning; so is its return."""
    monkeypatch.setattr(delivery, "IDLE_LOOK", 0.1)
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.05)
    store, centre = fill(tmp_path, 1), Centre()

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: journal.waiting("centre") == 0)
        taken, centre.gone = now.last_success, SinkDown("unreachable", "nobody there")
        await until(lambda: now.state == "down")
        centre.gone = None
        await until(lambda: now.state == "up")
        assert (now.last_success, now.error, centre.asked.count("send")) == (taken, None, 1)

    deliver(store, centre, script)


def test_look_does_not_hide_that_what_waits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that tells what it is and takes nothing stays refusing until it takes something."""
    monkeypatch.setattr(delivery, "IDLE_LOOK", 0.02)
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.03)
    store, centre = fill(tmp_path, 1), Centre()
    centre.down = SinkDown("refused", "unauthorized")

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: centre.asked.count("send") >= 3)
        assert now.state == "refusing"

    deliver(store, centre, script)
    assert "sink up" not in caplog.text


def test_batch_of_which_the_sink_wants_nothing_says_nothing_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody was asked: what failed has not come back, and the pauses do not begin anew."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.03)
    store, centre = fill(tmp_path, 1), Centre()
    centre.down = SinkDown("refused", "unauthorized")
    failing = centre.send

    async def send(rows: Sequence[Row]) -> Settled:
        if any(row.id == 1 for row in rows):
            return await failing(rows)
        return Settled(0, excluded=sum(row.readings for row in rows))

    centre.send = send  # type: ignore[method-assign]

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: now.state == "refusing")
        journal.put([reading(n) for n in range(600)])
        await until(lambda: journal.states["centre"].excluded == 600)
        assert (now.state, now.last_success, journal.waiting("centre")) == ("refusing", 0.0, 1)

    deliver(store, centre, script)
    assert "sink up" not in caplog.text


def test_pauses_begin_anew_after_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next failure is not paid for with the pause of the last one."""
    store, centre = fill(tmp_path, 1, old=False), Centre()
    centre.down = SinkDown("unreachable", "words")

    with pauses(monkeypatch, most=1000) as slept:

        async def script(journal: Journal, now: SinkNow) -> None:
            await until(lambda: len(slept) > 5)
            centre.down = None
            await until(lambda: now.state == "up")
            before = len(slept)
            centre.down = SinkDown("unreachable", "words")
            journal.put([reading(1)])
            await until(lambda: len(slept) > before)
            assert slept[before - 1] > 10
            assert 0.8 <= slept[before] <= 1.2

        deliver(store, centre, script)


@pytest.mark.parametrize(("wish", "pause"), [(0.0, 1.0), (30.0, 30.0), (86_400.0, 600.0)])
def test_wish_of_a_server_is_kept_by_each_box_at_its_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: float, pause: float
) -> None:
    """Never less, at most a fifth more, not all boxes alike; a second at least, ten minutes at most; nobody hurries."""
    store, centre = fill(tmp_path, 1), Centre()
    centre.down = SinkDown("throttled", "words", retry_after=wish)

    with pauses(monkeypatch, most=9) as slept:

        async def script(journal: Journal, now: SinkNow) -> None:
            await until(lambda: len(slept) == 10)
            assert now.hurry is None

        deliver(store, centre, script)
    assert all(pause <= each <= 1.2 * pause for each in slept), slept
    assert len({round(each / pause, 3) for each in slept}) > 3


def test_sink_that_is_away_is_tried_at_once_when_somebody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A technician who has mended the line does not wait for the minute to pass."""
    store, centre = fill(tmp_path, 1), Centre()
    centre.down = SinkDown("unreachable", "words")

    with pauses(monkeypatch, most=0):

        async def script(journal: Journal, now: SinkNow) -> None:
            await until(lambda: now.hurry is not None)
            centre.down = None
            assert now.hurry is not None
            now.hurry()
            await until(lambda: now.state == "up")

        deliver(store, centre, script)
