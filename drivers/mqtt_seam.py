"""One connection to a broker: aiomqtt and paho, made to acknowledge by hand and to read many messages at a time.

The only file that touches private names: `_client` and `_on_publish` of aiomqtt 2.5.1, and of paho 2.2
`_sock_recv`, `_sock_close`, `_packet_queue` (`tests/drivers/test_mqtt_contract.py` names each). Two things cannot be
had without: aiomqtt acknowledges QoS 1 on arrival, so what is not on disk yet would be lost in a crash; and paho spends
four system calls and 20 us of Python on a message. Here the socket is read in large pieces and PUBLISH is taken apart
in place; every other packet goes to paho, whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers.mqtt_packets import PUBACK, PUBLISH, BadPacket, Message, published, split
from drivers.paho import Client as Paho
from drivers.paho import ConnectFlags, DisconnectFlags, aiomqtt

KEEP_ALIVE, TAKEN_OVER = 0x8D, 0x8E
"""Reason codes of a DISCONNECT (MQTT 5, 3.14.2.1)."""
CONNECT_TIMEOUT = 3.0
"""Of the TCP connection, which is made in a thread: leaving waits for it, and must not take 5 s."""
OPEN_TIMEOUT = 15.0
"""Of name, connection, TLS and CONNACK together."""
ANSWER_TIMEOUT = 10.0
"""Of a SUBACK."""
PIECE = 65536
PIECES = 8
"""Most pieces read in one turn of the loop, so that a burst does not keep other tasks waiting."""
HALF_OPEN = (
    # A broker that vanished without a word (cut cable) is noticed in about 25 s, whether we wait or send.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class Unreachable(ConnectionError):
    """No connection, or it was lost: try again. The text is for people."""


class Untrusted(Unreachable):
    """The broker's certificate is not to be trusted."""


class Refused(ConnectionError):
    """The broker does not want us: trying again helps only when somebody changes something there or here."""


