"""TCP connections of the page: how many, from whom, and how long a request may take to arrive.

aiohttp has no deadline for a request's headers, and an accept loop without file descriptors spins. So connections are
accepted here, counted, and handed to aiohttp only while the limits hold; what does not say a whole request in time is
cut off, and sooner when others want its place. Signalling connections are exempt from the byte limit: they have
their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import cast

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

log = logging.getLogger(__name__)


class Gate:
    """Counts connections and lets them in."""

    def __init__(self, limit: int, per_address: int) -> None:
        """`limit` connections in all, `per_address` from one address."""
        self.refused = 0
        self._limit = limit
        self._per_address = per_address
        self._open: Counter[str] = Counter()
        self._silent: dict[socket.socket, str] = {}
        """Connections that have not said a whole request yet, oldest first, with their address."""
        self._talking = 0

    def enter(self, connection: socket.socket, address: str) -> bool:
        """Whether one more may come in; it is counted then. When all places are taken the oldest silent one goes."""
        silent = sum(1 for other in self._silent.values() if other == address)
        if self._open[address] >= self._per_address or silent >= _MAX_SILENT or self._talking >= self._limit:
            self.refused += 1
            return False
        if self._talking + len(self._silent) >= self._limit:
            self.refused += 1
            self._evict()
        self._open[address] += 1
        self._silent[connection] = address
        return True

    def talks(self, connection: socket.socket) -> None:
        """A whole request came."""
        if self._silent.pop(connection, None) is not None:
            self._talking += 1

    def leave(self, connection: socket.socket, address: str) -> None:
        """One has gone."""
        if self._silent.pop(connection, None) is None:
            self._talking -= 1
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]

    def _evict(self) -> None:
        """Cut the oldest silent connection; it counts as talking until its transport has noticed."""
        connection = next(iter(self._silent))
        self.talks(connection)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class Guarded(asyncio.Protocol):
    """Stands before aiohttp's protocol of one connection."""

    def __init__(self, inner: asyncio.Protocol, talks: Callable[[], None], gone: Callable[[], None]) -> None:
        """`talks` is called when the first request is whole, `gone` when the connection is over."""
        self._inner = inner
        self._talks = talks
        self._gone = gone
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
                self._talks()
                self._free = b"upgrade: websocket" in self._head.partition(b"\r\n\r\n")[0].lower()
                self._head = b""
            elif len(self._head) > _MAX_HEADER:
                return False
        return self._taken <= MAX_BYTES and data.count(b" HTTP/1.1\r\n") <= _MAX_PIPELINED

    def eof_received(self) -> bool | None:
        """The client will send no more."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._gone()
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
            if gate.enter(connection, address[0]):
                tasks.create_task(_handle(connection, address[0], make, gate, tls), name=f"tcp {address[0]}")
            else:
                connection.close()


async def _handle(
    connection: socket.socket,
    address: str,
    make: Callable[[], asyncio.Protocol],
    gate: Gate,
    tls: ssl.SSLContext | None,
) -> None:
    """Shake hands and hand over; the connection lives on in its protocol."""
    gone = _once(lambda: gate.leave(connection, address))
    try:
        await _attach(connection, lambda: Guarded(make(), lambda: gate.talks(connection), gone), tls)
    except (OSError, TimeoutError):  # ssl.SSLError is an OSError
        gone()
        connection.close()


async def _attach(connection: socket.socket, factory: Callable[[], Guarded], tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    if tls is None:
        await loop.connect_accepted_socket(factory, connection)
    else:
        await loop.connect_accepted_socket(factory, connection, ssl=tls, ssl_handshake_timeout=HEADER_TIME)


def _once(call: Callable[[], None]) -> Callable[[], None]:
    left = [call]
    return lambda: left.pop()() if left else None
