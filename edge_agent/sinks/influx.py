"""InfluxDB, v1 `/write` and v2/v3 `/api/v2/write`: the journal's own blobs, glued together and posted as they are.

Both servers accept several gzip members as one body, so nothing is encoded twice. Only a sink that takes some
measurements, or a batch that the server refuses, goes the slow way: lines are taken apart and sent anew. A refused
batch is halved until the reading at fault is found; it is held with the server's words and the rest goes through.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from drivers.marked import Secret, SecretMissing
from edge_agent.journal import Settled
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import Line, join, measurement_of, parse
from edge_agent.sinks import SinkDown, TooLarge
from edge_agent.store import Held, Row, pack, unpack

if TYPE_CHECKING:
    from edge_agent.config import Influx

log = logging.getLogger("edge.sink")

MOST_BYTES = 2 << 20
"""Compressed; InfluxDB 1.6 refuses above 25 MB."""
WORDS = 300
"""Characters of the server's answer that are kept."""


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
        self._session: aiohttp.ClientSession | None = None

    async def send(self, rows: Sequence[Row]) -> Settled:
        """Deliver the rows: glued blobs if all is wanted and accepted, else line by line."""
        total = sum(row.readings for row in rows)
        try:
            if not self.only:
                await self._post(b"".join(row.body for row in rows))
                return Settled(delivered=total)
            wanted = [self._wanted(unpack(row.body)) for row in rows]
            if any(wanted):
                await self._post(pack("".join(wanted)))
            taken = sum(len(line.fields) for text in wanted for line in parse(text))
            return Settled(delivered=taken, excluded=total - taken)
        except Refused:
            await self._takes_anything()
        except TooLarge:
            if len(rows) > 1:
                raise
        return await self._send_parsed(rows)

    def _wanted(self, text: str) -> str:
        """The lines of the wanted measurements, which are recognised without taking them apart."""
        return "".join(f"{line}\n" for line in text.split("\n") if line and measurement_of(line) in self.only)

    async def _takes_anything(self) -> None:
        """An empty batch tells whether the readings are at fault or the request itself is (a wrong parameter)."""
        try:
            await self._post(pack(""))
        except Refused as refused:
            raise SinkDown("refused", str(refused)) from refused

    async def _send_parsed(self, rows: Sequence[Row]) -> Settled:
        """Find what the server refuses by halving; the rest is delivered."""
        held: list[Held] = []
        taken = 0
        for row in rows:
            lines = [(n, line) for n, line in _numbered(row) if not self.only or line.measurement in self.only]
            taken += sum(len(line.fields) for _, line in lines)
            await self._bisect(row, lines, held)
        if held:
            last = held[-1]
            log.error(
                "readings refused sink=%s readings=%d last=%s error=%s", self.id, len(held), last.line, last.words
            )
        excluded = sum(row.readings for row in rows) - taken
        return Settled(delivered=taken - len(held), excluded=excluded, held=tuple(held))

    async def _bisect(self, row: Row, lines: list[tuple[int, Line]], held: list[Held]) -> None:
        """Send the lines, each with the sequence number of its first reading, in ever smaller parts."""
        if not lines:
            return
        try:
            await self._post(pack(join(line for _, line in lines)))
            return
        except (Refused, TooLarge) as refused:
            words = str(refused)
        if len(lines) == 1:
            first, line = lines[0]
            lines = [(first + k, single) for k, single in enumerate(line.single())]
        if len(lines) > 1:
            half = len(lines) // 2
            await self._bisect(row, lines[:half], held)
            await self._bisect(row, lines[half:], held)
            return
        held.append(self._held(row, *lines[0], words))

    def _held(self, row: Row, sequence: int, line: Line, words: str) -> Held:
        return Held(
            sink=self.id,
            blob=row.id,
            sequence=sequence,
            device=line.device,
            measurement=line.measurement,
            hour=line.time // HOUR_MS,
            line=line.text().rstrip("\n"),
            words=words,
        )

    # --- the request --------------------------------------------------------------------------------------------------

    async def _post(self, body: bytes) -> None:
        """Post one gzip body. Raises SinkDown, TooLarge or Refused."""
        url, query, headers = self._target()
        session = self._open()
        try:
            async with session.post(url, params=query, headers=headers, data=body, allow_redirects=False) as answer:
                if answer.status == 204:
                    return
                _judge(answer.status, await _words(answer), answer.headers.get("Retry-After"), self._place())
        except aiohttp.ClientError as error:
            raise SinkDown("unreachable", _plain(error)) from error
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
            return True
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


def _judge(status: int, words: str, retry_after: str | None, place: str) -> None:
    """Say what an answer other than 204 means (docs.influxdata.com, API reference of v1 and v2, `/write`)."""
    if status in (400, 422):
        raise Refused(words)
    if status == 413:
        raise TooLarge(words)
    if status in (401, 403):
        raise SinkDown("refused", words)
    if status == 404:
        raise SinkDown("no_database", words, database=place)
    if 200 <= status < 400:
        raise SinkDown("not_a_database", words)
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    raise SinkDown("unreachable", f"{status} {words}".strip(), wait)


async def _words(answer: aiohttp.ClientResponse) -> str:
    """The server's own words, short and on one line."""
    raw = (await answer.content.read(4 * WORDS)).decode("utf-8", "replace")
    try:
        raw = msgspec.json.decode(raw, type=_Error).text() or raw
    except msgspec.DecodeError:
        raw = answer.headers.get("X-Influxdb-Error", raw)
    return " ".join(raw.split())[:WORDS] or f"status {answer.status}"


class _Error(msgspec.Struct):
    error: str = ""
    message: str = ""

    def text(self) -> str:
        return self.error or self.message


def _plain(error: aiohttp.ClientError) -> str:
    """An error of the connection in a few words."""
    if isinstance(error, aiohttp.ClientConnectorError) and (error.os_error.errno or 0) > 0:
        return os.strerror(error.os_error.errno or 0)
    return str(error) or type(error).__name__


def _numbered(row: Row) -> Iterator[tuple[int, Line]]:
    """The row's lines, each with the sequence number of its first reading."""
    sequence = row.after + 1
    for line in parse(unpack(row.body)):
        yield sequence, line
        sequence += len(line.fields)
