"""The way to one sink: what goes first, what counts as delivered, and what happens when it fails."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent import delivery
from edge_agent.body import SMALL, glued, pack, unpack
from edge_agent.config import Influx
from edge_agent.delivery import LEAST_BYTES, Pace, SinkNow
from edge_agent.demo_servers import VictoriaMetrics
from edge_agent.journal import Journal, Settled
from edge_agent.ledger import HOUR_MS
from edge_agent.rows import Row
from edge_agent.sinks import Life, SinkDown, TooLarge
from edge_agent.sinks.influx import InfluxSink
from tests.edge_agent.centre_box import ROOM, Centre, deliver, fill, more, reading
from tests.waiting import until

# --- live first -------------------------------------------------------------------------------------------------------


def test_backlog_goes_at_its_rate_and_live_readings_at_once(tmp_path: Path) -> None:
    """With a rate set, old rows trickle and each new one is there long before the backlog is; also where the wall clock
    was set back since, so that the old ones look as if they were yet to come."""
    store, centre = fill(tmp_path, 1000), Centre()
    with store._db as db:
        db.execute("UPDATE blobs SET committed_ms = committed_ms + ?", (3 * HOUR_MS,))
    size = sum(len(row.body) for row in store.rows(0, 1000, 10_000, ROOM))

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: bool(centre.got))
        began = time.monotonic()
        for n in range(5):
            journal.put([reading(2000 + n)])
            await until(lambda n=n: 1001 + n in centre.ids)  # type: ignore[misc]  # mypy: lambda with a default
            assert journal.waiting("centre") > 100
        assert time.monotonic() - began < 10
        await until(lambda: journal.waiting("centre") == 0, 60)
        took = time.monotonic() - began
        assert took > 0.5 * size / (size // 6)
        assert centre.ids.index(1005) < centre.ids.index(1000)
        assert len(centre.ids) == len(set(centre.ids)) == 1005

    deliver(store, centre, script, rate=size // 6)


def test_backlog_after_a_long_outage_waits_a_random_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest go at once when the server is back; the backlog only after a while of its own in each box."""
    monkeypatch.setattr(delivery, "LONG_OUTAGE", 0.0)
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(delivery, "FIRST_BYTES", LEAST_BYTES)
    monkeypatch.setattr("edge_agent.delivery.random.uniform", lambda low, high: 0.2 if high > 2 else low)
    store, centre = fill(tmp_path, 1, old=False), Centre()

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: now.last_success > 0)
        centre.down = SinkDown("unreachable", "nobody there")
        await journal.call(more, store, 299)
        await journal.grown()
        await until(lambda: now.state == "down")
        journal.put([reading(1)])
        await until(lambda: journal.top == 301)
        centre.down = None
        await until(lambda: journal.waiting("centre") == 0)
        first = next(at for at, row in centre.got if row.id > 1)
        assert min(at for at, row in centre.got if 150 < row.id < 301) - first > 0.15
        assert centre.ids.index(301) < centre.ids.index(151)

    deliver(store, centre, script, spread=30.0)


@pytest.mark.parametrize("away", [False, True])
def test_backlog_of_a_box_that_starts_late_waits_a_random_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """Power came back to a whole city: old readings wait though no outage was seen, or only its last moment."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(delivery, "FIRST_BYTES", LEAST_BYTES)
    monkeypatch.setattr("edge_agent.delivery.random.uniform", lambda low, high: 0.2 if high > 2 else low)
    store, centre = fill(tmp_path, 300), Centre()
    centre.down = SinkDown("unreachable", "nobody there") if away else None

    async def script(journal: Journal, now: SinkNow) -> None:
        if away:
            await until(lambda: now.state == "down")
        journal.put([reading(1)])
        centre.down = None
        await until(lambda: journal.waiting("centre") == 0)
        assert min(at for at, row in centre.got if 150 < row.id < 301) - centre.got[0][0] > 0.15
        assert centre.ids.index(301) < centre.ids.index(151)

    deliver(store, centre, script, spread=30.0)


@pytest.mark.parametrize("old", [False, True])
def test_backlog_after_a_short_outage_goes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    """Nobody else waited for it; nor does one that has begun wait again, whatever happens on the way."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.05)
    store, centre, drawn = fill(tmp_path, 10, old=old), Centre(), list[float]()

    def draw(low: float, high: float) -> float:
        drawn.append(high)
        return low

    monkeypatch.setattr("edge_agent.delivery.random.uniform", draw)

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: journal.waiting("centre") == 0)
        centre.down = SinkDown("unreachable", "nobody there")
        journal.put([reading(1)])
        await until(lambda: now.state == "down")
        centre.down = None
        await until(lambda: now.state == "up" and journal.waiting("centre") == 0)
        assert drawn.count(0.03) == old

    deliver(store, centre, script, spread=0.03)


