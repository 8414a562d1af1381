"""Messages turned into readings: honest time, and input that is malformed, hostile or too much."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.mqtt_inbox import MAX_SERIES, RECENT, Arrival, Counts, Inbox
from drivers.mqtt_packets import Message
from drivers.reading import Reason
from edge_agent.demo_servers import Mosquitto
from tests.conftest import Run
from tests.drivers.payloads import MALFORMED
from tests.drivers.taking import NOW, broker, numbered, publish, say, taking
from tests.waiting import until

# --- honest time ------------------------------------------------------------------------------------------------------


def test_retained_message(mosquitto: Mosquitto) -> None:
    """A retained message keeps its own stamp; without one it is marked, never passed off as fresh."""

    async def scenario() -> None:
        await publish(mosquitto, [b'{"n":1}'], "s/old", retain=True)
        await publish(mosquitto, [b'{"n":2,"t":%d}' % NOW], "s/stamped", retain=True)
        async with taking(broker(mosquitto.url)) as taker:
            await until(lambda: len(taker.readings) == 2)
            await publish(mosquitto, [b'{"n":3}'], "s/old", retain=True)
            await until(lambda: len(taker.readings) == 3)
        told = {readings.source.device + str(readings.values[0]): readings for readings in taker.readings}
        assert told["old1"].reason(0) is Reason.stale
        assert (told["stamped2"].reason(0), told["stamped2"].time) == (Reason.ok, NOW)
        assert told["old3"].reason(0) is Reason.ok

    asyncio.run(scenario())


def test_messages_that_waited_in_the_broker(mosquitto: Mosquitto) -> None:
    """Without a stamp of their own, what waited while the box was away is marked as old; what comes live is not."""

    async def scenario() -> None:
        settings = broker(mosquitto.url)
        async with taking(settings):
            pass
        await publish(mosquitto, [b'{"n":1}', b'{"n":2,"t":%d}' % NOW])
        async with taking(settings) as taker:
            await until(lambda: len(taker.readings) == 2)
            await asyncio.sleep(0.3)
            await publish(mosquitto, [b'{"n":3}'])
            await until(lambda: len(taker.readings) == 3)
        assert [readings.reason(0) for readings in taker.readings] == [Reason.stale, Reason.ok, Reason.ok]

    asyncio.run(scenario())


@pytest.mark.parametrize("stamp", [b"1000", b'"2019-12-31T23:59:59Z"', b"%d" % (NOW + 301_000), b'"soon"'])
def test_impossible_stamp(stamp: bytes) -> None:
    """Before 2020, more than 5 minutes ahead, or no time at all: kept with the time of arrival, and marked."""
    inbox = Inbox(broker("mqtt://127.0.0.1"), lambda: True)
    message = Message(b"s/dev-1", b'{"n":1,"t":%s}' % stamp, 1, False, False)
    (readings,) = inbox.take(message, Arrival(NOW, 5))
    assert (readings.time, readings.mono, readings.values, readings.stamped) == (NOW, 5, (1,), False)
    assert readings.reason(0) is Reason.bad_time


def test_stamp_ahead_of_a_clock_that_is_wrong() -> None:
    """While the box's own clock is not right it cannot judge a device's, which is then believed."""
    inbox = Inbox(broker("mqtt://127.0.0.1"), lambda: False)
    (readings,) = inbox.take(Message(b"s/dev-1", b'{"n":1,"t":%d}' % NOW, 1, False, False), Arrival(86_400_000, 5))
    assert (readings.time, readings.stamped, readings.reason(0)) == (NOW, True, Reason.ok)


# --- bad input --------------------------------------------------------------------------------------------------------


# --- bad input --------------------------------------------------------------------------------------------------------


def test_malformed_payloads(tmp_path: Path, run: Run) -> None:
    """Each is counted and acknowledged, the last is shown, and the good ones between them all arrive."""

    async def scenario(server: Mosquitto) -> None:
        settings = broker(server.url)
        payloads = [payload for payload in MALFORMED.values() if len(payload) < 300_000]
        async with taking(settings) as taker:
            for number, payload in enumerate(payloads):
                await publish(server, [payload, *numbered(1, start=number)])
            await publish(server, [b'{"n":1}'], "s/" + "x" * 60_000)
            await publish(server, [b'{"n":true}'], "s/a")
            await until(lambda: len(taker.numbers) == len(payloads) + 1)
            assert taker.numbers == [*range(len(payloads)), None]
            assert taker.connection.counts.malformed == len(payloads) + 1
            assert taker.readings[-1].reason(0) is Reason.decode
            assert taker.what() == ["payload_malformed"]
            assert "topic of" in taker.connection.counts.last_malformed
            assert all(len(sentence) < 600 for sentence in say(taker))
        async with taking(settings) as again:
            await asyncio.sleep(0.2)
            assert (again.numbers, again.connection.counts.malformed) == ([], 0)

    with Mosquitto(tmp_path, extra="max_packet_size 20000000") as server:
        run(scenario(server))


def test_payload_of_10_mb(tmp_path: Path) -> None:
    """The broker, told our longest packet, keeps it from us; what follows arrives."""

    async def scenario(server: Mosquitto) -> None:
        async with taking(broker(server.url)) as taker:
            await publish(server, [b" " * 10_000_000, b" " * 300_000, *numbered(1)])
            await until(lambda: taker.numbers == [0])
            assert taker.connection.counts.malformed == 1

    with Mosquitto(tmp_path, extra="max_packet_size 20000000") as server:
        asyncio.run(scenario(server))


def test_names_without_end() -> None:
    """A device name that changes with each message fills neither our memory nor the database's index: it is refused."""
    inbox = Inbox(broker("mqtt://127.0.0.1"), lambda: True)
    arrival = Arrival(NOW, 5)
    taken = [inbox.take(Message(b"s/d%d" % n, b'{"n":1}', 1, False, False), arrival) for n in range(MAX_SERIES + 100)]
    assert sum(1 for readings in taken if readings) == MAX_SERIES
    assert inbox.counts.refused_series == 100
    assert inbox.take(Message(b"s/d7", b'{"n":1}', 1, False, False), arrival)


