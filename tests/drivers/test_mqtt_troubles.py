"""What people are told of a broker that refuses, is away, misbehaves or cannot be trusted."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from drivers import mqtt, mqtt_seam
from drivers.marked import Secret
from edge_agent.demo_servers import Mosquitto, free_port
from tests.conftest import Run
from tests.drivers.taking import COUNTER, Taker, broker, numbered, publish, say, taking
from tests.waiting import until

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


def test_broker_that_vanished_without_a_word(mosquitto: Mosquitto) -> None:
    """The kernel notices within 25 s, whether we wait or send, and the next attempt comes within 30 s of its return.

    tests/faults/test_broker.py waits for it; here it is only looked at.
    """

    async def scenario() -> None:
        async with taking(broker(mosquitto.url)) as taker:
            link = taker.connection._link
            sock = link._paho.socket() if link else None
            assert isinstance(sock, socket.socket)
            for level, option, value in mqtt_seam.HALF_OPEN:
                assert sock.getsockopt(level, option) == value
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle, every, times = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            waits, between, count = (sock.getsockopt(socket.IPPROTO_TCP, option) for option in (idle, every, times))
            assert waits + between * count <= 25
            assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 25_000

    asyncio.run(scenario())
    assert mqtt.MOST_PAUSE + mqtt_seam.CONNECT_TIMEOUT <= 28


def test_server_that_is_no_broker() -> None:
    """Something else on the port is a broker that cannot be reached, not a crash."""

    async def scenario() -> None:
        async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 100)

        server = await asyncio.start_server(speaks_http, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with taking(broker(f"mqtt://127.0.0.1:{port}"), connected=False) as taker:
            await until(lambda: bool(taker.what()), within=15)
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