def test_requests_grow_on_a_quick_line_and_shrink_on_a_slow_one() -> None:
    """Small first; as large as the sink takes while answers come at once; never so large that one takes long."""
    pace = Pace(2 << 20, None)
    for _ in range(5):
        pace.took(0.1, pace.bytes)
    assert pace.bytes == 2 << 20
    pace.took(5.0, pace.bytes)
    assert pace.bytes == 1 << 20
    for _ in range(20):
        pace.failed()
    assert pace.bytes == LEAST_BYTES


@pytest.mark.parametrize("most", [1, 300, 5000])
def test_server_that_takes_little_at_once_gets_little_at_once(tmp_path: Path, most: int) -> None:
    """Its limit is found by halving and kept to, however low; the last step is one row, which a sink takes apart."""
    store, centre, refused = fill(tmp_path, 100), Centre(), list[int]()
    taking = centre.send

    async def send(rows: Sequence[Row]) -> Settled:
        size = sum(len(row.body) for row in rows)
        if size > most and len(rows) > 1:
            refused.append(size)
            raise TooLarge("Request Entity Too Large")
        return await taking(rows)

    centre.send = send  # type: ignore[method-assign]

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: journal.waiting("centre") == 0)
        assert sorted(centre.ids) == list(range(1, 101))
        assert len(refused) <= 20, refused

    deliver(store, centre, script)


# --- what counts as delivered -----------------------------------------------------------------------------------------


def test_answer_that_is_not_durable_counts_only_later(tmp_path: Path) -> None:
    """What the server may still lose is neither delivered nor sent again, until it has had it for long enough."""
    store, centre = fill(tmp_path, 10), Centre()
    centre.alive = Life(1.0, 100.0, {})

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: journal.waiting("centre") == 0)
        assert (journal.states["centre"].delivered, journal.unconfirmed("centre")) == (0, 10)
        assert journal.states["centre"].cursor.low == 0
        await until(lambda: journal.states["centre"].delivered == 10)
        assert (journal.unconfirmed("centre"), journal.states["centre"].cursor.low) == (0, 10)
        assert len(centre.got) == 10

    deliver(store, centre, script)


def test_server_that_restarted_meanwhile_gets_it_again(tmp_path: Path) -> None:
    """Another start time: whatever had not been confirmed is sent again, all of it, and counted once."""
    store, centre = fill(tmp_path, 10), Centre()
    centre.alive = Life(1.0, 100.0, {})

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: len(centre.got) == 10)
        centre.alive = Life(1.0, 200.0, {})
        await until(lambda: journal.states["centre"].delivered == 10)
        assert sorted(centre.ids) == sorted([*range(1, 11)] * 2)

    deliver(store, centre, script)


def test_rows_that_the_server_throws_away_are_told(tmp_path: Path) -> None:
    """Its own counters give it away; what it threw away before is not our affair."""
    store, centre = fill(tmp_path, 10), Centre()
    centre.alive = Life(1.0, 100.0, {"big_timestamp": 7})

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: len(centre.got) == 10)
        assert now.dropped == 0
        centre.alive = Life(1.0, 100.0, {"big_timestamp": 9})
        await until(lambda: now.dropped > 0)
        assert (now.dropped, now.dropped_why) == (2, "big_timestamp")

    deliver(store, centre, script)


