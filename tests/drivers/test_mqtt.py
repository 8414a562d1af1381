"""The connection to a broker, on a real mosquitto: what is acknowledged when, what survives, what is said to people."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from pydantic import ValidationError

from drivers.driver import Batch
from drivers.marked import Secret
from drivers.mqtt import MqttConnection
from drivers.mqtt_inbox import MAX_SERIES, Arrival, Inbox
from drivers.mqtt_packets import Message
from drivers.reading import Readings, Reason
from drivers.settings import Broker, Subscription
from edge_agent.demo_servers import Mosquitto, free_port
from edge_agent.text import LANGUAGES, texts
from tests.conftest import Run
from tests.drivers.test_decoders import MALFORMED

COUNTER = {
    "topic": "s/+",
    "decoder": "json",
    "device": "{1}",
    "time": "$.t",
    "points": {"counter.count": "$.n"},
}
NOW = 1_786_674_000_000


def broker(url: str, **more: Any) -> Broker:
    """A connection that counts: each message carries a number `n` and a stamp `t`."""
    return Broker.model_validate({"id": "field", "broker": url, "subscriptions": [COUNTER]} | more)


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Payloads with rising numbers and stamps."""
    now = int(time.time() * 1000) - 100_000
    return [b'{"n":%d,"t":%d}' % (number, now + number) for number in range(start, start + count)]


