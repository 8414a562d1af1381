"""What a real mosquitto may let go of: nothing before it is on disk, over kills, backlogs and bursts."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

from drivers.driver import Batch
from drivers.mqtt import MqttConnection
from edge_agent.demo_servers import Mosquitto
from tests.conftest import Run
from tests.drivers.taking import COUNTER, Taker, broker, numbered, publish, taking
from tests.waiting import until

CRASHING = """
import asyncio, sys
from drivers.mqtt import MqttConnection
from drivers.settings import Broker, Subscription
async def main():
    seen = 0
    settings = Broker.model_validate_json(sys.argv[1])
    async for batch in MqttConnection(settings, "cl-02").readings():
        seen += len(batch.readings)
        print(seen, flush=True)
asyncio.run(main())
"""


def test_process_killed_before_the_commit(mosquitto: Mosquitto) -> None:
    """What a killed process had taken but not committed is delivered again, all of it, to the next one."""

    async def scenario() -> None:
        settings = broker(mosquitto.url)
        async with taking(settings):
            pass  # the session exists from now on
        told = json.dumps({"id": "field", "broker": mosquitto.url, "subscriptions": [COUNTER]})
        root = Path(__file__).parents[2]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CRASHING, told, stdout=asyncio.subprocess.PIPE, cwd=root
        )
        await publish(mosquitto, numbered(500))
        assert process.stdout
        while int(await process.stdout.readline()) < 500:
            pass
        process.kill()
        await process.wait()
        async with taking(settings) as next_one:
            await until(lambda: len(next_one.numbers) >= 500)
            assert next_one.numbers == list(range(500))

    asyncio.run(scenario())


def test_batch_that_was_committed(mosquitto: Mosquitto, run: Run) -> None:
    """After `done` the broker has let go: the next connection gets nothing of it, and what was not done again."""

    async def scenario() -> None:
        settings = broker(mosquitto.url)
        async with taking(settings, commit=False) as first:
            await publish(mosquitto, numbered(300))
            await until(lambda: len(first.numbers) == 300)
            first.commit_all()
            await publish(mosquitto, numbered(50, start=300))
            await until(lambda: len(first.numbers) == 350)
        async with taking(settings) as second:
            await until(lambda: len(second.numbers) >= 50)
            await asyncio.sleep(0.2)
            assert second.numbers == list(range(300, 350))
        async with taking(settings) as third:
            await asyncio.sleep(0.2)
            assert third.numbers == []

    run(scenario())


async def taken_and_saved(server: Mosquitto, taker: Taker, saved: Path) -> None:
    """200 messages are with us, and the broker has saved that none of them is acknowledged."""
    await publish(server, numbered(200))
    await until(lambda: len(taker.numbers) == 200)
    published = time.time()
    await until(lambda: saved.exists() and saved.stat().st_mtime > published)


async def repeats(server: Mosquitto, taker: Taker) -> None:
    """The broker comes back and delivers the 200 again, then what is new: each of them is there once."""
    server.start()
    await until(lambda: taker.connection.connected and taker.connection.counts.repeated == 200)
    await publish(server, numbered(10, start=200))
    await until(lambda: len(taker.numbers) == 210)
    assert taker.numbers == list(range(210))


def test_broker_killed_while_a_commit_is_under_way(tmp_path: Path) -> None:
    """Over kill -9 of the broker it reconnects; what the broker repeats is taken once, and acknowledged after all."""

    saved = tmp_path / "mosquitto" / "mosquitto.db"

    async def scenario(server: Mosquitto) -> None:
        settings = broker(server.url)
        async with taking(settings, commit=False) as taker:
            await taken_and_saved(server, taker, saved)
            server.kill()
            await until(lambda: not taker.connection.connected)
            taker.commit_first()  # committed while there is no connection
            await repeats(server, taker)
            assert "broker_unreachable" not in taker.what()
            taker.commit_all()
        async with taking(settings) as later:
            await asyncio.sleep(0.2)
            assert later.numbers == []

    with Mosquitto(tmp_path, extra="autosave_interval 1") as server:
        asyncio.run(scenario(server))


def test_broker_killed_before_it_takes_note_of_what_was_acknowledged(tmp_path: Path) -> None:
    """What it delivers again is taken once, and acknowledged again."""

    saved, kept = tmp_path / "mosquitto" / "mosquitto.db", tmp_path / "kept.db"

    async def scenario(server: Mosquitto) -> None:
        settings = broker(server.url)
        async with taking(settings, commit=False) as taker:
            await taken_and_saved(server, taker, saved)
            shutil.copy(saved, kept)
            taker.commit_all()
            server.kill()
            await until(lambda: not taker.connection.connected)
            shutil.copy(kept, saved)
            await repeats(server, taker)
            taker.commit_all()
        async with taking(settings) as later:
            await asyncio.sleep(0.2)
            assert later.numbers == []

    with Mosquitto(tmp_path, extra="autosave_interval 1") as server:
        asyncio.run(scenario(server))


def test_queue_beyond_the_receive_maximum(mosquitto: Mosquitto, run: Run) -> None:
    """A backlog many times the window arrives once, in order, while no more than a few windows are under way."""

    async def scenario() -> None:
        settings = broker(mosquitto.url, receive_maximum=200)
        async with taking(settings):
            pass
        await publish(mosquitto, numbered(5000))
        most = 0
        async with taking(settings, commit=False) as taker:
            committed = 0
            while len(taker.numbers) < 5000:
                await asyncio.sleep(0.02)
                most = max(most, len(taker.numbers) - committed)
                committed = len(taker.numbers)
                taker.commit_all()
                taker.batches = [Batch(batch.readings) for batch in taker.batches]
            assert taker.numbers == list(range(5000))
            assert most < 3000  # the window twice, and what one read of the socket brings

    run(scenario())


def test_burst_of_5000_messages(mosquitto: Mosquitto, run: Run) -> None:
    """All arrive once and in order, and the loop is never held up for long."""

    async def scenario() -> None:
        lags: list[float] = []

        async def watch() -> None:
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.005)
                lags.append(time.monotonic() - before - 0.005)

        async with taking(broker(mosquitto.url)) as taker:
            watching = asyncio.create_task(watch())
            async with asyncio.timeout(20):
                await asyncio.to_thread(lambda: asyncio.run(publish(mosquitto, numbered(5000))))
            await until(lambda: len(taker.numbers) >= 5000)
            watching.cancel()
            assert taker.numbers == list(range(5000))
            assert all(readings.stamped for readings in taker.readings)
            assert sorted(lags)[int(len(lags) * 0.99)] < 0.2

    run(scenario())


def test_qos_0_faster_than_it_is_taken(mosquitto: Mosquitto) -> None:
    """QoS 0 beyond the bound is dropped, counted and said."""

    async def scenario() -> None:
        settings = broker(mosquitto.url, receive_maximum=100)
        connection = MqttConnection(settings, "cl-02")
        batches = connection.readings()
        first = asyncio.ensure_future(anext(batches))
        await until(lambda: connection.connected)
        await publish(mosquitto, numbered(1))
        await first
        await publish(mosquitto, numbered(1000), qos=0)  # while nobody asks for the next batch
        await until(lambda: connection.counts.messages + connection.counts.dropped == 1001)
        assert len((await anext(batches)).readings) == 100
        assert connection.counts.dropped == 900
        assert [trouble.what for trouble in connection.troubles()] == ["messages_dropped"]
        await batches.aclose()

    asyncio.run(scenario())


# --- honest time ------------------------------------------------------------------------------------------------------
