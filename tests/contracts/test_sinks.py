"""What every sink must do, against the real servers: InfluxDB 1.6 by v1, victoria-metrics by v2."""

from __future__ import annotations

import asyncio
import http.server
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers.marked import Secret
from drivers.reading import Quantity, Readings, Source, quantities
from edge_agent.body import pack
from edge_agent.config import Influx
from edge_agent.demo_servers import InfluxDB, VictoriaMetrics
from edge_agent.journal import Settled
from edge_agent.lines import Encoder
from edge_agent.rows import Row
from edge_agent.sinks import SinkDown, TooLarge
from edge_agent.sinks.influx import InfluxSink
from tests.waiting import wait_until

Q = quantities()
NOW = 1_786_674_000_000
STATION = Source("met-1", (Q["weather.temp_c"], Q["weather.rh_pct"]))
LEVEL = Source("water-1", (Q["water.level_m"],))


def row(last: int, *readings: Readings) -> Row:
    """A row whose last reading has the sequence number `last`."""
    text = "".join(map(Encoder("cl-02").encode, readings))
    return Row(last, sum(len(r.values) for r in readings), NOW, pack(text))


def at(n: int, temp: float = 20.0) -> Readings:
    return Readings(STATION, NOW + n, n, (temp + n, 80.0))


class Target:
    """A real server and how to read it back."""

    def __init__(self, settings: Influx, read: Callable[[str], dict[int, float]]) -> None:
        """`read`: values of `measurement.field` by stamp in ms."""
        self.settings = settings
        self.read = read


@pytest.fixture(params=["influxdb-v1", "victoria-metrics-v2"])
def target(request: pytest.FixtureRequest) -> Target:
    """Each implementation in turn."""
    if request.param == "influxdb-v1":
        server: InfluxDB = request.getfixturevalue("shared_influxdb")
        database: str = request.getfixturevalue("database")
        return Target(_v1(server, database), lambda name: _influx(server, database, name))
    victoria: VictoriaMetrics = request.getfixturevalue("victoria_metrics")
    return Target(_v2(victoria), lambda name: _victoria(victoria, name))


def _v1(server: InfluxDB, database: str) -> Influx:
    return Influx.model_validate({"url": server.url, "version": 1, "database": database})


def _v2(server: VictoriaMetrics) -> Influx:
    return Influx.model_validate({"url": server.url, "version": 2, "org": "city", "bucket": "city"})


def _influx(server: InfluxDB, database: str, name: str) -> dict[int, float]:
    measurement, field = name.split(".")
    rows = server.query(f'SELECT "{field}" FROM "{measurement}"', database)
    return {int(str(found["time"])): float(str(found[field])) for found in rows}


def _victoria(server: VictoriaMetrics, name: str) -> dict[int, float]:
    server.flush()
    series = server.export(f'{{__name__="{name.replace(".", "_")}"}}')
    samples = [sample for one in series for sample in zip(one.timestamps, one.values, strict=True)]
    return {stamp: value for stamp, value in samples if value is not None}


def send(settings: Influx, *rows: Row, only: tuple[str, ...] = ()) -> Settled:
    """Send rows through a sink made for this."""

    async def main() -> Settled:
        sink = InfluxSink("centre", settings, only)
        try:
            return await sink.send(rows)
        finally:
            await sink.close()

    return asyncio.run(main())


def test_rows_arrive_value_by_value(target: Target) -> None:
    """Several blobs in one request: every value is there with its stamp."""
    settled = send(target.settings, row(4, at(0), at(1)), row(6, at(2)))
    assert settled.delivered == 6
    wanted = {NOW: 20.0, NOW + 1: 21.0, NOW + 2: 22.0}
    assert wait_until(lambda: target.read("weather.temp_c") == wanted)


def test_rows_sent_twice_are_stored_once(target: Target) -> None:
    """After an unclear answer the same rows go out again, and are the same points."""
    send(target.settings, row(2, at(0)))
    send(target.settings, row(2, at(0)))
    assert wait_until(lambda: target.read("weather.temp_c") == {NOW: 20.0})


def test_sink_with_only_gets_those_measurements(target: Target) -> None:
    """What it does not take is counted as excluded, and not sent."""
    mixed = row(3, at(0), Readings(LEVEL, NOW, 0, (3.25,)))
    settled = send(target.settings, mixed, only=("water",))
    assert (settled.delivered, settled.excluded) == (1, 2)
    assert wait_until(lambda: target.read("water.level_m") == {NOW: 3.25})
    assert target.read("weather.temp_c") == {}


def test_server_that_is_not_there_is_down(target: Target) -> None:
    """Nothing is settled, and the error says why."""
    gone = target.settings.model_copy(update={"url": "http://127.0.0.1:9"})
    with pytest.raises(SinkDown) as down:
        send(gone, row(2, at(0)))
    assert down.value.what == "unreachable"
    assert down.value.words


