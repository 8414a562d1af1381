"""TCP connections of the page: how many, from whom, and how long a request may take to arrive.

aiohttp has no deadline for a request's headers, and an accept loop without file descriptors spins. So connections are
accepted here, counted, and handed to aiohttp only while the limits hold; what does not say a whole request in time is
cut off, and sooner when others want its place. Only members' pages keep theirs. Signalling connections are exempt from
the byte limit: they have their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import cast

from aiohttp.http_exceptions import HttpProcessingError

HEADER_TIME = 5.0
"""Seconds for the TLS handshake, and again from there to the end of the first request's headers."""
MAX_BYTES = 262_144
"""What a connection may send in all, unless it became a WebSocket."""
_MAX_SILENT = 20
"""Connections from one address that have not said a whole request yet."""
_MAX_HEADER = 16_384
_MAX_PIPELINED = 16
_PAUSE = 0.5
"""Seconds without accepting when the system has no descriptor left."""

_BAD_REQUESTS = 60.0
"""Seconds between lines of the log on requests that are no HTTP."""

log = logging.getLogger(__name__)


class Gate:
    """Counts connections and lets them in."""

    def __init__(self, limit: int, per_address: int) -> None:
        """`limit` connections in all, `per_address` from one address."""
        self.refused = 0
        self._limit = limit
        self._per_address = per_address
        self._open: Counter[str] = Counter()
        self._silent: dict[Place, None] = {}
        """Have not said a whole request yet, oldest first."""
        self._idle: dict[Place, None] = {}
        """Have, but are no member's page; oldest first."""
        self._firm = 0
        """Pages of members, and connections just cut whose transport has not noticed yet."""

    def enter(self, connection: socket.socket, address: str) -> Place | None:
        """A place for one more, if it may come in. When all are taken, the oldest that is no member's page goes."""
        silent = sum(1 for other in self._silent if other.address == address)
        if self._open[address] >= self._per_address or silent >= _MAX_SILENT or self._firm >= self._limit:
            self.refused += 1
            return None
        if self._firm + len(self._idle) + len(self._silent) >= self._limit:
            self.refused += 1
            self._evict()
        place = Place(self, connection, address)
        self._open[address] += 1
        self._silent[place] = None
        return place

    def talks(self, place: Place) -> None:
        """A whole request came."""
        if place in self._silent:
            del self._silent[place]
            self._idle[place] = None

    def seat(self, place: Place) -> None:
        """It is a member's page now."""
        if self._drop(place):
            self._firm += 1

    def leave(self, place: Place) -> None:
        """One has gone."""
        if not self._drop(place):
            self._firm -= 1
        self._open[place.address] -= 1
        if self._open[place.address] <= 0:
            del self._open[place.address]

    def _drop(self, place: Place) -> bool:
        """Take it off the lists of those that may be cut; False: it was on none."""
        known = place in self._silent or place in self._idle
        self._silent.pop(place, None)
        self._idle.pop(place, None)
        return known

    def _evict(self) -> None:
        place = next(iter(self._silent or self._idle))
        self.seat(place)
        with contextlib.suppress(OSError):
            place.connection.shutdown(socket.SHUT_RDWR)


class Place:
    """One connection's."""

    def __init__(self, gate: Gate, connection: socket.socket, address: str) -> None:
        """`gate` has counted it."""
        self.connection = connection
        self.address = address
        self._gate = gate
        self._left = False

    def talks(self) -> None:
        """A whole request came."""
        self._gate.talks(self)

    def seat(self) -> None:
        """It is a member's page now: it is not cut when others want its place."""
        self._gate.seat(self)

    def leave(self) -> None:
        """It is over; may be said twice."""
        if not self._left:
            self._left = True
            self._gate.leave(self)


class Guarded(asyncio.Protocol):
    """Stands before aiohttp's protocol of one connection."""

    def __init__(self, inner: asyncio.Protocol, place: Place) -> None:
        """`place` is told what becomes of the connection."""
        self._inner = inner
        self.place = place
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._head = b""
        self._taken = 0
        self._free = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        self._transport = cast(asyncio.Transport, transport)
        self._deadline = asyncio.get_running_loop().call_later(HEADER_TIME, self._transport.abort)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what is within the limits, cut off what is not."""
        if not self._free and not self._allowed(data) and self._transport is not None:
            self._transport.abort()
            return
        self._inner.data_received(data)

    def _allowed(self, data: bytes) -> bool:
        self._taken += len(data)
        if self._deadline is not None:
            self._head += data
            if b"\r\n\r\n" in self._head:
                self._deadline.cancel()
                self._deadline = None
                self.place.talks()
                self._head = b""
            elif len(self._head) > _MAX_HEADER:
                return False
        return self._taken <= MAX_BYTES and data.count(b" HTTP/1.1\r\n") <= _MAX_PIPELINED

    def free(self) -> None:
        """It became a WebSocket, which has limits of its own."""
        self._free = True

    def eof_received(self) -> bool | None:
        """The client will send no more."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        if self._deadline is not None:
            self._deadline.cancel()
        self.place.leave()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Passed on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Passed on."""
        self._inner.resume_writing()


async def serve(
    listening: socket.socket, make: Callable[[], asyncio.Protocol], gate: Gate, tls: ssl.SSLContext | None
) -> None:
    """Accept until cancelled. `make` gives aiohttp's protocol for a connection."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                log.warning("cannot accept error=%s", error)
                await asyncio.sleep(_PAUSE)
                continue
            if place := gate.enter(connection, address[0]):
                tasks.create_task(_handle(place, make, tls), name=f"tcp {address[0]}")
            else:
                connection.close()


def guarded(transport: asyncio.BaseTransport | None) -> Guarded | None:
    """What stands before the connection; None where aiohttp was started without the guard."""
    protocol = transport.get_protocol() if transport is not None else None
    return protocol if isinstance(protocol, Guarded) else None


class _Bad(logging.Filter):
    """What aiohttp says of requests that are no HTTP quotes them, tickets and all, at any length: one line a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._told = -_BAD_REQUESTS

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the line, shortened, if it is time for one. Faults of our own pass whole."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        self._count += 1
        now = time.monotonic()
        if now - self._told < _BAD_REQUESTS:
            return False
        record.msg, record.args = "bad requests count=%d error=%s", (self._count, type(error).__name__)
        record.exc_info, record.exc_text, record.levelno, record.levelname = None, None, logging.WARNING, "WARNING"
        self._count, self._told = 0, now
        return True


def quiet_log() -> logging.Logger:
    """The log for aiohttp's protocol."""
    quiet = logging.getLogger("aiohttp.server")
    quiet.filters = [_Bad()]
    return quiet


async def _handle(place: Place, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None) -> None:
    """Shake hands and hand over; the connection lives on in its protocol."""
    try:
        await _attach(place.connection, lambda: Guarded(make(), place), tls)
    except (OSError, TimeoutError):  # ssl.SSLError is an OSError
        place.leave()
        place.connection.close()


async def _attach(connection: socket.socket, factory: Callable[[], Guarded], tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    if tls is None:
        await loop.connect_accepted_socket(factory, connection)
    else:
        await loop.connect_accepted_socket(factory, connection, ssl=tls, ssl_handshake_timeout=HEADER_TIME)
