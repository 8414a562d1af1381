"""The buses that simulated units hang on: a TCP port (MBAP or RTU inside) and a serial line (RTU on a pty pair).

A bus owns its units and writes the ledger; each reader (a connection, or whoever has the line) has its own session.
Ledger first, then the wire: what a reader saw is in the file. On a serial line a late answer goes out when it is due,
whatever was asked meanwhile, as on a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import tty
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast

import msgspec

from drivers.sim.ledger import Book
from drivers.sim.unit import Reply, Request, Session, Unit
from drivers.sim.wire import Broken, Framing, Mbap, Rtu

log = logging.getLogger("edge.sim")

NO_SUCH_UNIT = 11
"""Exception of a TCP gateway whose target does not respond; on a serial line nobody answers."""
WHOLE_REQUEST = 12
"""Bytes of a read request on TCP."""
MOST_FRAMES = 10_000
"""Constant answers that are kept; when full, further ones are made each time."""


class Reader(Protocol):
    """Whoever asks: a TCP connection, or the one at the other end of the line."""

    framing: Framing
    session: Session

    @property
    def here(self) -> bool:
        """False: gone meanwhile."""
        ...

    def write(self, frame: bytes) -> None:
        """Send."""
        ...


class Bus:
    """Units that share one port or line."""

    def __init__(self, units: Iterable[Unit], book: Book, client_timeout: float = 1.0) -> None:
        """`client_timeout`: seconds after which the reader gives up; a later answer counts as late."""
        self.units = {unit.number: unit for unit in units}
        self.book = book
        self.constant = not book.wanted and all(u.options.static and not u.troubles for u in self.units.values())
        """True where the same request always gets the same answer, and nobody wants to know which."""
        self._client_timeout = client_timeout
        self._answering = True
        self._delayed: set[asyncio.TimerHandle] = set()

    def handle(self, request: Request, reader: Reader) -> None:
        """Answer one request, now or later."""
        if not self._answering:
            return
        arrived = time.monotonic()
        unit = self.units.get(request.unit)
        reply = unit.answer(request, reader.session, self.book.wanted) if unit else _stranger(request, reader)
        if reply is None:
            self.book.summary.unanswered += 1
        elif reply.delay:
            self._delay(request, reply, reader, arrived)
        else:
            self._send(request, reply, reader, arrived)

    def stop(self) -> None:
        """Answer nothing any more, not even what is due later."""
        self._answering = False
        for timer in self._delayed:
            timer.cancel()
        self.book.summary.unanswered += len(self._delayed)
        self._delayed.clear()

    def _delay(self, request: Request, reply: Reply, reader: Reader, arrived: float) -> None:
        def due() -> None:
            self._delayed.discard(timer)
            self._send(request, reply, reader, arrived)

        timer = asyncio.get_running_loop().call_later(reply.delay, due)
        self._delayed.add(timer)

    def _send(self, request: Request, reply: Reply, reader: Reader, arrived: float) -> None:
        if not reader.here:
            self.book.summary.unanswered += 1
            return
        if reply.answer:
            late = time.monotonic() - arrived > self._client_timeout
            self.book.add(msgspec.structs.replace(reply.answer, time=time.time_ns() // 1_000_000, late=late))
        else:
            self.book.summary.refused += 1
        reader.write(reader.framing.frame(request, reply))


def _stranger(request: Request, reader: Reader) -> Reply | None:
    over_tcp = isinstance(reader.framing, Mbap)
    return Reply(bytes((request.fc | 0x80, NO_SUCH_UNIT)), request.unit) if over_tcp else None


class TcpPort:
    """A bus behind a TCP port of this machine."""

    def __init__(self, bus: Bus, port: int = 0, framing: type[Mbap] | type[Rtu] = Mbap) -> None:
        """Port 0: a free one, known after `open()`."""
        self.bus, self.port, self.framing = bus, port, framing
        self.connections: set[_Connection] = set()
        self.frames: dict[bytes, bytes] = {}
        """Answers without their transaction identifier by request without its own, where they are constant."""
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Close the port and drop every connection."""
        if self._server:
            self._server.close()
            self._server = None
        for connection in tuple(self.connections):
            connection.drop()