def test_terminal_codes_in_a_payload() -> None:
    """What is shown of a bad payload does nothing to a terminal, and is short."""
    inbox = Inbox(broker("mqtt://127.0.0.1"), lambda: True)
    inbox.take(Message(b"s/\x1b[2J", b"\x1b]0;owned\x07" + b"\xff" * 5000, 1, False, False), Arrival(NOW, 5))
    assert inbox.counts.last_malformed.isprintable()
    assert len(inbox.counts.last_malformed) < 500


def test_unreadable_message_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """With its reason, where the finding sends the technician; one line a minute at most, however fast they come."""
    inbox = Inbox(broker("mqtt://127.0.0.1"), lambda: True)
    for _ in range(100):
        inbox.take(Message(b"s/dev-1", b"{", 1, False, False), Arrival(NOW, 5))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "edge.mqtt"]
    reason, _, rest = inbox.counts.last_malformed.partition(": s/dev-1: ")
    assert (bool(reason), rest) == (True, "{")
    assert f"topic=s/dev-1 error={reason} payload={{" in line


def test_trouble_that_comes_again_began_with_the_first() -> None:
    """How long it has been going on is told, not when it was last; after a long quiet it begins anew."""
    counts = Counts()
    for moment in (1000.0, 1000.0 + RECENT - 1, 1000.0 + 1.5 * RECENT):
        counts.saw("malformed", moment)
    assert counts.seen["malformed"] == (1000.0, 1000.0 + 1.5 * RECENT)
    counts.saw("malformed", 1000.0 + 3 * RECENT)
    assert counts.seen["malformed"] == (1000.0 + 3 * RECENT, 1000.0 + 3 * RECENT)


# --- what people are told ---------------------------------------------------------------------------------------------
