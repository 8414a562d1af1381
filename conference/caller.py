"""The other end of a call: a client as small as can be, for simulated sites, tests and measurements.

It offers, dials the box's answer over one UDP socket (ICE controlling, DTLS client), sends RTP that it is given and
hands on what it receives. It repairs nothing and asks for nothing by itself but a key frame when told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import cast

from conference import dtls, rtcp, rtp, sdp, stun
from conference.mux import MAX_DATAGRAM, Path

OPUS_TYPE, VP8_TYPE, H264_TYPE = 111, 96, 97
LEVEL_ID, MID_ID, TIME_ID = 1, 4, 2
_CHECK_INTERVAL = 2.0


class Caller:
    """One client. Callbacks get what was received, decrypted."""

    def __init__(self, *, audio: bool = True, video: bool = True, audio_slots: int = 0, video_slots: int = 0) -> None:
        """Say what it sends and how many slots it has."""
        self.audio, self.video = audio, video
        self.audio_slots, self.video_slots = audio_slots, video_slots
        self.audio_ssrc, self.video_ssrc = secrets.randbits(31) | 1, secrets.randbits(31) | 1
        self.certificate = dtls.new_certificate()
        self.ufrag, self.pwd = secrets.token_hex(4), secrets.token_hex(16)
        self.handshake: asyncio.Queue[bytes] = asyncio.Queue(32)
        self.on_rtp: Callable[[rtp.Packet, float], None] = lambda _packet, _now: None
        self.on_rtcp: Callable[[list[rtcp.Message]], None] = lambda _messages: None
        self.srtp: dtls.Srtp | None = None
        self.sent = self.received = 0
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._sock.setblocking(False)
        self._remote = ("", 0)
        self._username, self._key = "", b""
        self._transaction = b""
        self._answered = asyncio.Event()
        self._tunnel: dtls.Tunnel | None = None

    # --- description ------------------------------------------------------------------------------------------------

    def offer(self) -> str:
        """The description to send to the box."""
        kinds = ["audio send"] * self.audio + ["video send"] * self.video
        kinds += ["audio recv"] * self.audio_slots + ["video recv"] * self.video_slots
        lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"]
        lines.append("a=group:BUNDLE " + " ".join(map(str, range(len(kinds)))))
        for mid, kind in enumerate(kinds):
            lines += self._section(str(mid), *kind.split())
        return "\r\n".join(lines) + "\r\n"

    def _section(self, mid: str, kind: str, direction: str) -> list[str]:
        types = f"{OPUS_TYPE}" if kind == "audio" else f"{VP8_TYPE} {H264_TYPE}"
        name, value = dtls.fingerprints_of(self.certificate)[0]
        lines = [f"m={kind} 9 UDP/TLS/RTP/SAVPF {types}", "c=IN IP4 0.0.0.0", f"a=mid:{mid}", "a=rtcp-mux"]
        lines += [f"a=ice-ufrag:{self.ufrag}", f"a=ice-pwd:{self.pwd}", f"a=fingerprint:{name} {value}"]
        lines += ["a=setup:actpass", f"a={direction}only", f"a=extmap:{MID_ID} {rtp.MID}"]
        lines.append(f"a=extmap:{TIME_ID} {rtp.SEND_TIME}")
        if kind == "audio":
            lines += [f"a=extmap:{LEVEL_ID} {rtp.AUDIO_LEVEL}", f"a=rtpmap:{OPUS_TYPE} opus/48000/2"]
        else:
            lines += [f"a=rtpmap:{VP8_TYPE} VP8/90000", f"a=rtpmap:{H264_TYPE} H264/90000"]
            lines.append(f"a=fmtp:{H264_TYPE} packetization-mode=1;profile-level-id=42e01f")
        if direction == "send":
            lines.append(f"a=ssrc:{self.audio_ssrc if kind == 'audio' else self.video_ssrc} cname:caller")
        return lines

    # --- connection -------------------------------------------------------------------------------------------------

    async def connect(self, answer: str) -> None:
        """Dial. Raises TimeoutError or HandshakeFailed."""
        candidate = next(line for line in answer.split("\r\n") if line.startswith("a=candidate:")).split()
        self._remote = (candidate[4], int(candidate[5]))
        remote = sdp.parse(answer)
        self._username, self._key = f"{remote.ufrag}:{self.ufrag}", remote.pwd.encode()
        asyncio.get_running_loop().add_reader(self._sock, self._readable)
        async with asyncio.timeout(10):
            while not self._answered.is_set():
                self.check()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._answered.wait(), 0.2)
        # the path's part is played by this object: a queue of handshake datagrams and `send`
        me, client = cast(Path, self), remote.setup != "active"
        self._tunnel = await dtls.connect(me, self.certificate, remote.fingerprints, client=client)
        self.srtp = self._tunnel.srtp

    async def keep(self) -> None:
        """Renew consent until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(_CHECK_INTERVAL)

    def check(self) -> None:
        """Send one signed check."""
        self._transaction = os.urandom(12)
        self.send(stun.request(self._username, self._key, self._transaction))

    def move(self, sock: socket.socket) -> None:
        """Go on from another address, as a laptop does that changes its network."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock)
        self._sock.close()
        self._sock = sock
        loop.add_reader(sock, self._readable)
        self.check()

    def stop_reading(self) -> None:
        """From now on what comes is left to the kernel, which drops it."""
        asyncio.get_running_loop().remove_reader(self._sock)

    async def close(self) -> None:
        """Hang up."""
        if self._tunnel is not None:
            await self._tunnel.close()
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def send(self, data: bytes | memoryview) -> None:
        """Send a datagram as it is; one that the system does not take is lost."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._sock.sendto(data, self._remote)

    # --- media ------------------------------------------------------------------------------------------------------

    def send_rtp(self, kind: int, seq: int, ts: int, payload: bytes, *, video: bool, level: int | None = None) -> None:
        """Send a packet; `kind` is the payload type, plus 128 with the marker; `level` in dB below full scale."""
        if self.srtp is None:
            return
        view, ssrc = dtls.scratch, self.video_ssrc if video else self.audio_ssrc
        at = rtp.PLAIN_HEADER
        if level is None:
            rtp.write_plain(view, kind, seq & 0xFFFF, ts & 0xFFFFFFFF, ssrc)
        else:
            at = rtp.TIMED_HEADER
            word = (LEVEL_ID << 4) << 24 | level << 16
            rtp.write_timed(view, kind, seq & 0xFFFF, ts & 0xFFFFFFFF, ssrc, word)
        view[at : at + len(payload)] = payload
        size = self.srtp.protect(at + len(payload))
        self.send(view[:size])
        self.sent += 1

    def send_rtcp(self, plain: bytes) -> None:
        """Send a compound packet."""
        if self.srtp is not None:
            self.send(self.srtp.protect_rtcp(plain))

    def _check(self, data: bytes) -> None:
        """An answer to our check, or a check of an end that is not ICE-lite: that one is answered too."""
        if stun.is_success(data, self._transaction):
            self._answered.set()
        check = stun.parse_request(data)
        if check is not None and stun.signed_by(data, check, self.pwd.encode()):
            self.send(stun.answer(check, self.pwd.encode(), self._remote))

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(256):
                self._datagram(self._sock.recv(MAX_DATAGRAM), time.monotonic())

    def _datagram(self, data: bytes, now: float) -> None:
        if not data:
            return
        if data[0] > 127 and self.srtp is not None:
            if rtcp.is_rtcp(data):
                self.on_rtcp(rtcp.parse(self.srtp.unprotect_rtcp(data)))
                return
            self.received += 1
            packet = rtp.parse(self.srtp.unprotect(data))
            if packet is not None:
                self.on_rtp(packet, now)
        elif data[0] < 4:
            self._check(data)
        elif 19 < data[0] < 64 and not self.handshake.full():
            self.handshake.put_nowait(data)
