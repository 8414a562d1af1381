"""What a database server is, whether it has our database, and whether it keeps a test reading: for `edge net`.

Servers are told apart by their answer to `/ping`, never by the configuration, which may be wrong. InfluxDB 1 and 3 are
asked in InfluxQL; InfluxDB 2 by influxdb-client, which only this module imports, and only then: it costs 160 ms.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import aiohttp
import msgspec

from edge_agent.ladder import LIMIT, Red, Says, attention, holds, left_out, plain

if TYPE_CHECKING:
    from edge_agent.config import Influx

PROBE = "edge_probe"
"""Measurement of the test reading; its one field is `ok`."""
MOST_BYTES = 256 << 10
"""Of an answer; what is longer does not come from a database."""
WORDS = 200
CLIENT_MS = round(1000 * (LIMIT - 1))
ASKING = 0.2
"""Seconds between two questions whether a reading is there yet."""

T = TypeVar("T")
Client = Any
"""influxdb_client.InfluxDBClient, which leaves half of its calls untyped."""

Found = Literal["there", "missing", "unseen", "not_needed"]
"""`unseen`: missing, or we may not look; `not_needed`: there are none, or the first write makes it."""


class Database(Protocol):
    """A kind of database server."""

    product: str
    """Name and version, for people."""

    async def sign_in(self) -> None:
        """Raises Red where the server does not know us."""
        ...

    def find(self) -> Found:
        """What signing in told about the configured database."""
        ...

    async def create(self) -> None:
        """Make the configured database. Raises Red."""
        ...

    async def copies(self, site: str, stamp: int) -> int | None:
        """How often the site's test reading of this time (ms) is stored; None where we may not look."""
        ...

    async def clean(self, site: str) -> None:
        """Take the site's test readings away, where the server can without harm. Raises Red."""
        ...

    async def once(self, copies: int | None) -> Says:
        """Whether a reading that is sent twice is stored once; `copies` were found of one that was."""
        ...


# --- questions by HTTP ------------------------------------------------------------------------------------------------


class Answer(msgspec.Struct, frozen=True):
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def words(self) -> str:
        """Its own words, short and on one line."""
        text = self.body.decode("utf-8", "replace")
        try:
            text = msgspec.json.decode(self.body, type=_Error).text() or text
        except msgspec.DecodeError:
            text = self.headers.get("X-Influxdb-Error", text)
        return " ".join(text.split())[:WORDS] or f"HTTP {self.status}"


class _Error(msgspec.Struct):
    error: str = ""
    message: str = ""

    def text(self) -> str:
        return self.error or self.message


class Door:
    """Asks one server, as the configuration says to reach it."""

    def __init__(self, settings: Influx) -> None:
        """Ask nothing yet."""
        self.settings = settings
        self.place = settings.database or settings.bucket or ""

    async def ask(
        self, path: str, query: Mapping[str, str] | None = None, *, change: bool = False, signed: bool = True
    ) -> Answer:
        """GET, or POST for what is no mere question. Raises Red, SecretMissing and TimeoutError."""
        url, headers = self.settings.url + path, sign(self.settings) if signed else {}
        limit = aiohttp.ClientTimeout(total=LIMIT)
        door = aiohttp.TCPConnector(ssl=self._tls())
        async with aiohttp.ClientSession(connector=door, headers=headers, timeout=limit) as session:
            ask = session.post if change else session.get
            try:
                # A sign-in page of the network sends elsewhere, and must not get our token.
                async with ask(url, params=query, allow_redirects=False) as answer:
                    return Answer(answer.status, answer.headers, await _read(answer))
            except aiohttp.ClientError as fault:
                raise Red("not_a_database", error=plain(fault)) from None

    def _tls(self) -> ssl.SSLContext | bool:
        if not self.settings.url.startswith("https:"):
            return True
        return ssl.create_default_context(cafile=self.settings.ca and str(self.settings.ca))


def sign(settings: Influx) -> dict[str, str]:
    """The header that signs a request. Raises SecretMissing."""
    if settings.token:
        return {"Authorization": f"Token {settings.token.reveal()}"}
    if settings.username and settings.password:
        return {"Authorization": aiohttp.encode_basic_auth(settings.username, settings.password.reveal())}
    return {}


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for piece in answer.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > MOST_BYTES:
            break
    return body


async def recognise(door: Door) -> Database:
    """What answers at the door. Raises Red."""
    # First without our name: what is no database should not learn the token. InfluxDB 3 wants it even for this.
    answer = await door.ask("/ping", signed=False)
    if answer.status in (401, 403):
        answer = await door.ask("/ping")
    if answer.status in (401, 403):
        raise Red("refused", error=answer.words)
    if answer.status in (200, 204):
        if "X-Server-Hostname" in answer.headers:
            return VictoriaMetrics(door)
        # InfluxDB Cloud tells its build, but no version.
        if "X-Influxdb-Version" in answer.headers or "X-Influxdb-Build" in answer.headers:
            return _influxdb(door, answer.headers.get("X-Influxdb-Version", ""))
    raise Red("not_a_database", error=f"HTTP {answer.status}")


