"""What a sink makes of each thing that a server, or something on the way to it, may answer."""

from __future__ import annotations

import asyncio
import base64
import gzip
import http.server
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from drivers.marked import Secret
from drivers.reading import Readings, Source, quantities
from edge_agent.body import pack
from edge_agent.config import Influx
from edge_agent.demo_servers import VictoriaMetrics
from edge_agent.journal import Settled
from edge_agent.lines import Encoder
from edge_agent.rows import Row
from edge_agent.sinks import Life, SinkDown
from edge_agent.sinks.influx import InfluxSink
from tests.waiting import wait_until

LEVEL = Source("water-1", (quantities()["water.level_m"],))
Request = http.server.BaseHTTPRequestHandler
Answer = Callable[[Request, bytes], None]
"""Answers one request with this body."""


def give(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Always the same; `Date` only where it is given."""

    def answer(request: Request, _: bytes) -> None:
        request.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


@contextmanager
def server(answer: Answer, **settings: object) -> Iterator[Influx]:
    """One on loopback that answers everything so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self) -> None:
            answer(self, b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=listening.serve_forever, args=(0.02,))
    serving.start()
    try:
        url = f"http://127.0.0.1:{listening.server_address[1]}"
        yield Influx.model_validate({"url": url, "version": 1, "database": "city", **settings})
    finally:
        listening.shutdown()
        serving.join()
        listening.server_close()


def send(settings: Influx, readings: int = 1, at: int = 1_786_674_000_000) -> Settled:
    """A row of so many readings from `at`, ms, on, with the values 0, 1, 2 …"""
    text = "".join(Encoder("cl-02").encode(Readings(LEVEL, at + n, n, (n,))) for n in range(readings))

    async def main() -> Settled:
        sink = InfluxSink("centre", settings)
        try:
            return await sink.send([Row(readings, readings, 0, pack(text))])
        finally:
            await sink.close()

    return asyncio.run(main())


def life(settings: Influx) -> Life | None:
    """What the sink learns of the server."""

    async def main() -> Life | None:
        sink = InfluxSink("centre", settings)
        try:
            return await sink.life()
        finally:
            await sink.close()

    return asyncio.run(main())


def asked(of: list[str], answer: Answer) -> Answer:
    """The same, and `of` gets the path of each request."""

    def noted(request: Request, body: bytes) -> None:
        of.append(request.path)
        answer(request, body)

    return noted


# --- what it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_server_that_cannot_be_asked_just_now_is_not_taken_for_a_durable_one(status: int) -> None:
    """A proxy before a victoria-metrics that starts anew says so: what is sent next would count as stored at once."""
    with server(give(status, Retry_After="7")) as settings, pytest.raises(SinkDown) as down:
        life(settings)
    assert (down.value.what, down.value.retry_after) == ("throttled", 7)


@pytest.mark.parametrize("page", [b"", b'vm_app_version{version="x"} 1\n'])
def test_redirect_of_the_look_is_not_followed(page: bytes) -> None:
    """Where a captive portal sends us nobody is asked, and nothing there says what our server is."""
    paths: list[str] = []
    there = {"X_Influxdb_Version": "2.7"} if not page else {}
    with server(asked(paths, give(200, page, **there))) as portal:
        elsewhere = give(302, Location=f"{portal.url}/login")
        with server(elsewhere) as settings:
            assert life(settings) is None
    assert paths == []


def test_server_without_counters_is_as_good_as_its_answers() -> None:
    """404 to the question is no reason to send nothing."""
    with server(give(404)) as settings:
        assert life(settings) is None


def test_victoria_metrics_is_believed_after_a_minute_and_tells_what_it_threw_away(
    victoria_metrics: VictoriaMetrics,
) -> None:
    """By itself, without `confirm_after`; a line of another century gets a 204, and only its counter says so."""
    settings = Influx.model_validate({"url": victoria_metrics.url, "version": 2, "bucket": "city"})
    before = life(settings)
    send(settings, at=4_102_444_800_000)  # the year 2100
    assert before is not None
    assert (before.hold, abs(before.started - time.time()) < 120) == (60, True)

    def has_told() -> bool:
        after = life(settings)
        assert after is not None
        assert (after.hold, after.started) == (60, before.started)
        return after.dropped["big_timestamp"] > before.dropped["big_timestamp"]

    assert wait_until(has_told)


def test_server_of_another_make_is_believed_as_late_as_it_is_told() -> None:
    """With `confirm_after`, whatever it says of itself."""
    with server(give(404), confirm_after="12s") as settings:
        assert life(settings) == Life(12.0, 0.0, {})


def test_server_is_asked_what_it_is_with_our_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """An InfluxDB 3 tells nobody else."""
    monkeypatch.setenv("EDGE_SECRET_CENTRE", "t0ken")
    signs: list[str | None] = []

    def answer(request: Request, body: bytes) -> None:
        signs.append(request.headers["Authorization"])
        give(204, X_Influxdb_Version="3.0")(request, body)

    with server(answer, version=3, database=None, bucket="city", token=Secret("centre")) as settings:
        assert life(settings) is None
    assert signs == ["Token t0ken"]


# --- a wish to wait ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
def test_seconds_to_wait_are_heard(status: int) -> None:
    """Whatever the status is that they come with."""
    with server(give(status, Retry_After="17")) as settings, pytest.raises(SinkDown) as down:
        send(settings)
    assert (down.value.what, down.value.retry_after) == ("throttled", 17)


