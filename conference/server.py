"""The meeting's server: page, signalling, status, and the media port behind them.

`run` is the whole program: it binds TCP and UDP to the same port number, makes a certificate if none is configured and
serves until cancelled. Nothing outside the box is ever contacted.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from conference import certificate, control, guard, messages, mux
from conference.addresses import Addresses
from conference.meetings import Meetings
from conference.settings import Settings
from conference.signalling import Conversation
from conference.tickets import MAX_NAME, Refused
from conference.whip import Standard, body

WEB = Path(__file__).parent / "web"
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_CHOICES = 20
"""Numbers tried when the system is to choose one."""
_MAX_BODY = 98_304
_GOODBYE = 1.0
"""Seconds that a WebSocket has to answer our goodbye."""
_POLICY = (
    "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; connect-src 'self' wss://{host}; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HOST = re.compile(r"[^A-Za-z0-9.:\[\]-]")
"""What cannot stand in a host name, and so not in the policy either."""
_HEADERS = {
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

log = logging.getLogger(__name__)


class Home(msgspec.Struct, frozen=True):
    """What the page's first screen needs."""

    name: str
    language: str
    help_phone: str
    room: str
    open: bool
    """The button works without a ticket."""
    title: str = ""
    start: str = ""
    """RFC 3339, of the meeting that runs or comes next; empty: none."""
    end: str = ""
    timezone: str = ""


class Entry(msgspec.Struct, frozen=True):
    """How a person without a ticket wants in: by name through the open door, or by code."""

    name: str = ""
    code: str = ""


class Entered(msgspec.Struct, frozen=True):
    """A ticket."""

    ticket: str
    room: str


class Server:
    """The HTTP side."""

    def __init__(self, settings: Settings, meetings: Meetings, figures: control.Figures) -> None:
        """Read the page's files once; they are small."""
        self._settings = settings
        self._meetings = meetings
        self._figures = figures
        self._files = _page_files()
        self._standard = Standard(meetings)

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.add_routes(
            [
                web.get("/", self._file),
                web.get("/web/{path:.+}", self._file),
                web.get("/api/home", self._home),
                web.post("/api/enter", self._enter),
                web.get("/ws", self._signalling),
                web.get("/status", self._status),
                web.get("/metrics", self._metrics),
                *self._standard.routes(),
            ]
        )
        app.on_response_prepare.append(_add_headers)
        return app

    async def _file(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info.get("path", "index.html"))
        if found is None:
            raise web.HTTPNotFound
        content, kind = found
        return web.Response(body=content, content_type=kind, charset="utf-8")

    async def _home(self, _request: web.Request) -> web.Response:
        settings = self._settings
        coming = settings.next_meeting(datetime.now(UTC))
        home = Home(
            name=settings.name or settings.site,
            language=settings.language,
            help_phone=settings.help_phone,
            room=coming.room if coming else settings.room,
            open=settings.open_rooms,
            title=coming.title if coming else "",
            start=coming.start.isoformat() if coming else "",
            end=coming.end.isoformat() if coming else "",
            timezone=settings.timezone,
        )
        return _json(home)

    async def _enter(self, request: web.Request) -> web.Response:
        """A ticket for someone who has none. Headers that claim another address are not read."""
        raw = await body(request)
        try:
            return _json(self._entered(msgspec.json.decode(raw, type=Entry), request.remote or ""))
        except msgspec.DecodeError:
            return _json(messages.Refusal("bad_message"), status=400)
        except Refused as refused:
            return _json(messages.Refusal(refused.reason, refused.retry, refused.left), status=403)

    def _entered(self, entry: Entry, address: str) -> Entered:
        settings, tickets = self._settings, self._meetings.tickets
        name = " ".join(entry.name.split())[:MAX_NAME]
        if entry.code:
            code = self._meetings.codes.enter(entry.code, address)
            room, role, by = code.room, code.role, code.id
        elif settings.open_rooms:
            coming = settings.next_meeting(datetime.now(UTC))
            room, role, by = coming.room if coming else settings.room, "guest", ""
        else:
            raise Refused("code_needed")
        return Entered(tickets.passing(room, role, name, settings.site, by), room)

    async def _signalling(self, request: web.Request) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="other origin")
        socket = web.WebSocketResponse(
            heartbeat=10, max_msg_size=messages.MAX_MESSAGE, compress=False, timeout=_GOODBYE
        )
        await socket.prepare(request)
        before = guard.guarded(request.transport)
        if before is None:
            await Conversation(self._meetings, socket).run()
        else:
            before.free()
            await Conversation(self._meetings, socket, before.place.seat).run()
        return socket

    async def _status(self, request: web.Request) -> web.Response:
        _only_local(request)
        return await self._figures.status(request)

    async def _metrics(self, request: web.Request) -> web.Response:
        _only_local(request)
        return await self._figures.metrics(request)


