"""What stands between a box and its database: it passes everything on, or answers by itself as servers and lines do."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

import msgspec

HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})
"""Headers of one connection, not of the message (RFC 9110, 7.6.1)."""
Pairs = Iterable[tuple[str, str]]
UPSTREAM_S = 30.0
"""Longest wait for the database, which may be frozen."""


class Says(msgspec.Struct, frozen=True):
    """What the gate answers in the database's place."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    above: int = 0
    """Only to requests of more bytes than this; others are passed on."""
    after: bool = False
    """The database has it first, and then the line breaks: nobody hears the answer."""


_JSON = {"Content-Type": "application/json"}
_LATER = {**_JSON, "Retry-After": "2"}
ANSWERS: Mapping[str, Says] = {
    "no token": Says(401, b'{"error":"unable to parse authentication credentials"}', _JSON),
    "token revoked": Says(403, b'{"error":"forbidden"}', _JSON),
    "no database": Says(404, b'{"error":"database not found: \\"city\\""}', _JSON),
    "too large": Says(413, b'{"error":"Request Entity Too Large"}', _JSON, above=6 << 10),
    "throttled": Says(429, b'{"error":"too many requests"}', _LATER),
    "internal error": Says(500, b'{"error":"engine: cache maximum memory size exceeded"}', _JSON),
    "not ready": Says(503, b'{"error":"service unavailable"}', _LATER),
    "captive portal": Says(200, b"<html><body>Vui long dang nhap</body></html>", {"Content-Type": "text/html"}),
    "answer lost": Says(204, b"", after=True),
}
"""By name: test 12 of the fault tests."""


class Gate(ThreadingHTTPServer):
    """A gate to one database, from `enter` to `exit`."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        """`url`: of the database."""
        super().__init__(("127.0.0.1", 0), _Request)
        self.says: Says | None = None
        """What it answers by itself; None: it passes everything on."""
        self.said = 0
        """How often it did."""
        self._behind = urlsplit(url)

    @property
    def url(self) -> str:
        """Where a box finds it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        """Open."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Shut."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A box that was killed or hung up is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it was given to us

    def behind(self) -> http.client.HTTPConnection:
        """To the database."""
        return http.client.HTTPConnection(self._behind.hostname or "", self._behind.port, timeout=UPSTREAM_S)


class _Request(BaseHTTPRequestHandler):
    """The box's side of the gate."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """A write."""
        assert isinstance(self.server, Gate)
        says, body = self.server.says, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if says and len(body) < says.above:
            says = None
        self.server.said += says is not None
        if says and not says.after:
            self._reply(says.status, says.headers.items(), says.body)
            return
        try:
            answer = self._passed_on(self.server.behind(), body)
        except (OSError, http.client.HTTPException):
            answer = None
        if says or answer is None:
            self._reset()
        else:
            self._reply(*answer)

    def do_GET(self) -> None:
        """A question, without a body."""
        self.do_POST()

    def _passed_on(self, behind: http.client.HTTPConnection, body: bytes) -> tuple[int, Pairs, bytes]:
        with contextlib.closing(behind):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            behind.request(self.command, self.path, body, headers)
            answer = behind.getresponse()
            return answer.status, [pair for pair in answer.getheaders() if pair[0].lower() not in HOP], answer.read()

    def _reply(self, status: int, headers: Pairs, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # a box that hung up meanwhile hears nothing
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if status != HTTPStatus.NO_CONTENT:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

    def _reset(self) -> None:
        """Break the connection, without a word."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