def test_missing_database_is_said_by_name(shared_influxdb: InfluxDB) -> None:
    """InfluxDB answers 404: readings are kept, and the sentence names the database."""
    with pytest.raises(SinkDown) as down:
        send(_v1(shared_influxdb, "nowhere"), row(2, at(0)))
    assert (down.value.what, down.value.facts) == ("no_database", {"database": "nowhere"})


@pytest.mark.parametrize("place", [0, 13, 24])
def test_one_bad_reading_never_blocks_the_rest(shared_influxdb: InfluxDB, database: str, place: int) -> None:
    """A reading that the server refuses is found, held with the server's words, and all others are stored."""
    wrong = Quantity("weather", "rh_pct", "str", "", "", None, None)
    poison = Readings(Source("met-1", (Q["weather.temp_c"], wrong)), NOW + 100 + place, 0, (9.0, "wet"))
    settings = _v1(shared_influxdb, database)
    send(settings, row(2, at(0)))
    batch = [at(n) for n in range(100, 125) if n != 100 + place]
    batch.insert(place, poison)
    settled = send(settings, row(60, *batch))
    assert settled.delivered == 49
    (held,) = settled.held
    assert "field type conflict" in held.words
    assert (held.device, held.measurement, held.sequence) == ("met-1", "weather", 10 + 2 * place + 2)
    assert held.line.startswith('weather,site=cl-02,sensor=met-1 rh_pct="wet",')
    assert len(_influx(shared_influxdb, database, "weather.temp_c")) == 26


@pytest.mark.parametrize("place", [0, 1234, 4999])
def test_one_bad_reading_of_5000_is_found_in_20_requests(shared_influxdb: InfluxDB, database: str, place: int) -> None:
    """Ten rows of 500 readings, one of them of another type: 4,999 are stored, one is held, 20 requests suffice."""
    wrong = Quantity("weather", "temp_c", "str", "", "", None, None)
    sources = [Source(f"met-{n}", (Q["weather.temp_c"],)) for n in range(500)]
    settings = _v1(shared_influxdb, database)
    send(settings, row(1, Readings(sources[0], NOW, 0, (1.0,))))
    found = [Readings(sources[n % 500], NOW + 1 + n, n, (float(n),)) for n in range(5000)]
    device = sources[place % 500].device
    found[place] = Readings(Source(device, (wrong,)), NOW + 1 + place, place, ("wet",))
    rows = [row(500 * (n + 1), *found[500 * n : 500 * (n + 1)]) for n in range(10)]
    before = _requests(shared_influxdb)
    settled = send(settings, *rows)
    assert _requests(shared_influxdb) - before <= 20
    assert (settled.delivered, [held.sequence for held in settled.held]) == (4999, [place + 1])
    assert "field type conflict" in settled.held[0].words
    assert len(_influx(shared_influxdb, database, "weather.temp_c")) == 5000


def _requests(server: InfluxDB) -> int:
    (counts,) = [row for row in server.query("SHOW STATS FOR 'httpd'") if "writeReq" in row]
    return int(counts["writeReq"] or 0)


# --- answers that no real server here gives on demand -----------------------------------------------------------------


@contextmanager
def answering(status: int, body: bytes = b"", *, certificate: Path | None = None, **headers: str) -> Iterator[Influx]:
    """A small HTTP server that gives one answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    try:
        url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
        yield Influx.model_validate({"url": url, "version": 1, "database": "city"})
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "what"),
    [
        (400, b'{"error":"database is required"}', "refused"),
        (200, b"<html>Sign in to the network</html>", "not_a_database"),
        (401, b'{"error":"unauthorized access"}', "refused"),
        (403, b'{"code":"forbidden","message":"insufficient permissions"}', "refused"),
        (404, b'{"error":"database not found: \\"city\\""}', "no_database"),
        (500, b"internal error", "unreachable"),
        (503, b"", "unreachable"),
        (429, b"", "throttled"),
    ],
)
def test_answer_that_is_not_204_keeps_everything(status: int, body: bytes, what: str) -> None:
    """Only the right answer counts as delivered; a captive portal's page does not."""
    with answering(status, body) as settings, pytest.raises(SinkDown) as down:
        send(settings, row(2, at(0)))
    assert down.value.what == what


def test_server_that_asks_to_wait_is_heard() -> None:
    """Retry-After in seconds is handed on."""
    with answering(429, Retry_After="17") as settings, pytest.raises(SinkDown) as down:
        send(settings, row(2, at(0)))
    assert down.value.retry_after == 17


def test_server_that_asks_to_wait_until_a_date_is_heard() -> None:
    """Retry-After may be a date too (RFC 9110 10.2.3)."""
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    with answering(503, Retry_After=until) as settings, pytest.raises(SinkDown) as down:
        send(settings, row(2, at(0)))
    assert (down.value.what, 100 < (down.value.retry_after or 0) <= 120) == ("throttled", True)


def test_batch_that_is_too_large_is_said_so() -> None:
    """413 asks for less at once."""
    with answering(413, b"Request Entity Too Large") as settings, pytest.raises(TooLarge):
        send(settings, row(2, at(0)), row(4, at(1)))