def _influxdb(door: Door, version: str) -> Database:
    found = re.match(r"v?(\d+)\.", version)
    major = int(found[1]) if found else door.settings.version
    if major == 1 and door.settings.version != 1:
        raise Red("version_one", version=version)
    product = f"InfluxDB {version}".rstrip()
    if door.settings.version == 1 or major >= 3:
        return InfluxQL(door, product)
    return Buckets(door, product)


# --- InfluxDB 1 and 3 -------------------------------------------------------------------------------------------------


class _Rows(msgspec.Struct):
    values: list[list[str | int | float | bool | None]] = []


class _Result(msgspec.Struct):
    series: list[_Rows] = []
    error: str = ""


class _Results(msgspec.Struct):
    results: list[_Result] = []


class InfluxQL:
    """InfluxDB 1, and 3, which understands the same questions."""

    def __init__(self, door: Door, product: str) -> None:
        """Ask nothing yet."""
        self.product = product
        self._door = door
        self._names: list[str] = []

    async def sign_in(self) -> None:
        """The list of databases is open to everybody whom the server knows."""
        self._names = [str(row[0]) for row in await influxql(self._door, "SHOW DATABASES")]

    def find(self) -> Found:
        """InfluxDB 1 lists every database that we may use; InfluxDB 3 makes a missing one at the first write."""
        if self._door.place in self._names:
            return "there"
        return "missing" if self._door.settings.version == 1 else "not_needed"

    async def create(self) -> None:
        """Needs an administrator. Only InfluxDB 1 is ever asked."""
        await influxql(self._door, f"CREATE DATABASE {_quoted(self._door.place)}", change=True)

    async def copies(self, site: str, stamp: int) -> int | None:
        """By a question in InfluxQL."""
        return await copies_by_influxql(self._door, site, stamp)

    async def clean(self, site: str) -> None:
        """DROP SERIES needs no more rights than writing does; InfluxDB 3 has nothing like it."""
        if self._door.settings.version == 1:
            question = f"DROP SERIES FROM {PROBE} WHERE site = '{site}'"
            await influxql(self._door, question, self._door.place, change=True)

    async def once(self, copies: int | None) -> Says:
        """InfluxDB writes over what has the same series and time."""
        return once_as_measured(copies)


async def influxql(door: Door, question: str, database: str = "", *, change: bool = False) -> list[list[object]]:
    """The rows of an answer. Raises Red; `change` for what is no mere question."""
    query = {"q": question, "epoch": "ms"} | ({"db": database} if database else {})
    answer = await door.ask("/query", query, change=change)
    if answer.status in (401, 403):
        raise Red("refused", error=answer.words)
    try:
        results = msgspec.json.decode(answer.body, type=_Results).results
    except msgspec.DecodeError:
        raise Red("not_a_database", error=f"HTTP {answer.status}") from None
    if error := "; ".join(each.error for each in results if each.error) or ("" if results else answer.words):
        raise Red("server_says", error=error)
    return [list(row) for each in results for series in each.series for row in series.values]


async def copies_by_influxql(door: Door, site: str, stamp: int) -> int | None:
    """How often the test reading is stored; None where we may only write."""
    question = f"SELECT ok FROM {PROBE} WHERE site = '{site}' AND time = {stamp}ms"
    try:
        async with asyncio.timeout(LIMIT):
            while not (rows := await influxql(door, question, door.place)):
                await asyncio.sleep(ASKING)
    except TimeoutError:
        return 0
    except Red as red:
        if red.what in ("refused", "server_says"):
            return None
        raise
    return len(rows)


def once_as_measured(copies: int | None) -> Says:
    """What the number of stored copies tells."""
    if copies is None:
        return left_out("once_unknown")
    return holds("once") if copies == 1 else attention("twice", copies=copies)


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", r"\\").replace('"', r"\"") + '"'


# --- InfluxDB 2 -------------------------------------------------------------------------------------------------------


