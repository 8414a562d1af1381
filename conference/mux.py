"""One UDP port for all clients: ICE-lite, demultiplexing, consent.

A datagram is taken only from an address that a client has proved to be its own by a signed check; all others are
counted and forgotten, whatever they hold (RFC 7983, RFC 8445 6.1.1, RFC 7675). Sending never waits: what the system
does not take at once is dropped here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable

from conference import stun

CONSENT = 20.0
"""Seconds without a signed check after which a client is gone."""
_BURST = 64
"""Datagrams read before other tasks get their turn."""
_BUFFER = 4 * 1024 * 1024
"""Bytes asked of the system for each direction; it may give less."""
_MAX_ADDRESSES = 8
"""Addresses of one client; past it the oldest is forgotten."""
_HANDSHAKE = 32
"""DTLS datagrams waiting; past it the newest is dropped, the client repeats it."""
MAX_DATAGRAM = 2048

Address = tuple[str, int]
Media = Callable[[bytes, float], None]


class Path:
    """One client's way through the port. `address` is where it wants to be sent to."""

    def __init__(self, mux: Mux, media: Media) -> None:
        """Choose the user fragment and password that the client must sign with."""
        self.ufrag = secrets.token_urlsafe(6).replace("_", "+").replace("-", "/")
        self.pwd = secrets.token_hex(16)
        self.key = self.pwd.encode()
        self.media = media
        self.address: Address | None = None
        self.addresses: list[Address] = []
        self.handshake: asyncio.Queue[bytes] = asyncio.Queue(_HANDSHAKE)
        self.seen = time.monotonic()
        self.reached = asyncio.Event()
        self.send_to = mux.send
        self._mux = mux

    def send(self, data: bytes | memoryview) -> None:
        """Send to the client, if its address is known."""
        if self.address is not None:
            self.send_to(data, self.address)

    def close(self) -> None:
        """Forget the client; whoever waits for a handshake datagram gets an empty one."""
        self._mux.forget(self)
        self.reached.set()
        if self.handshake.full():
            self.handshake.get_nowait()
        self.handshake.put_nowait(b"")


class Mux:
    """The port."""

    def __init__(self, sock: socket.socket) -> None:
        """`sock` is a bound UDP socket."""
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._sock = sock
        self._by_ufrag: dict[str, Path] = {}
        self._by_address: dict[Address, Path] = {}
        self.port = int(sock.getsockname()[1])
        self.received = self.sent = self.dropped = self.strays = 0
        """Datagrams: taken, sent, not taken by the system, from nobody known."""

    def start(self) -> None:
        """Begin to read, in the running loop."""
        asyncio.get_running_loop().add_reader(self._sock, self._readable)

    def close(self) -> None:
        """Stop reading and close the port."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def path(self, media: Media) -> Path:
        """A place for a new client; `media` takes its RTP and RTCP, still protected, and the monotonic time."""
        path = Path(self, media)
        self._by_ufrag[path.ufrag] = path
        return path

    def forget(self, path: Path) -> None:
        """Take nothing more from a client."""
        self._by_ufrag.pop(path.ufrag, None)
        for address in path.addresses:
            self._by_address.pop(address, None)
        path.addresses.clear()
        path.address = None

    def send(self, data: bytes | memoryview, address: Address) -> None:
        """Send one datagram; a full system buffer or an unreachable address drops it."""
        try:
            self._sock.sendto(data, address)
        except OSError:
            self.dropped += 1
        else:
            self.sent += 1

    def _readable(self) -> None:
        receive, take = self._sock.recvfrom, self._datagram
        now = time.monotonic()
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(_BURST):
                data, address = receive(MAX_DATAGRAM)
                take(data, address[:2], now)

    def _datagram(self, data: bytes, address: Address, now: float) -> None:
        path = self._by_address.get(address)
        if not data or (path is None and data[0] > 3):
            self.strays += 1
        elif data[0] > 127 and path is not None:
            self.received += 1
            path.media(data, now)
        elif data[0] < 4:
            self._check(data, address, now)
        elif 19 < data[0] < 64 and path is not None and not path.handshake.full():
            path.handshake.put_nowait(data)
        else:
            self.strays += 1

    def _check(self, data: bytes, address: Address, now: float) -> None:
        check = stun.parse_request(data)
        path = self._by_ufrag.get(check.username.partition(":")[0]) if check else None
        if check is None or path is None or not stun.signed_by(data, check, path.key):
            self.strays += 1
            return
        path.seen = now
        if self._by_address.get(address) is not path:
            self._admit(path, address)
        if check.nominated or path.address is None:
            path.address = address
        path.reached.set()
        self.send(stun.answer(check, path.key, address), address)

    def _admit(self, path: Path, address: Address) -> None:
        former = self._by_address.get(address)
        if former is not None and address in former.addresses:
            former.addresses.remove(address)
        self._by_address[address] = path
        path.addresses.append(address)
        if len(path.addresses) > _MAX_ADDRESSES:
            self._by_address.pop(path.addresses.pop(0), None)


def bind(host: str, port: int) -> socket.socket:
    """A UDP socket on one address; an IPv6 wildcard takes IPv4 as well."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if host == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, port))
    return sock