class Sockets(msgspec.Struct, frozen=True):
    """The page's listening TCP socket and the media's bound UDP socket, on the same port number."""

    tcp: socket.socket
    udp: socket.socket


async def run(
    settings: Settings,
    ready: Callable[[int], None] = lambda _port: None,
    beat: Callable[[], None] = lambda: None,
    sockets: Sockets | None = None,
) -> None:
    """Serve until cancelled. Raises OSError when the port or the files cannot be used.

    `ready` gets the port number once; `beat` is called every second while media is being served; `sockets` are those
    that a service manager opened, else they are bound here.
    """
    settings.state.mkdir(parents=True, exist_ok=True)
    addresses = Addresses(settings.host, settings.addresses)
    sockets = sockets or bind(settings.host, settings.port)
    meetings = Meetings(settings, addresses, sockets.udp)
    meetings.beat = beat
    tls = certificate.context(settings.cert, settings.key, settings.state, addresses.now())
    gate = guard.Gate(settings.limits.connections, settings.limits.connections_per_address)
    figures = control.Figures(meetings, gate)
    runner = web.AppRunner(
        Server(settings, meetings, figures).app(),
        access_log=None,
        keepalive_timeout=10,
        lingering_time=1,
        handler_cancellation=True,
        shutdown_timeout=0.5,
        logger=guard.quiet_log(),
    )
    await runner.setup()
    log.info("meeting open port=%d addresses=%s", meetings.mux.port, ",".join(addresses.now()))
    try:
        async with control.serve(settings.control, figures), asyncio.TaskGroup() as tasks:
            tasks.create_task(meetings.run(), name="media")
            tasks.create_task(guard.serve(sockets.tcp, _protocols(runner), gate, tls), name="page")
            ready(meetings.mux.port)
    finally:
        sockets.tcp.close()
        await runner.cleanup()


def bind(host: str, port: int) -> Sockets:
    """Both sockets; port 0 lets the system choose a number that is free for both. Raises OSError."""
    for turn in range(_CHOICES):
        udp = mux.bind(host, port)
        try:
            return Sockets(_listen(host, int(udp.getsockname()[1])), udp)
        except OSError:
            udp.close()
            if port or turn == _CHOICES - 1:
                raise
    raise OSError("no port")


def inherited(first: int, count: int) -> Sockets:
    """The sockets that systemd passes as descriptors `first` and on, in any order. Raises ValueError."""
    found = [socket.socket(fileno=fd) for fd in range(first, first + count)]
    tcp = [sock for sock in found if sock.type == socket.SOCK_STREAM]
    udp = [sock for sock in found if sock.type == socket.SOCK_DGRAM]
    if len(tcp) != 1 or len(udp) != 1:
        raise ValueError("one stream and one datagram socket are needed")
    tcp[0].setblocking(False)
    return Sockets(tcp[0], udp[0])


def _protocols(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    server = runner.server
    if server is None:
        raise RuntimeError("the runner was not set up")
    return server


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if host == "::":
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listening.bind((host, port))
    listening.listen(128)
    listening.setblocking(False)
    return listening


def _page_files() -> dict[str, tuple[bytes, str]]:
    """Path below web/ -> content and type."""
    files = (path for path in WEB.rglob("*") if path.suffix in _TYPES)
    return {path.relative_to(WEB).as_posix(): (path.read_bytes(), _TYPES[path.suffix]) for path in files}


def _json(value: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)


def _only_local(request: web.Request) -> None:
    """Status and metrics are for the box itself."""
    if not request.remote or not ipaddress.ip_address(request.remote.split("%")[0]).is_loopback:
        raise web.HTTPForbidden(text="only from the box itself")


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers["Content-Security-Policy"] = _POLICY.format(host=_HOST.sub("", request.host))
    response.headers.pop("Server", None)