@pytest.mark.parametrize("off", [timedelta(0), timedelta(hours=-1), timedelta(days=365)], ids=["right", "slow", "fast"])
def test_date_to_wait_for_counts_from_the_servers_now(off: timedelta) -> None:
    """The clock of a box may be an hour off, or a year: the wait is what the server meant."""
    now = datetime.now(UTC) + off
    date, until = (format_datetime(each, usegmt=True) for each in (now, now + timedelta(seconds=120)))
    with server(give(503, Date=date, Retry_After=until)) as settings, pytest.raises(SinkDown) as down:
        send(settings)
    assert (down.value.what, down.value.retry_after) == ("throttled", 120)


@pytest.mark.parametrize("wish", ["soon", "-5", "Mon, 99 Foo 2026", "Wed, 21 Oct 99999 07:28:00 GMT"])
def test_wish_that_nobody_understands_is_none(wish: str) -> None:
    """Our own pauses are kept then."""
    with server(give(503, Retry_After=wish)) as settings, pytest.raises(SinkDown) as down:
        send(settings)
    assert (down.value.what, down.value.retry_after) == ("unreachable", None)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
def test_reading_that_is_refused_is_held_and_the_rest_goes(status: int) -> None:
    """Both words of a server for lines that it does not take."""

    def answer(request: Request, body: bytes) -> None:
        bad = b"level_m=5" in gzip.decompress(body)
        give(status if bad else 204, b'{"error":"no fives here"}' if bad else b"")(request, body)

    with server(answer) as settings:
        settled = send(settings, 10)
    assert (settled.delivered, [(h.sequence, h.words) for h in settled.held]) == (9, [(6, "no fives here")])


def picky(empty: bytes) -> Answer:
    """Refuses the value 2, and an empty batch with the words `empty`."""

    def answer(request: Request, body: bytes) -> None:
        batch = gzip.decompress(body)
        words = b"no such thing" if b"level_m=2" in batch else b"" if batch else empty
        give(400 if words else 204, words)(request, body)

    return answer


@pytest.mark.parametrize("empty", [b"incoming write was empty", b"writing requires points"])
def test_server_that_refuses_an_empty_batch_for_being_empty_gets_the_rest(empty: bytes) -> None:
    """As InfluxDB 3 and 2.0 do: one reading is held, and the line is charged with what all the requests took of it."""
    with server(picky(empty)) as settings:
        settled = send(settings, 4)
    assert (settled.delivered, [held.words for held in settled.held]) == (3, ["no such thing"])
    assert settled.bytes > len(pack("")) * 3
    assert 0 < settled.slowest < 10


def test_server_that_refuses_every_batch_for_another_reason_is_down() -> None:
    """The request is at fault, not the readings: none is held."""
    with server(picky(b"invalid precision")) as settings, pytest.raises(SinkDown) as down:
        send(settings, 4)
    assert (down.value.what, down.value.words) == ("refused", "invalid precision")


# --- a connection that breaks -----------------------------------------------------------------------------------------


def test_batch_of_which_nothing_is_wanted_asks_nobody() -> None:
    """All of it is excluded, whatever the server would have said; beside a reading that is refused too."""
    text = "".join(Encoder("cl-02").encode(Readings(LEVEL, n, n, (n,))) for n in range(3))
    unwanted, wanted = Row(3, 3, 0, pack(text)), Row(4, 1, 0, pack("air,site=cl-02,sensor=a pm25_ugm3=1.0,q=0i 9\n"))
    paths: list[str] = []

    def take(request: Request, body: bytes) -> None:
        (give(400, b"no") if b"air" in gzip.decompress(body) else give(204))(request, body)

    async def main(settings: Influx) -> None:
        sink = InfluxSink("centre", settings, only=("air",))
        assert await sink.send([unwanted]) == Settled(0, excluded=3)
        assert paths == []
        settled = await sink.send([unwanted, wanted])
        assert (settled.delivered, settled.excluded, [held.words for held in settled.held]) == (0, 3, ["no"])
        await sink.close()

    with server(asked(paths, take)) as settings:
        asyncio.run(main(settings))


def test_connection_reset_right_after_the_answer_changes_nothing() -> None:
    """204 is 204."""

    def answer(request: Request, body: bytes) -> None:
        give(204)(request, body)
        _reset(request)

    with server(answer) as settings:
        assert send(settings).delivered == 1


def test_connection_reset_before_the_answer_settles_nothing() -> None:
    """Perhaps it is stored, perhaps not: it goes again."""
    with server(lambda request, _: _reset(request)) as settings, pytest.raises(SinkDown) as down:
        send(settings)
    assert down.value.what == "unreachable"


def test_answer_after_the_time_is_over_settles_nothing() -> None:
    """A 204 that comes too late is nobody's."""
    over = threading.Event()

    def answer(request: Request, body: bytes) -> None:
        over.wait(20)
        give(204)(request, body)

    with server(answer, timeout="1s") as settings:
        began = time.monotonic()
        with pytest.raises(SinkDown) as down:
            send(settings)
        over.set()
    assert (down.value.what, time.monotonic() - began < 15) == ("unreachable", True)


def _reset(request: Request) -> None:
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.wfile.flush()
    request.connection.close()


# --- who we are -------------------------------------------------------------------------------------------------------


def test_user_and_password_are_sent_and_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """InfluxDB 1 wants both in each request; a server that repeats them brings them into no sentence."""
    monkeypatch.setenv("EDGE_SECRET_CENTRE", "s3cr3t-passw0rd")
    signs: list[str] = []

    def answer(request: Request, body: bytes) -> None:
        signs.append(base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode())
        give(401, b'{"error":"s3cr3t-passw0rd is wrong"}')(request, body)

    with (
        server(answer, username="box", password=Secret("centre")) as settings,
        pytest.raises(SinkDown) as down,
    ):
        send(settings)
    assert (signs, down.value.what) == (["box:s3cr3t-passw0rd"], "refused")
    assert "s3cr3t" not in repr(down.value) + down.value.words