class _Connection(asyncio.Protocol):
    """One reader."""

    def __init__(self, port: TcpPort) -> None:
        self.framing: Framing = port.framing()
        self.session: Session = {}
        self._port, self._bus = port, port.bus
        self._transport: asyncio.Transport | None = None
        self._constant = port.bus.constant and port.framing is Mbap
        self._asked = b""
        """The request under way, where its answer is to be kept."""

    @property
    def here(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._port.connections.add(self)

    def connection_lost(self, fault: Exception | None) -> None:
        self._transport = None
        self._port.connections.discard(self)

    def drop(self) -> None:
        """Send what is written, then close."""
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        known = self._port.frames.get(data[2:]) if self._constant else None
        if known and self._transport:
            self._bus.book.summary.answers += 1
            self._transport.write(data[:2] + known)
            return
        self._asked = data if self._constant and len(data) == WHOLE_REQUEST else b""
        try:
            requests = self.framing.feed(data)
        except Broken:
            self.drop()
            return
        for request in requests:
            self._bus.handle(request, self)

    def write(self, frame: bytes) -> None:
        if self._asked and len(self._port.frames) < MOST_FRAMES:
            self._port.frames[self._asked[2:]] = frame[2:]
        if self._transport:
            self._transport.write(frame)


class SerialLine:
    """A bus on a pty pair: the units hold one end, `path` is a link to the other."""

    def __init__(self, bus: Bus, path: Path) -> None:
        """`path` may be a link left by an earlier run, nothing else."""
        self.bus, self.path = bus, path
        self.framing: Framing = Rtu()
        self.session: Session = {}
        self._ends: tuple[int, int] | None = None

    @property
    def address(self) -> str:
        """The link."""
        return str(self.path)

    async def open(self) -> None:
        """Make the pair and the link. Raises OSError; FileExistsError when `path` is something else."""
        if self.path.exists() and not self.path.is_symlink():
            raise FileExistsError(f"{self.path} is there already and is no link")
        ours, theirs = os.openpty()
        self._ends = ours, theirs  # Their end stays open here too: a reader that leaves does not hang up the line.
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._link(os.ttyname(theirs))
        asyncio.get_running_loop().add_reader(ours, self._arrived, ours)

    def _link(self, target: str) -> None:
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(self.path)

    def close(self) -> None:
        """Unplug it: the reader's end hangs up, the link goes."""
        if self._ends is None:
            return
        asyncio.get_running_loop().remove_reader(self._ends[0])
        if self.path.is_symlink() and os.readlink(self.path) == os.ttyname(self._ends[1]):
            self.path.unlink()
        for end in self._ends:
            os.close(end)
        self._ends = None

    def _arrived(self, ours: int) -> None:
        try:
            data = os.read(ours, 4096)
        except BlockingIOError:
            return
        for request in self.framing.feed(data):
            self.bus.handle(request, self)

    @property
    def here(self) -> bool:
        """False while it is unplugged."""
        return self._ends is not None

    def write(self, frame: bytes) -> None:
        """Send; what does not fit into the line's 4 KiB is lost, as a real line does not wait either."""
        if self._ends:
            with contextlib.suppress(BlockingIOError):
                os.write(self._ends[0], frame)


Endpoint = TcpPort | SerialLine


async def unplugged(endpoint: Endpoint, seconds: float) -> None:
    """Leave the endpoint there for `seconds`, away for as long, and so on until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        endpoint.close()
        log.info("bus unplugged bus=%s", endpoint.address)
        await asyncio.sleep(seconds)
        await endpoint.open()
        log.info("bus plugged bus=%s", endpoint.address)
