"""DTLS and SRTP: the only file that knows private names of aiortc and pylibsrtp.

aiortc's transport does the handshake over a client's path; RTP never reaches it. The keys it agrees on are used here,
in one scratch buffer: a packet is written into `scratch`, encrypted in place and sent from there, without a copy.
The names used are listed in tests/conference/test_dtls.py, which fails when one is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiortc import rtcdtlstransport as aio
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from pylibsrtp import Session
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found]  # compiled by cffi

from conference.mux import MAX_DATAGRAM, Path

HANDSHAKE_TIME = 15.0
"""Seconds for a whole handshake."""
MAX_PLAIN = MAX_DATAGRAM - 160
"""Bytes of a packet before protection: libsrtp may add 148."""

GCM_FIRST = (aio.SRTP_AEAD_AES_128_GCM, aio.SRTP_AES128_CM_SHA1_80)
CM_FIRST = (aio.SRTP_AES128_CM_SHA1_80, aio.SRTP_AEAD_AES_128_GCM)

_buffer = ffi.new("unsigned char[]", MAX_DATAGRAM)
_size = ffi.new("int *")
scratch = memoryview(ffi.buffer(_buffer))
"""Where a packet is written before `Srtp.protect`. There is one, since there is one thread and no wait in between."""


class HandshakeFailed(Exception):
    """No keys were agreed on: the client is turned away."""


class Srtp:
    """Keys of one client, both directions."""

    def __init__(self, receive: Session, send: Session) -> None:
        """Keep the sessions: their native part lives as long as they do."""
        self._sessions = (receive, send)
        self._receive: Any = receive._srtp[0]
        self._send: Any = send._srtp[0]

    def protect(self, size: int) -> int:
        """Encrypt the first `size` bytes of `scratch` as RTP. The new size, or 0 when it cannot be."""
        _size[0] = size
        if lib.srtp_protect(self._send, _buffer, _size):
            return 0
        protected: int = _size[0]
        return protected

    def protect_rtcp(self, plain: bytes) -> bytes:
        """Encrypt a compound packet; empty when it cannot be."""
        return self._copied(lib.srtp_protect_rtcp, self._send, plain)

    def unprotect(self, data: bytes) -> bytes:
        """The RTP packet in a datagram; empty when it is not from the client, or comes a second time."""
        return self._copied(lib.srtp_unprotect, self._receive, data)

    def unprotect_rtcp(self, data: bytes) -> bytes:
        """The compound packet in a datagram; empty when it is not from the client."""
        return self._copied(lib.srtp_unprotect_rtcp, self._receive, data)

    @staticmethod
    def _copied(function: Any, session: Any, data: bytes) -> bytes:
        size = len(data)
        if not 8 <= size <= MAX_PLAIN:
            return b""
        scratch[:size] = data
        _size[0] = size
        return bytes(scratch[: _size[0]]) if function(session, _buffer, _size) == 0 else b""


class _Wire:
    """A path, in the shape in which aiortc expects its ICE transport."""

    role = "controlled"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def _recv(self) -> bytes:
        data = await self._path.handshake.get()
        if not data:
            raise ConnectionError("path closed")
        return data

    async def _send(self, data: bytes) -> None:
        self._path.send(data)


class Tunnel:
    """A finished handshake."""

    def __init__(self, transport: RTCDtlsTransport) -> None:
        """`transport` is connected."""
        self._transport = transport
        self.srtp = Srtp(transport._rx_srtp, transport._tx_srtp)
        self.ended = asyncio.Event()
        """Set when the client has closed it."""
        transport.on("statechange", self._changed)

    def _changed(self) -> None:
        if self._transport.state in ("closed", "failed"):
            self.ended.set()

    async def close(self) -> None:
        """Say goodbye to the client."""
        await self._transport.stop()


async def connect(
    path: Path, certificate: RTCCertificate, fingerprints: Sequence[tuple[str, str]], *, client: bool, gcm: bool = True
) -> Tunnel:
    """Shake hands; the other end must have one of `fingerprints` (hash function, value). Raises HandshakeFailed."""
    transport = RTCDtlsTransport(_Wire(path), [certificate])  # type: ignore[arg-type]  # duck type, see _Wire
    transport._srtp_profiles = list(GCM_FIRST if gcm else CM_FIRST)
    transport._set_role("client" if client else "server")
    wanted = RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint(name, value) for name, value in fingerprints])
    try:
        async with asyncio.timeout(HANDSHAKE_TIME):
            await transport.start(wanted)
    except TimeoutError as error:
        raise HandshakeFailed("timed out") from error
    if transport.state != "connected":
        raise HandshakeFailed(transport.state)
    return Tunnel(transport)


def new_certificate() -> RTCCertificate:
    """A fresh one, for the life of the process."""
    return RTCCertificate.generateCertificate()


def fingerprints_of(certificate: RTCCertificate) -> tuple[tuple[str, str], ...]:
    """(hash function, value) for a description; the strong and widely understood one only."""
    return tuple((f.algorithm, f.value) for f in certificate.getFingerprints() if f.algorithm == "sha-256")