class Wanted(msgspec.Struct, frozen=True):
    """How to connect."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    session_expiry: int
    """Seconds that the broker keeps our messages while we are away."""
    receive_maximum: int
    """Most QoS 1 messages under way at a time."""
    max_packet: int
    """Longest packet in bytes; the broker drops longer ones."""
    keepalive: int


class Link:
    """From CONNECT until the connection is lost or closed; a new connection is a new Link."""

    def __init__(self, wanted: Wanted, receive: Callable[[Sequence[Message]], None], lost: Callable[[], None]) -> None:
        """`receive` gets the messages of each piece read, `lost` is called once when the connection has ended."""
        self.session_present = False
        self.error = ""
        """Why the connection ended, in words."""
        self.taken_over = False
        """True when it ended because somebody else connected under our client id."""
        self._receive, self._lost = receive, lost
        self._wanted = wanted
        self._closed = self._paused = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._patience: asyncio.Timeout | None = None
        self._rest = b""
        self._for_paho = b""
        self._client = _client(wanted)
        self._paho: Paho = self._client._client
        self._from_socket: Callable[[int], bytes] = self._paho._sock_recv
        self._take_over()

    @property
    def alive(self) -> bool:
        """True while messages may come."""
        return not self._closed and not self.error

    async def open(self) -> None:
        """Connect. Raises Refused, Untrusted or Unreachable."""
        try:
            async with self._patient(OPEN_TIMEOUT):
                await self._client.__aenter__()
        except aiomqtt.exceptions.MqttConnectError as refused:
            raise Refused(_words(refused.rc)) from None
        except (aiomqtt.MqttError, UnicodeError) as fault:
            raise _unreachable(fault) from None

    async def subscribe(self, topics: Sequence[tuple[str, int]]) -> list[ReasonCode]:
        """Subscribe to (topic, QoS) pairs, one answer each. Raises Unreachable.

        Retained messages come only with a subscription that the session did not have yet.
        """
        asked = [(topic, SubscribeOptions(qos=qos, retainHandling=1)) for topic, qos in topics]
        try:
            async with self._patient(ANSWER_TIMEOUT):
                answers = await self._client.subscribe(asked)
        except aiomqtt.MqttError as fault:
            raise Unreachable(_strip(str(fault))) from None
        return [answer for answer in answers if isinstance(answer, ReasonCode)]

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        """End subscriptions that the session still has. Raises Unreachable."""
        try:
            async with self._patient(ANSWER_TIMEOUT):
                await self._client.unsubscribe(list(topics))
        except aiomqtt.MqttError as fault:
            raise Unreachable(_strip(str(fault))) from None

    def acknowledge(self, mids: Iterable[int]) -> None:
        """PUBACK for each; all in one write. paho's `ack` would be a system call a message."""
        packets = b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids])
        if packets and self.alive:
            self._paho._packet_queue(PUBACK, packets, 0, 0)

    def pause(self) -> None:
        """Read no more for now, so that the broker has to wait; longer than two keepalives ends the connection."""
        if not self._paused and (sock := self._paho.socket()) is not None:
            self._paused = True
            self._loop.remove_reader(sock.fileno())

    def resume(self) -> None:
        """Read again."""
        if self._paused and (sock := self._paho.socket()) is not None:
            self._paused = False
            self._loop.add_reader(sock.fileno(), self._readable)
            self._loop.call_soon(self._read_on)  # for what TLS has decrypted already

    def close(self) -> None:
        """Say good-bye and let go of the socket. The session stays with the broker."""
        self._closed = True
        self._paho.on_socket_register_write = None
        with contextlib.suppress(OSError):
            self._paho.disconnect()
            self._paho.loop_write()
        self._paho._sock_close()

    @contextlib.asynccontextmanager
    async def _patient(self, seconds: float) -> AsyncIterator[None]:
        """Wait inside for the broker: until the connection ends, and so long at most. Raises Unreachable."""
        try:
            async with asyncio.timeout(seconds) as self._patience:
                yield
        except TimeoutError:
            raise Unreachable(self.error or "no answer") from None
        finally:
            self._patience = None

    # --- what replaces aiomqtt's own callbacks ---

    def _take_over(self) -> None:
        paho = self._paho
        paho.manual_ack_set(True)
        paho.disable_logger()
        paho.connect_timeout = CONNECT_TIMEOUT
        paho._sock_recv = self._feed  # type: ignore[method-assign]  # the seam itself
        connected, opened = paho.on_connect, paho.on_socket_open

        def on_connect(client: Paho, data: Any, flags: ConnectFlags, code: ReasonCode, more: Properties | None) -> None:
            self.session_present = flags.session_present
            if code.is_failure:
                self._patience = None  # The answer is there: no use in not waiting for it.
            connected(client, data, flags, code, more)  # type: ignore[misc, call-arg, arg-type]

        def on_disconnect(
            _: Paho, data: Any, flags: DisconnectFlags, code: ReasonCode, more: Properties | None
        ) -> None:
            said = flags.is_disconnect_packet_from_server or code.value == KEEP_ALIVE
            self._ended(_words(code) if said else "connection lost", taken_over=code.value == TAKEN_OVER)

        def on_socket_open(client: Paho, data: Any, sock: Any) -> None:
            opened(client, data, sock)  # type: ignore[misc]
            self._loop.call_soon_threadsafe(self._attach)

        paho.on_connect, paho.on_disconnect, paho.on_socket_open = on_connect, on_disconnect, on_socket_open
        paho.on_socket_register_write = self._wants_to_write

    def _attach(self) -> None:
        """Read the socket ourselves: add_reader replaces aiomqtt's reader."""
        if (sock := self._paho.socket()) is None:
            return
        if self._closed:  # Cancelled while the thread was still connecting.
            self._paho._sock_close()
        else:
            self._loop.add_reader(sock.fileno(), self._readable)

    def _wants_to_write(self, _client: Paho, _data: Any, sock: Any) -> None:
        # aiomqtt puts this off by a turn of the loop, when the socket may be closed and its number another's.
        if threading.get_ident() == self._thread:
            self._loop.add_writer(sock.fileno(), self._writable)
        else:
            self._loop.call_soon_threadsafe(self._write_later)

    def _write_later(self) -> None:
        if (sock := self._paho.socket()) is not None and not self._closed:
            self._loop.add_writer(sock.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            self._paho.loop_write()
        except OSError as fault:
            self._fail(str(fault))

    def _ended(self, words: str, *, taken_over: bool = False) -> None:
        if not self.error and not self._closed:
            self.error, self.taken_over = words, taken_over
            if self._patience:
                self._patience.reschedule(self._loop.time())
            self._lost()

    def _fail(self, words: str) -> None:
        self._ended(_strip(words))
        self._paho._sock_close()

    # --- reading ---

    def _read_on(self) -> None:
        if self.alive and not self._paused:
            self._readable()

    def _readable(self) -> None:
        """Read what has come, a bounded amount; level-triggered, so the rest is announced again."""
        try:
            for _ in range(PIECES):
                piece = self._from_socket(PIECE)
                if not piece:
                    self._paho.loop_read()  # reads the end once more and ends the connection in its own way
                    return
                self._digest(piece)
                # A TLS socket may hold decrypted bytes of which the loop knows nothing.
                if self._paused or (not _pending(self._paho.socket()) and len(piece) < PIECE):
                    return
        except BlockingIOError:
            return
        except (OSError, BadPacket) as fault:
            self._fail(str(fault))

    def _digest(self, piece: bytes) -> None:
        data = self._rest + piece if self._rest else piece
        packets, used = split(data, self._wanted.max_packet)
        self._rest = data[used:]
        messages: list[Message] = []
        for head, start, packet in packets:
            if head & 0xF0 == PUBLISH:
                messages.append(published(head, packet, start))
            else:
                self._for_paho = packet
                self._paho.loop_read()
                self._for_paho = b""
        if messages:
            self._receive(messages)

    def _feed(self, bufsize: int) -> bytes:
        """What paho gets when it reads: the packet meant for it, else the socket itself."""
        if not self._for_paho:
            return self._from_socket(bufsize)
        taken, self._for_paho = self._for_paho[:bufsize], self._for_paho[bufsize:]
        return taken


# --- words and options ------------------------------------------------------------------------------------------------


def _client(wanted: Wanted) -> aiomqtt.Client:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.SessionExpiryInterval = wanted.session_expiry
    properties.ReceiveMaximum = wanted.receive_maximum
    properties.MaximumPacketSize = wanted.max_packet
    return aiomqtt.Client(
        wanted.host,
        wanted.port,
        username=wanted.username,
        password=wanted.password,
        identifier=wanted.client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
        tls_context=wanted.tls,
        keepalive=wanted.keepalive,
        timeout=2 * OPEN_TIMEOUT,  # ours come first
        socket_options=HALF_OPEN,
    )


def _pending(sock: Any) -> int:
    return sock.pending() if isinstance(sock, ssl.SSLSocket) else 0


def _words(code: object) -> str:
    """A reason code in words: `Not authorized` -> `not authorized`."""
    text = str(code)
    return text[:1].lower() + text[1:]


def _unreachable(fault: BaseException) -> Unreachable:
    """What kept us from connecting; aiomqtt keeps the system's exception as the context of its own."""
    cause = fault.__context__ or fault
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Untrusted(cause.verify_message)
    if isinstance(cause, ssl.SSLError):
        return Untrusted(_strip(cause.reason or str(cause)))
    if isinstance(cause, socket.gaierror | UnicodeError):
        return Unreachable("name not known")
    if isinstance(cause, TimeoutError):
        return Unreachable("no answer")
    return Unreachable(_strip(str(cause)))


def _strip(text: str) -> str:
    """`[Errno 111] Connection refused` -> `connection refused`."""
    text = text.partition("] ")[2] or text
    return text[:1].lower() + text[1:]


class PublishingClient(aiomqtt.Client):
    """Also knows with what reason the broker acknowledged; aiomqtt takes every PUBACK for success."""

    reason = 0

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        # Any: paho's callback types. Only one message is under way, so the reason is its own.
        self.reason = reason_code.value
        super()._on_publish(client, userdata, mid, reason_code, properties)