def test_single_row_that_is_too_large_does_not_block_the_sink() -> None:
    """It is sent in parts; what is too large even alone is held with the server's words."""
    with answering(413, b"Request Entity Too Large") as settings:
        settled = send(settings, row(4, at(0), at(1)))
    assert settled.delivered == 0
    assert [held.sequence for held in settled.held] == [1, 2, 3, 4]


def test_redirect_is_not_followed() -> None:
    """A POST that became a GET elsewhere would look like a refusal of every reading."""
    with answering(301, Location="http://127.0.0.1:9/") as settings, pytest.raises(SinkDown) as down:
        send(settings, row(2, at(0)))
    assert down.value.what == "not_a_database"


def test_certificate_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """Nothing is sent, and the sentence says which file."""
    ca = tmp_path / "missing.crt"
    with answering(204) as settings, pytest.raises(SinkDown) as down:
        send(settings.model_copy(update={"ca": ca}), row(2, at(0)))
    assert (down.value.what, down.value.facts) == ("files", {"where": str(ca)})


def test_secret_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its token nothing is sent, and the sentence says which secret is missing."""
    monkeypatch.delenv("EDGE_SECRET_INFLUX", raising=False)
    file = tmp_path / "agent.yaml"
    influxdb = "{url: 'http://127.0.0.1:9', version: 2, bucket: b, token: !secret influx}"
    file.write_text(f"site: a\nsinks:\n- {{id: c, influxdb: {influxdb}}}\n")
    from edge_agent.config import load

    settings = load(file).sinks[0].influxdb
    assert settings is not None
    with pytest.raises(SinkDown) as down:
        send(settings, row(2, at(0)))
    assert (down.value.what, down.value.facts["name"]) == ("secret_missing", "influx")


# --- certificates and secrets -----------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of this test, and what it signed for 127.0.0.1."""

    def __init__(self, folder: Path, days: int = 1) -> None:
        """`days` until the server's certificate ends; negative: it has ended."""
        self._key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.ca, self.server = folder / "ca.pem", folder / "server.pem"
        pem = serialization.Encoding.PEM
        root = self._signed("authority of the test", self._key, 30)
        root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.ca.write_bytes(root.sign(self._key, hashes.SHA256()).public_bytes(pem))
        address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        leaf = self._signed("127.0.0.1", key, days).add_extension(address, critical=False)
        form = (pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        own = key.private_bytes(*form) + leaf.sign(self._key, hashes.SHA256()).public_bytes(pem)
        self.server.write_bytes(own)

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, "authority of the test")
        )
        now = datetime.now(UTC)
        since, until = now - timedelta(days=20), now + timedelta(days=days)
        number = x509.random_serial_number()
        return x509.CertificateBuilder(issuer, subject, key.public_key(), number, since, until)


def test_server_with_a_certificate_of_our_own_authority_is_believed(tmp_path: Path) -> None:
    """With `ca` it is; without, by the system's authorities alone, it is not, and nothing is sent."""
    authority = Authority(tmp_path)
    with answering(204, certificate=authority.server) as settings:
        trusting = settings.model_copy(update={"ca": authority.ca})
        assert send(trusting, row(2, at(0))).delivered == 2
        with pytest.raises(SinkDown) as down:
            send(settings, row(2, at(0)))
    assert (down.value.what, "certificate" in down.value.words.lower()) == ("unreachable", True)


def test_server_with_a_certificate_of_an_authority_of_the_system_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `ca` those count that the system believes (OpenSSL: `SSL_CERT_FILE`)."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    with answering(204, certificate=authority.server) as settings:
        assert send(settings, row(2, at(0))).delivered == 2


def test_server_whose_certificate_has_ended_gets_nothing(tmp_path: Path) -> None:
    """Readings are kept, and the words say why."""
    authority = Authority(tmp_path, days=-1)
    with answering(204, certificate=authority.server) as settings, pytest.raises(SinkDown) as down:
        send(settings.model_copy(update={"ca": authority.ca}), row(2, at(0)))
    assert "expired" in down.value.words


@pytest.mark.parametrize("status", [204, 400, 401, 404, 413, 429, 500])
def test_token_is_in_no_log_and_no_word(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the server answers, even the token itself, and at the most talkative level."""
    token = "s3cr3t-t0ken-of-this-test"
    monkeypatch.setenv("EDGE_SECRET_CENTRE", token)
    caplog.set_level(logging.DEBUG)
    with answering(status, f'{{"error":"Authorization: Token {token} is wrong"}}'.encode()) as settings:
        url = {"url": settings.url, "version": 2, "bucket": "city", "token": Secret("centre")}
        said = ""
        try:
            said = repr(send(Influx.model_validate(url), row(2, at(0))))
        except (SinkDown, TooLarge) as error:
            said = repr(error) + repr(getattr(error, "facts", ""))
    assert token not in said + caplog.text