async def publish(
    server: Mosquitto, payloads: Iterable[bytes], topic: str = "s/dev-1", qos: int = 1, retain: bool = False
) -> None:
    """Publish all, in order, each acknowledged by the broker."""
    async with aiomqtt.Client("127.0.0.1", server.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        client.pending_calls_threshold = 1000
        payloads = list(payloads)
        for start in range(0, len(payloads), 500):
            await asyncio.gather(
                *[client.publish(topic, payload, qos, retain) for payload in payloads[start : start + 500]]
            )


class Taker:
    """Stands where the pipeline stands: takes batches and, where `commit` says so, calls their `done`."""

    def __init__(self, settings: Broker, *, commit: bool = True) -> None:
        self.connection = MqttConnection(settings, "cl-02")
        self.commit = commit
        self.batches: list[Batch] = []

    async def run(self) -> None:
        async for batch in self.connection.readings():
            self.batches.append(batch)
            if self.commit and batch.done:
                batch.done()

    def commit_first(self) -> None:
        if done := self.batches[0].done:
            done()

    def commit_all(self) -> None:
        for batch in self.batches:
            if batch.done:
                batch.done()

    @property
    def readings(self) -> list[Readings]:
        return [readings for batch in self.batches for readings in batch.readings]

    @property
    def numbers(self) -> list[Any]:
        return [readings.values[0] for readings in self.readings]

    def what(self) -> list[str]:
        return [trouble.what for trouble in self.connection.troubles()]


@asynccontextmanager
async def taking(settings: Broker, *, commit: bool = True, connected: bool = True) -> AsyncIterator[Taker]:
    """A running Taker, connected; ended as the program ends it: by cancelling."""
    taker = Taker(settings, commit=commit)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(taker.run())
        if connected:
            await until(lambda: taker.connection.connected)
        try:
            yield taker
        finally:
            task.cancel()


async def until(condition: Callable[[], bool], timeout: float = 8.0) -> None:
    """Wait for a condition, at most `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


def say(taker: Taker) -> list[str]:
    """Every trouble in both languages; a sentence or a fact that is missing fails."""
    return [
        texts(language, strict=True)(f"trouble.{trouble.what}", **trouble.facts)
        for language in LANGUAGES
        for trouble in taker.connection.troubles()
    ]


# --- acknowledged means on disk ---------------------------------------------------------------------------------------

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


def test_broker_killed_while_a_commit_is_under_way(tmp_path: Path) -> None:
    """Over kill -9 of the broker it reconnects; what the broker repeats is taken once, and acknowledged after all."""

    saved = tmp_path / "mosquitto" / "mosquitto.db"

    async def scenario(server: Mosquitto) -> None:
        settings = broker(server.url)
        async with taking(settings, commit=False) as taker:
            await publish(server, numbered(200))
            await until(lambda: len(taker.numbers) == 200)
            published = time.time()
            await until(lambda: saved.exists() and saved.stat().st_mtime > published)
            server.kill()
            await until(lambda: not taker.connection.connected)
            taker.commit_first()  # committed while there is no connection
            server.start()
            await until(lambda: taker.connection.connected and taker.connection.counts.repeated == 200)
            await publish(server, numbered(10, start=200))
            await until(lambda: len(taker.numbers) == 210)
            assert taker.numbers == list(range(210))
            assert "broker_unreachable" not in taker.what()
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


# --- what people are told ---------------------------------------------------------------------------------------------


def test_wrong_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, in plain words; with the right password it works by itself."""
    monkeypatch.setenv("EDGE_SECRET_MQTT_FIELD", "wrong")

    async def scenario(server: Mosquitto) -> None:
        settings = broker(server.url, username="edge", password=Secret("mqtt-field"))
        async with taking(settings, connected=False) as taker:
            await until(lambda: taker.what() == ["broker_refused"])
            assert taker.connection.troubles()[0].facts["error"] == "not authorized"
            assert taker.connection.troubles()[0].failed
            assert say(taker)
            monkeypatch.setenv("EDGE_SECRET_MQTT_FIELD", "right")
            await until(lambda: taker.connection.connected)
            assert taker.what() == []

    with Mosquitto(tmp_path, passwords={"edge": "right"}) as server:
        asyncio.run(scenario(server))


def test_missing_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that should hold it is named."""
    monkeypatch.delenv("EDGE_SECRET_MQTT_FIELD", raising=False)

    async def scenario() -> None:
        settings = broker("mqtt://127.0.0.1:1", username="edge", password=Secret("mqtt-field"))
        async with taking(settings, connected=False) as taker:
            await until(lambda: taker.what() == ["secret_missing"])
            assert "EDGE_SECRET_MQTT_FIELD" in say(taker)[0]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("host", "words"), [("127.0.0.1", "connection refused"), ("no-such-host.invalid", "name not known")]
)
def test_broker_that_is_not_there(host: str, words: str) -> None:
    """Said once, with where it was looked for and why it failed."""

    async def scenario() -> None:
        port = free_port()
        async with taking(broker(f"mqtt://{host}:{port}"), connected=False) as taker:
            await until(lambda: taker.what() == ["broker_unreachable"])
            assert taker.connection.troubles()[0].facts == {
                "broker": "field",
                "where": f"{host}:{port}",
                "error": words,
            }
            assert say(taker)

    asyncio.run(scenario())


def test_client_id_used_twice(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    """mosquitto throws the older one out without a word: after three times both suspect it, and slow down."""
    monkeypatch.setattr("drivers.mqtt.LEAST_PAUSE", 0.1)

    async def scenario() -> None:
        async with taking(broker(mosquitto.url)) as taker, taking(broker(mosquitto.url)):
            await until(lambda: "connection_unsteady" in taker.what())
            assert "edge-cl-02" in say(taker)[-1]

    asyncio.run(scenario())


def test_broker_that_says_the_session_was_taken_over() -> None:
    """Said as it is, and the next attempt waits so long that two boxes do not throw each other out for ever."""

    async def scenario() -> None:
        connections = 0

        async def throws_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await reader.read(1000)
            writer.write(b"\x20\x03\x00\x00\x00")  # CONNACK
            subscribe = await reader.read(1000)
            writer.write(b"\x90\x04" + subscribe[2:4] + b"\x00\x01")  # SUBACK
            await asyncio.sleep(0.05)
            writer.write(b"\xe0\x01\x8e")  # DISCONNECT, session taken over
            writer.close()

        server = await asyncio.start_server(throws_out, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with taking(broker(f"mqtt://127.0.0.1:{port}"), connected=False) as taker:
            await until(lambda: "session_taken_over" in taker.what())
            assert say(taker)
            await asyncio.sleep(1.5)
            assert connections == 1
        server.close()

    asyncio.run(scenario())


def test_broker_without_qos_1(tmp_path: Path) -> None:
    """A subscription that is granted less than it asked for is a trouble: readings may be lost."""

    async def scenario(server: Mosquitto) -> None:
        async with taking(broker(server.url)) as taker:
            assert taker.what() == ["subscription_weakened"]
            assert say(taker)

    with Mosquitto(tmp_path, extra="max_qos 0") as server:
        asyncio.run(scenario(server))


def test_subscription_that_is_denied(tmp_path: Path) -> None:
    """The topic is named, and the connection stays for the others."""
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if plugin is None:
        pytest.skip("mosquitto's dynamic security plugin is not installed")
    allowed = [{"acltype": "subscribePattern", "topic": "s/+", "allow": True}]
    rights = {
        "defaultACLAccess": {
            "publishClientSend": True,
            "publishClientReceive": True,
            "subscribe": False,
            "unsubscribe": True,
        },
        "clients": [],
        "roles": [{"rolename": "reader", "acls": allowed}],
        "groups": [{"groupname": "all", "roles": [{"rolename": "reader"}]}],
        "anonymousGroup": "all",
    }
    (tmp_path / "rights.json").write_text(json.dumps(rights), encoding="utf-8")

    async def scenario(server: Mosquitto) -> None:
        settings = broker(server.url, subscriptions=[COUNTER, COUNTER | {"topic": "secret/+"}])
        async with taking(settings) as taker:
            (trouble,) = taker.connection.troubles()
            assert (trouble.what, trouble.facts["topic"], trouble.failed) == ("subscription_refused", "secret/+", False)
            assert say(taker)
            await publish(server, numbered(1))
            await until(lambda: taker.numbers == [0])

    extra = f"plugin {plugin}\nplugin_opt_config_file {tmp_path}/rights.json"
    with Mosquitto(tmp_path, extra=extra) as server:
        asyncio.run(scenario(server))


def test_broker_that_hangs(tmp_path: Path) -> None:
    """Cancelling ends a connection attempt at once, and leaves no socket behind."""

    async def scenario() -> None:
        closed = asyncio.Event()

        async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1000):
                pass
            closed.set()
            writer.close()

        server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        task = asyncio.create_task(Taker(broker(f"mqtt://127.0.0.1:{port}")).run())
        await asyncio.sleep(0.3)
        task.cancel()
        before = time.monotonic()
        await asyncio.gather(task, return_exceptions=True)
        assert time.monotonic() - before < 0.5
        async with asyncio.timeout(2):
            await closed.wait()
        server.close()

    asyncio.run(scenario())


def test_server_that_is_no_broker() -> None:
    """Something else on the port is a broker that cannot be reached, not a crash."""

    async def scenario() -> None:
        async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 100)

        server = await asyncio.start_server(speaks_http, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with taking(broker(f"mqtt://127.0.0.1:{port}"), connected=False) as taker:
            await until(lambda: bool(taker.what()), timeout=15)
            assert taker.what() == ["broker_unreachable"]
        server.close()

    asyncio.run(scenario())


# --- TLS --------------------------------------------------------------------------------------------------------------


def certificates(folder: Path) -> None:
    """An authority `ca.crt`, and `broker.crt` signed by it for 127.0.0.1."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=20)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "30", "-subj", "/CN=Test authority")
    openssl("req", *key, "-keyout", "broker.key", "-out", "broker.csr", "-subj", "/CN=broker")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1", encoding="utf-8")
    openssl(
        *("x509", "-req", "-in", "broker.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30"),
        *("-out", "broker.crt", "-extfile", "san"),
    )


def test_tls_with_an_authority_of_its_own(tmp_path: Path, run: Run) -> None:
    """With the authority's certificate messages arrive, large and many; without it the broker is not trusted."""
    certificates(tmp_path)
    server = Mosquitto(tmp_path)
    tls = free_port()
    files = f"cafile {tmp_path}/ca.crt\ncertfile {tmp_path}/broker.crt\nkeyfile {tmp_path}/broker.key"
    server.extra = f"listener {tls} 127.0.0.1\n{files}\n"

    async def scenario() -> None:
        url = f"mqtts://127.0.0.1:{tls}"
        async with taking(broker(url, ca=str(tmp_path / "ca.crt"))) as taker:
            filler = b" " * 100_000
            await publish(server, [*numbered(1000), *[payload + filler for payload in numbered(20, start=1000)]])
            await until(lambda: len(taker.numbers) == 1020)
            assert taker.numbers == list(range(1020))
        async with taking(broker(url), connected=False) as stranger:
            await until(lambda: stranger.what() == ["broker_untrusted"])
            assert say(stranger)
        async with taking(broker(url, ca=str(tmp_path / "none.crt")), connected=False) as careless:
            await until(lambda: careless.what() == ["broker_files"])
            assert "/none.crt" in say(careless)[0]

    with server:
        run(scenario())


# --- names and topics -------------------------------------------------------------------------------------------------


def test_device_named_like_another_drivers(mosquitto: Mosquitto) -> None:
    """Its readings would be mixed into the other's series: they are left out, counted and said; others come in."""

    async def scenario() -> None:
        connection = MqttConnection(broker(mosquitto.url), "cl-02", taken=lambda name: name == "dev-1")
        batches = connection.readings()
        first = asyncio.ensure_future(anext(batches))
        await until(lambda: connection.connected)
        await publish(mosquitto, numbered(3))
        await publish(mosquitto, numbered(1), "s/dev-2")
        assert [readings.source.device for readings in (await first).readings] == ["dev-2"]
        assert (connection.counts.name_taken, connection.counts.last_name_taken) == (3, "dev-1")
        assert [trouble.what for trouble in connection.troubles()] == ["name_taken"]
        await batches.aclose()

    asyncio.run(scenario())


def test_topic_taken_out_of_the_configuration(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The session that the broker keeps is told to bring it no more, also after a restart of the program."""
    memory = tmp_path / "mqtt-field.json"

    async def connected_with(*topics: str) -> MqttConnection:
        subscriptions = [COUNTER | {"topic": topic} for topic in topics]
        told = {"id": "field", "broker": mosquitto.url, "subscriptions": subscriptions}
        taker = Taker(Broker.model_validate_json(json.dumps(told)))
        taker.connection = MqttConnection(Broker.model_validate_json(json.dumps(told)), "cl-02", memory=memory)
        task = asyncio.create_task(taker.run())
        await until(lambda: taker.connection.connected)
        await publish(mosquitto, numbered(1), "old/dev-1")
        await publish(mosquitto, numbered(1), "s/dev-1")
        await until(lambda: len(taker.readings) >= len(topics))
        await publish(mosquitto, numbered(1), "s/last")  # comes back once the acknowledgements before it have left
        await until(lambda: taker.readings[-1].source.device == "last")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return taker.connection

    async def scenario() -> None:
        assert (await connected_with("s/+", "old/+")).counts.messages == 3
        assert (await connected_with("s/+")).counts.not_subscribed == 0
        assert json.loads(memory.read_text())["topics"] == ["s/+"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("device", "topic", "what"),
    [
        ("{id}", "s/+", "device_template"),
        ("met-{}", "s/+", "device_template"),
        ("{1", "s/+", "device_template"),
        ("{2}", "s/+", "device_level"),
        ("{7}", "s/#", None),
        ("{0}-{1}", "s/+", None),
    ],
)
def test_template_of_a_devices_name(device: str, topic: str, what: str | None) -> None:
    """What is no level of the topic would give every device one name: it is refused beforehand."""
    told = {"topic": topic, "decoder": "json", "device": device, "points": {"air.co2_ppm": "$.n"}}
    if what is None:
        assert Subscription.model_validate(told).device == device
        return
    with pytest.raises(ValidationError) as refused:
        Subscription.model_validate(told)
    assert [error["type"] for error in refused.value.errors()] == [f"edge.{what}"]