class Buckets:
    """InfluxDB 2: set up by influxdb-client, read by InfluxQL, which needs no Flux and maps a bucket by its name."""

    def __init__(self, door: Door, product: str) -> None:
        """Ask nothing yet."""
        self.product = product
        self._door = door
        self._found = False

    async def sign_in(self) -> None:
        """Its health, and the bucket by its name, which only a known token may ask for."""
        await self._call(_check_health)
        place = self._door.place
        self._found = await self._call(lambda client: client.buckets_api().find_bucket_by_name(place)) is not None

    def find(self) -> Found:
        """A token that may only write does not see its bucket."""
        return "there" if self._found else "unseen"

    async def create(self) -> None:
        """Needs a token that may write buckets."""
        place, org = self._door.place, self._door.settings.org
        await self._call(lambda client: client.buckets_api().create_bucket(bucket_name=place, org=org))

    async def copies(self, site: str, stamp: int) -> int | None:
        """By a question in InfluxQL."""
        return await copies_by_influxql(self._door, site, stamp)

    async def clean(self, site: str) -> None:
        """Delete them all, of whatever time."""
        match, ever = f'_measurement="{PROBE}" AND site="{site}"', ("1970-01-01T00:00:00Z", "2200-01-01T00:00:00Z")
        place, org = self._door.place, self._door.settings.org
        await self._call(lambda client: client.delete_api().delete(*ever, match, bucket=place, org=org))

    async def once(self, copies: int | None) -> Says:
        """InfluxDB writes over what has the same series and time."""
        return once_as_measured(copies)

    async def _call(self, do: Callable[[Client], T]) -> T | None:
        """Run it in a thread, which its own time-out ends; None where the server knows nothing of the kind."""
        from influxdb_client.rest import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return await asyncio.to_thread(self._with_client, do)
        except ApiException as refused:
            error = Answer(refused.status or 0, refused.headers or {}, str(refused.body or "").encode()).words
            if refused.status == 404:
                return None
            raise Red("refused" if refused.status in (401, 403) else "server_says", error=error) from None
        except HTTPError as fault:
            raise Red("not_a_database", error=plain(fault)) from None

    def _with_client(self, do: Callable[[Client], T]) -> T:
        from influxdb_client.client.influxdb_client import InfluxDBClient

        settings = self._door.settings
        token = settings.token.reveal() if settings.token else ""
        more: dict[str, Any] = {"timeout": CLIENT_MS, "ssl_ca_cert": str(settings.ca) if settings.ca else None}
        with InfluxDBClient(settings.url, token, org=settings.org or "", **more) as client:
            return do(client)


def _check_health(client: Client) -> None:
    from influxdb_client.service.health_service import HealthService

    health = HealthService(client.api_client).get_health()  # type: ignore[no-untyped-call]  # not typed there
    if health.status != "pass":
        raise Red("server_says", error=str(health.message or health.status))


# --- victoria-metrics -------------------------------------------------------------------------------------------------


class _Samples(msgspec.Struct):
    timestamps: list[int]


class VictoriaMetrics:
    """victoria-metrics. It has no databases, shows a reading after a flush, and stores it twice unless told not to."""

    product = "victoria-metrics"

    def __init__(self, door: Door) -> None:
        """Ask nothing yet."""
        self._door = door

    async def sign_in(self) -> None:
        """By a question that is not open to everybody, as `/ping` is. Raises Red."""
        if (answer := await self._door.ask("/query", {"q": "SHOW DATABASES"})).status in (401, 403):
            raise Red("refused", error=answer.words)

    def find(self) -> Found:
        """There are none."""
        return "not_needed"

    async def create(self) -> None:
        """There are none."""

    async def copies(self, site: str, stamp: int) -> int | None:
        """By export, after a flush: without it a reading of a new series shows up ten seconds later."""
        flushed = await self._door.ask("/internal/force_flush")
        seconds = f"{stamp / 1000:.3f}"
        match = f'{{__name__="{PROBE}_ok",site="{site}"}}'
        answer = await self._door.ask("/api/v1/export", {"match[]": match, "start": seconds, "end": seconds})
        if answer.status != 200 or (flushed.status != 200 and not answer.body):
            return None
        series = [msgspec.json.decode(line, type=_Samples) for line in answer.body.splitlines()]
        return sum(each.timestamps.count(stamp) for each in series)

    async def clean(self, site: str) -> None:
        """The readings stay: its makers advise against deleting as a habit, and one a check is no burden."""

    async def once(self, copies: int | None) -> Says:
        """What was measured, and the setting, which may also be too coarse; 1.79.5 lists at /flags what is set."""
        window = await self._window()
        if copies is None and window is None:
            return left_out("once_unknown")
        if (copies or 0) > 1 or (copies is None and not window):
            return attention("twice_victoria")
        return attention("coarse", window=window) if window not in ("1ms", "", None) else holds("once")

    async def _window(self) -> str | None:
        """Value of -dedup.minScrapeInterval, "" where it is not set, None where we may not ask."""
        if (answer := await self._door.ask("/flags")).status != 200:
            return None
        found = re.search(r'^-dedup\.minScrapeInterval="?([^"\s]*)', answer.body.decode("utf-8", "replace"), re.M)
        return found[1] if found else ""
