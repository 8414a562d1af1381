"""InfluxDB, v1 `/write` and v2/v3 `/api/v2/write`: the journal's own blobs, glued together and posted.

Both servers accept several gzip members as one body, so no reading is encoded twice. Only a sink that takes some
measurements, or a batch that the server refuses, goes the slow way: lines are taken apart and sent anew, until the
reading at fault is found; it is held with the server's words and the rest goes through.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from drivers.http import aiohttp
from drivers.marked import Secret, SecretMissing
from edge_agent.body import glued, pack, unpack
from edge_agent.journal import Settled
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import join, measurement_of, parse
from edge_agent.rows import Held, Row
from edge_agent.sinks import Life, SinkDown, TooLarge, victoria
from edge_agent.sinks.sieve import Numbered, Sieve

if TYPE_CHECKING:
    from edge_agent.config import Influx

log = logging.getLogger("edge.sink")

MOST_BYTES = 2 << 20
"""Compressed; InfluxDB 1.6 refuses above 25 MB."""
WORDS, READ = 300, 1000
"""Characters of the server's answer that are kept, and that are looked at."""
PORTION = 5_000
"""Readings that are taken apart at a time."""
EMPTY = re.compile(r"\bempty\b|requires points", re.IGNORECASE)
"""InfluxDB 2.0 and 3 refuse an empty batch for being empty."""
BUSY = (429, 502, 503, 504)
"""Not now: says nothing of what the server is, and perhaps only a proxy says it."""

MOST_METRICS = 1 << 20
"""Bytes of a server's page of counters that are looked at."""


class Refused(Exception):
    """The server will never take this batch as it is; the message is its words."""