def test_victoria_metrics_killed_after_its_answer_loses_nothing(
    tmp_path: Path, victoria_metrics: VictoriaMetrics
) -> None:
    """kill -9 right after the 204, as measured, costs it everything; the agent notices and sends it again."""
    url = {"url": victoria_metrics.url, "version": 2, "bucket": "city", "confirm_after": "12s"}
    store, sink = fill(tmp_path, 300), InfluxSink("centre", Influx.model_validate(url))

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: journal.waiting("centre") == 0)
        await asyncio.to_thread(victoria_metrics.kill)
        await asyncio.sleep(1.1)  # it tells when it began in whole seconds
        await asyncio.to_thread(victoria_metrics.start)
        await until(lambda: journal.states["centre"].delivered == 300, 60)

    deliver(store, sink, script)
    victoria_metrics.kill()
    victoria_metrics.start()
    samples = {stamp for series in victoria_metrics.export('{__name__="water_level_m"}') for stamp in series.timestamps}
    assert len(samples) == 300


# --- failing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "state"),
    [("unreachable", "down"), ("refused", "refusing"), ("no_database", "refusing"), ("throttled",) * 2],
)
def test_state_of_a_sink_says_why_nothing_goes(tmp_path: Path, what: str, state: str) -> None:
    """Down, refusing, throttled, and up again once something was delivered; nothing is settled meanwhile."""
    store, centre = fill(tmp_path, 5, old=False), Centre()
    centre.down = SinkDown(what, "words", retry_after=1.0)

    async def script(journal: Journal, now: SinkNow) -> None:
        await until(lambda: now.state == state)
        assert (now.what, now.error, journal.waiting("centre")) == (what, "words", 5)
        assert 0.5 < now.next_try - time.time() <= 1.2
        centre.down = None
        await until(lambda: now.state == "up")
        assert (now.error, journal.waiting("centre")) == (None, 0)

    deliver(store, centre, script)


def test_pauses_grow_to_a_minute_each_with_jitter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1, 2, 4 … 60 s, each a fifth more or less; a server's own wish is never cut short."""
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        task = asyncio.current_task()
        if task is None or not task.get_name().startswith("rest "):
            return await real(seconds)
        slept.append(seconds)
        return await real(0 if len(slept) < 10 else 3600)

    store, centre = fill(tmp_path, 1), Centre()
    centre.down = SinkDown("unreachable", "words")
    monkeypatch.setattr("edge_agent.delivery.asyncio.sleep", sleep)

    async def script(journal: Journal, now: SinkNow) -> None:
        while len(slept) < 10:
            await real(0.005)

    deliver(store, centre, script)
    wanted = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    pairs = list(zip(wanted, slept, strict=False))
    assert all(0.8 * w <= s <= 1.2 * w for w, s in pairs), slept
    assert len({round(s / w, 3) for w, s in pairs}) > 3


# --- what goes out ----------------------------------------------------------------------------------------------------


def test_small_rows_of_a_batch_go_as_one_body() -> None:
    """They are packed anew and take a fifth; a damaged one leaves all as they are; large ones are only put together."""
    lines = [f"weather,site=cl-02,sensor=met-{n % 4} temp_c={n / 7!r},rh_pct={n}.5,q=0i {n}\n" for n in range(400)]
    small = [pack("".join(lines[n : n + 4])) for n in range(0, 400, 4)]
    assert unpack(glued(small)) == "".join(lines)
    assert len(glued(small)) < sum(map(len, small)) / 3
    assert glued([*small, b"damaged"]) == b"".join([*small, b"damaged"])
    large = [random.Random(n).randbytes(2 * SMALL) for n in range(2)]
    assert glued(large) == b"".join(large)
