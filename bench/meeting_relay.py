"""What one more viewer costs here, and what it costs with aiortc's own MediaRelay, which decodes and encodes.

    python -m bench.meeting_relay [--quick]

One real sender (640x360, 15 pictures a second, VP8 by aiortc) and several viewers over real ICE, DTLS and SRTP. The
cost of a viewer is the slope of the server process's CPU between few viewers and many.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from fractions import Fraction
from pathlib import Path

import aiohttp
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from av import VideoFrame

from bench.command import main
from bench.machine import ON_AGENT_CORE, cpu_seconds
from bench.meeting_load import SERVER
from bench.table import Result
from conference.caller import Caller
from conference.tickets import Tickets

WIDTH, HEIGHT, FRAMES = 640, 360, 15
STOCK = """
import asyncio, sys
from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay

relay, tracks, all = MediaRelay(), [], []

async def answer(pc, request):
    await pc.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    for track in tracks if request.path == "/out" else []:
        pc.addTrack(relay.subscribe(track))
    await pc.setLocalDescription(await pc.createAnswer())
    return web.Response(text=pc.localDescription.sdp)

async def come(request):
    pc = RTCPeerConnection()
    all.append(pc)
    pc.on("track", tracks.append)
    return await answer(pc, request)

async def main():
    app = web.Application()
    app.add_routes([web.post("/in", come), web.post("/out", come)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
"""The forwarding server that aiortc's documentation shows."""

Post = Callable[[str, str], Awaitable[str]]
"""Kind (in, out) and offer -> answer."""


class Picture(MediaStreamTrack):
    """A moving texture, so that there is something to encode."""

    kind = "video"

    def __init__(self) -> None:
        """Begin now."""
        super().__init__()
        self._texture = random.Random(8).randbytes(4 * WIDTH)
        self._frame = 0
        self._began = time.monotonic()

    async def recv(self) -> VideoFrame:
        """The next frame, at its time."""
        self._frame += 1
        await asyncio.sleep(max(0.0, self._began + self._frame / FRAMES - time.monotonic()))
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in frame.planes:
            at = self._frame * 3 % WIDTH
            line = self._texture[at : at + plane.width].ljust(plane.line_size, b"\0")
            plane.update(line * plane.height)
        frame.pts, frame.time_base = self._frame * 90_000 // FRAMES, Fraction(1, 90_000)
        return frame


@contextlib.asynccontextmanager
async def serving(kind: str) -> AsyncIterator[tuple[int, Post]]:
    """A server on its own core: its process, and how to offer to it."""
    source = SERVER if kind == "edge" else STOCK
    with tempfile.TemporaryDirectory() as folder:
        words = [*ON_AGENT_CORE, sys.executable, "-c", source, folder]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        try:
            port = int(await process.stdout.readline()) if process.stdout else 0
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
                yield process.pid, _ours(session, port, folder) if kind == "edge" else _stock(session, port)
        finally:
            process.terminate()
            await process.wait()


def _ours(session: aiohttp.ClientSession, port: int, folder: str) -> Post:
    async def post(kind: str, offer: str) -> str:
        token = Tickets(Path(folder) / "tickets").issue("giao-ban", "site", kind, kind)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
        url = f"https://127.0.0.1:{port}/{'whip' if kind == 'in' else 'whep'}/giao-ban"
        async with session.post(url, data=offer, headers=headers) as response:
            response.raise_for_status()
            return await response.text()

    return post


def _stock(session: aiohttp.ClientSession, port: int) -> Post:
    async def post(kind: str, offer: str) -> str:
        async with session.post(f"http://127.0.0.1:{port}/{kind}", data=offer) as response:
            response.raise_for_status()
            return await response.text()

    return post


async def per_viewer(kind: str, few: int, many: int, seconds: float) -> float:
    """CPU seconds of the server per second and viewer."""
    async with serving(kind) as (pid, post), asyncio.TaskGroup() as tasks:
        sender = RTCPeerConnection()
        sender.addTrack(Picture())
        await sender.setLocalDescription(await sender.createOffer())
        answer = await post("in", sender.localDescription.sdp)
        await sender.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        viewers: list[Caller] = []
        keeping = []
        costs = []
        for wanted in (few, many):
            while len(viewers) < wanted:
                viewers.append(await _watch(post))
                keeping.append(tasks.create_task(viewers[-1].keep(), name="consent"))
            await asyncio.sleep(3)
            costs.append(await _cost(pid, viewers, seconds))
        for task in keeping:
            task.cancel()
        for viewer in viewers:
            await viewer.close()
        await sender.close()
    return (costs[1] - costs[0]) / (many - few)


async def _watch(post: Post) -> Caller:
    caller = Caller(audio=False, video=False, video_slots=1)
    await caller.connect(await post("out", caller.offer()))
    return caller


async def _cost(pid: int, viewers: list[Caller], seconds: float) -> float:
    before, began, used = [viewer.received for viewer in viewers], time.monotonic(), cpu_seconds(pid)
    await asyncio.sleep(seconds)
    took, used = time.monotonic() - began, cpu_seconds(pid) - used
    if min(viewer.received - old for viewer, old in zip(viewers, before, strict=True)) < FRAMES * seconds / 2:
        raise RuntimeError("a viewer does not get the picture")
    return used / took


def benchmark(quick: bool) -> list[Result]:
    """Both, in turns."""
    stock, ours = list[float](), list[float]()
    for _ in range(1 if quick else 3):
        stock.append(100 * asyncio.run(per_viewer("stock", 1, 4, 5)))
        ours.append(100 * asyncio.run(per_viewer("edge", 2, 42, 5)))
    ratios = tuple(a / b for a, b in zip(stock, ours, strict=True))
    return [
        Result("meeting: one more viewer of one picture", tuple(ours), "% of a core"),
        Result("  with aiortc's MediaRelay", tuple(stock), "% of a core"),
        Result("  MediaRelay : meeting", ratios, "x", 25, at_least=True),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