class InfluxSink:
    """One InfluxDB, or a server that speaks its write protocol."""

    def __init__(self, id_: str, settings: Influx, only: tuple[str, ...] = ()) -> None:
        """Make no connection yet."""
        self.id = id_
        self.only = only
        self.where = settings.url
        self.most_bytes = MOST_BYTES
        self._settings = settings
        self._may_be_victoria = False
        trusts_system = settings.url.startswith("https:") and settings.ca is None
        self._believed = ssl.create_default_context() if trusts_system else None
        """Read here, at the start, since it takes 20 ms and more."""
        self._session: aiohttp.ClientSession | None = None
        self._sieve = Sieve(self._takes_anything)
        self._bytes, self._slowest = 0, 0.0
        """Of the requests of one batch: their size, and the seconds of the slowest."""

    async def send(self, rows: Sequence[Row]) -> Settled:
        """Deliver the rows: glued blobs if all is wanted and nothing refused, else line by line."""
        if self._sieve.is_needed:
            return await self._send_in_parts(rows)
        total = sum(row.readings for row in rows)
        try:
            texts, size = await self._post_rows(rows)
        except Refused as refused:
            return await self._send_in_parts(rows, str(refused))
        except TooLarge as large:
            if len(rows) > 1:
                raise
            return await self._send_in_parts(rows, str(large))
        taken = total if texts is None else sum(len(line.fields) for text in texts for line in parse(text))
        return Settled(delivered=taken, excluded=total - taken, bytes=size)

    async def _post_rows(self, rows: Sequence[Row]) -> tuple[list[str] | None, int]:
        """Post them; the wanted lines of each row where not all are wanted, and how many bytes went out."""
        if not self.only:
            body = glued([row.body for row in rows])
            await self._post(body)
            return None, len(body)
        wanted = [self._wanted(unpack(row.body)) for row in rows]
        if not any(wanted):
            return wanted, 0
        await self._post(body := pack("".join(wanted)))
        return wanted, len(body)

    def _wanted(self, text: str) -> str:
        """The lines of the wanted measurements, which are recognised without taking them apart."""
        return "".join(f"{line}\n" for line in text.split("\n") if line and measurement_of(line) in self.only)

    async def _send_in_parts(self, rows: Sequence[Row], words: str | None = None) -> Settled:
        """Find what is refused, and deliver the rest; `words`: why all were. Raises SinkDown, TooLarge."""
        self._bytes, self._slowest = 0, 0.0
        post = partial(self._try_lines, may_shrink=len(rows) > 1)
        held: list[Held] = []
        taken = 0
        for some in _portions(rows):
            lines = await asyncio.to_thread(self._lines, some)  # a row may be large, and polls go on meanwhile
            taken += sum(len(line.fields) for _, _, line in lines)
            found = await self._sieve.pass_on(lines, words if len(some) == len(rows) else None, post)
            held += [_held(self.id, each, said) for each, said in found]
        if held:
            end = held[-1]
            log.error("readings refused sink=%s readings=%d last=%s error=%s", self.id, len(held), end.line, end.words)
        excluded = sum(row.readings for row in rows) - taken
        return Settled(taken - len(held), excluded, tuple(held), bytes=self._bytes, slowest=self._slowest)

    async def _takes_anything(self) -> None:
        """An empty batch tells whether the readings are at fault or the request itself is (a wrong parameter)."""
        try:
            await self._post(pack(""))
        except Refused as refused:
            if not EMPTY.search(str(refused)):
                raise SinkDown("refused", str(refused)[:WORDS]) from refused
        except TooLarge:
            return  # which is no word about what it takes

    async def _try_lines(self, lines: Sequence[Numbered], *, may_shrink: bool) -> str | None:
        body, began = pack(join(line for _, _, line in lines)), time.monotonic()
        try:
            await self._post(body)
        except TooLarge as large:
            if may_shrink:
                raise
            return str(large)
        except Refused as refused:
            return str(refused)
        finally:
            self._bytes += len(body)
            self._slowest = max(self._slowest, time.monotonic() - began)
        return None

    def _lines(self, rows: Sequence[Row]) -> list[Numbered]:
        return [each for row in rows for each in self._numbered(row)]

    def _numbered(self, row: Row) -> Iterator[Numbered]:
        """The wanted lines of a row."""
        sequence = row.after + 1
        for line in parse(unpack(row.body)):
            if not self.only or line.measurement in self.only:
                yield row, sequence, line
            sequence += len(line.fields)

    # --- what the server is -------------------------------------------------------------------------------------------

    async def life(self) -> Life | None:
        """See Sink. An InfluxDB tells its version, and what it confirms is on its disk."""
        hold = self._settings.confirm_after
        if hold is None and not self._may_be_victoria:
            headers, _ = await self._get("/ping")
            if "X-Influxdb-Version" in headers or "X-Influxdb-Build" in headers:
                return None
        _, metrics = await self._get("/metrics")
        found = victoria.life(metrics, hold)
        self._may_be_victoria = found is not None
        return found if found or hold is None else Life(hold, 0.0, {})

    async def _get(self, path: str) -> tuple[Mapping[str, str], str]:
        """Headers and text; empty where the server has no such page or does not show it. Raises SinkDown."""
        _, _, headers = self._target()
        try:
            async with self._open().get(self.where + path, headers=_signed(headers), allow_redirects=False) as answer:
                if answer.status in BUSY:
                    _judge(answer.status, self._redacted(await _words(answer)), _wish(answer), self._place())
                if answer.status not in (200, 204):
                    return {}, ""
                return answer.headers, (await _read(answer, MOST_METRICS)).decode("utf-8", "replace")
        except aiohttp.ClientError as error:
            raise SinkDown("unreachable", self._redacted(_plain(error))) from error
        except TimeoutError as error:
            raise SinkDown("unreachable", "no answer in time") from error

    # --- the request --------------------------------------------------------------------------------------------------

    async def _post(self, body: bytes) -> None:
        """Post one gzip body. Raises SinkDown, TooLarge or Refused."""
        url, query, headers = self._target()
        session = self._open()
        try:
            async with session.post(url, params=query, headers=headers, data=body, allow_redirects=False) as answer:
                if answer.status == 204:
                    return
                _judge(
                    answer.status,
                    self._redacted(await _words(answer)),
                    _wish(answer),
                    self._place(),
                )
        except aiohttp.ClientError as error:
            raise SinkDown("unreachable", self._redacted(_plain(error))) from error
        except TimeoutError as error:
            raise SinkDown("unreachable", "no answer in time") from error

    def _target(self) -> tuple[str, Mapping[str, str], Mapping[str, str]]:
        settings = self._settings
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"}
        try:
            if settings.version == 1:
                if settings.username and settings.password:
                    headers["Authorization"] = aiohttp.encode_basic_auth(settings.username, settings.password.reveal())
                return f"{self.where}/write", {"db": settings.database or "", "precision": "ms"}, headers
            if settings.token:
                headers["Authorization"] = f"Token {settings.token.reveal()}"
        except SecretMissing as missing:
            variable = Secret(missing.name).variable
            raise SinkDown("secret_missing", str(missing), name=missing.name, variable=variable) from missing
        query = {"org": settings.org or "", "bucket": settings.bucket or "", "precision": "ms"}
        return f"{self.where}/api/v2/write", query, headers

    def _redacted(self, words: str) -> str:
        """Some servers repeat what they were sent: our secrets must not get into a log that way."""
        for secret in (self._settings.token, self._settings.password):
            with contextlib.suppress(SecretMissing):
                words = words.replace(secret.reveal(), "***") if secret else words
        return words

    def _place(self) -> str:
        return self._settings.database or self._settings.bucket or ""

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._trust(), limit=4),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout, sock_connect=5),
            )
        return self._session

    def _trust(self) -> ssl.SSLContext | bool:
        """Whose certificates are believed: those of `ca`, else what the system believes."""
        if self._settings.ca is None:
            return self._believed or True
        try:
            return ssl.create_default_context(cafile=str(self._settings.ca))
        except OSError as error:
            raise SinkDown("files", error.strerror or str(error), where=str(self._settings.ca)) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)


