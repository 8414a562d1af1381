"""Simulated sites for the demo: each sends a moving picture and speaks in its turn, by WHIP like any other client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import struct
import time
from fractions import Fraction
from typing import Any

import aiohttp
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT, FRAMES = 320, 180, 12
"""Small and slow: a demo must not cost more than the meeting."""
_RATE, _BLOCK = 48_000, 960
TURN = 6.0
"""Seconds that each site speaks."""
_COLOURS = ((90, 200), (200, 110), (150, 60), (60, 150), (180, 180))
_RETRY = 2.0

log = logging.getLogger(__name__)


class Picture(MediaStreamTrack):
    """A bar that moves over the site's own colour."""

    kind = "video"

    def __init__(self, place: int) -> None:
        """`place` chooses the colour."""
        super().__init__()
        self._place = place
        self._frame = 0
        self._began = time.monotonic()

    async def recv(self) -> VideoFrame:
        """The next frame, at its time."""
        self._frame += 1
        await asyncio.sleep(max(0.0, self._began + self._frame / FRAMES - time.monotonic()))
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        self._paint(frame)
        frame.pts, frame.time_base = self._frame * 90_000 // FRAMES, Fraction(1, 90_000)
        return frame

    def _paint(self, frame: VideoFrame) -> None:
        at = self._frame * 4 % WIDTH
        row = bytearray(b"\x60" * WIDTH)
        row[at : at + 24] = b"\xe0" * len(row[at : at + 24])
        colours = _COLOURS[self._place % len(_COLOURS)]
        lines = (bytes(row), *(bytes((colour,)) * (WIDTH // 2) for colour in colours))
        for plane, line in zip(frame.planes, lines, strict=True):
            plane.update(line.ljust(plane.line_size, b"\0") * plane.height)


class Voice(MediaStreamTrack):
    """A soft tone while it is the site's turn, else silence."""

    kind = "audio"

    def __init__(self, place: int, places: int) -> None:
        """The site speaks at `place` in a round of `places`."""
        super().__init__()
        self._place, self._places = place, places
        self._block = 0
        self._began = time.monotonic()

    async def recv(self) -> AudioFrame:
        """The next 20 ms, at their time."""
        self._block += 1
        await asyncio.sleep(max(0.0, self._began + self._block * _BLOCK / _RATE - time.monotonic()))
        frame = AudioFrame(format="s16", layout="mono", samples=_BLOCK)
        frame.planes[0].update(self._samples())
        frame.sample_rate = _RATE
        frame.pts, frame.time_base = self._block * _BLOCK, Fraction(1, _RATE)
        return frame

    def _samples(self) -> bytes:
        speaking = int(time.monotonic() / TURN) % self._places == self._place
        loud = 3000 if speaking else 0
        step = 2 * math.pi * (180 + 60 * self._place) / _RATE
        first = self._block * _BLOCK
        return struct.pack(f"<{_BLOCK}h", *(int(loud * math.sin(step * (first + at))) for at in range(_BLOCK)))


async def site(url: str, room: str, ticket: str, place: int, places: int) -> None:
    """Be a site until cancelled. `url` is the box's page; its certificate is not checked, since it is this very box."""
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await _call(session, f"{url}/whip/{room}", ticket, place, places)
            await asyncio.sleep(_RETRY)


async def _call(session: aiohttp.ClientSession, url: str, ticket: str, place: int, places: int) -> None:
    """One call, until the box ends it."""
    connection: Any = RTCPeerConnection()
    ended = asyncio.Event()
    connection.on("connectionstatechange", lambda: _note(connection, ended))
    connection.addTrack(Picture(place))
    connection.addTrack(Voice(place, places))
    try:
        await connection.setLocalDescription(await connection.createOffer())
        headers = {"Authorization": f"Bearer {ticket}", "Content-Type": "application/sdp"}
        async with session.post(url, data=connection.localDescription.sdp, headers=headers) as response:
            answer = await response.text()
            if response.status != 201:
                log.warning("simulated site refused place=%d status=%d", place, response.status)
                return
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await ended.wait()
    finally:
        await connection.close()


def _note(connection: Any, ended: asyncio.Event) -> None:
    if connection.connectionState in ("failed", "closed"):
        ended.set()