def _portions(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """So few at a time that taking them apart holds nobody up."""
    some: list[Row] = []
    count = 0
    for row in rows:
        if some and count + row.readings > PORTION:
            yield some
            some, count = [], 0
        some.append(row)
        count += row.readings
    yield some


def _held(sink: str, numbered: Numbered, words: str) -> Held:
    row, sequence, line = numbered
    return Held(
        sink=sink,
        blob=row.id,
        sequence=sequence,
        device=line.device,
        measurement=line.measurement,
        hour=line.time // HOUR_MS,
        line=line.text().rstrip("\n"),
        words=words[:WORDS],
    )


def _judge(status: int, words: str, wait: float | None, place: str) -> None:
    """Say what an answer other than 204 means (docs.influxdata.com, API reference of v1 and v2, `/write`)."""
    if status in (400, 422):
        raise Refused(words)
    words = words[:WORDS]
    if status == 413:
        raise TooLarge(words)
    if status in (401, 403):
        raise SinkDown("refused", words)
    if status == 404:
        raise SinkDown("no_database", words, database=place)
    if 200 <= status < 400:
        raise SinkDown("not_a_database", words)
    throttled = status == 429 or wait is not None
    raise SinkDown("throttled" if throttled else "unreachable", f"{status} {words}".strip(), wait)


def _wish(answer: aiohttp.ClientResponse) -> float | None:
    """Retry-After in seconds: a number, or a date (RFC 9110 10.2.3), which counts from the server's now."""
    wish = answer.headers.get("Retry-After", "")
    if wish.isdecimal():
        return float(wish)
    if (until := _moment(wish)) is None:
        return None
    now = _moment(answer.headers.get("Date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def _moment(date: str) -> float | None:
    """Unix seconds of an HTTP date; None where it is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


async def _words(answer: aiohttp.ClientResponse) -> str:
    """The server's own words, short and on one line."""
    raw = (await _read(answer, 4 * READ)).decode("utf-8", "replace")
    try:
        raw = msgspec.json.decode(raw, type=_Error).text() or raw
    except msgspec.DecodeError:
        raw = answer.headers.get("X-Influxdb-Error", raw)
    return " ".join(raw.split())[:READ] or f"status {answer.status}"


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The body as far as it matters: `read(n)` alone gives what happens to have arrived."""
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) >= most:
            break
    return bytes(body[:most])


def _signed(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Of the headers of a write only what says who we are."""
    return {name: value for name, value in headers.items() if name == "Authorization"}


class _Error(msgspec.Struct):
    error: str = ""
    message: str = ""

    def text(self) -> str:
        return self.error or self.message


def _plain(error: aiohttp.ClientError) -> str:
    """An error of the connection in a few words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        refused = error.certificate_error
        said = refused.verify_message if isinstance(refused, ssl.SSLCertVerificationError) else str(refused)
        return f"certificate not believed: {said}"
    if isinstance(error, aiohttp.ClientConnectorError) and (error.os_error.errno or 0) > 0:
        return os.strerror(error.os_error.errno or 0)
    return str(error) or type(error).__name__
