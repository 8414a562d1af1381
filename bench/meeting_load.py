"""What a forwarded packet costs: synthetic publishers and viewers over real ICE, DTLS and SRTP.

    python -m bench.meeting_load                  4 publishers x 20 viewers, this meeting
    python -m bench.meeting_load --janus --runs 7 the same beside Janus VideoRoom (Debian's), interleaved
    python -m bench.meeting_load --viewers 10 --publishers 4   the ward's own meeting

Every publisher sends 100 video packets of 1,100 bytes a second (25 pictures) and 50 voice packets; every viewer has all
pictures and three voices. CPU is the server process's alone, from /proc; delay is from send to receive, both in the
generating process, so it includes two wake-ups.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import aiohttp
import msgspec

from bench import janus
from conference import rtp
from conference.caller import OPUS_TYPE, VP8_TYPE, Caller
from conference.tickets import Tickets

PICTURES, PACKETS, SIZE = 25, 4, 1100
_HEAD = b"\x90\xe0\x80\x00\x00\x20"
_STAMP = struct.Struct(">d")

SERVER = """
import asyncio, sys, uvloop
from pathlib import Path
from conference.server import run
from conference.settings import Settings
limits = {"clients": 500, "packets_per_second": 1_000_000, "viewer_kbit": 100_000, "room_kbit": 10_000_000,
          "site_kbit": 10_000_000, "connections": 1000, "connections_per_address": 900}
made = Settings(listen="127.0.0.1:0", state=Path(sys.argv[1]), video_slots=12, limits=limits)
uvloop.run(run(made, lambda port: print(port, flush=True)))
"""


class Result(msgspec.Struct, frozen=True):
    """One run."""

    name: str
    received_per_second: float
    cpu_percent: float
    """Of one core."""
    microseconds: float
    """CPU per packet received by a viewer."""
    p50_ms: float
    p99_ms: float
    memory_kib: int
    """Resident, of the server."""


class Load:
    """Publishers and viewers."""

    def __init__(self) -> None:
        """None yet."""
        self.publishers: list[Caller] = []
        self.viewers: list[Caller] = []
        self.delays: list[float] = []
        self.more: Callable[[int, int], Awaitable[None]]
        """Lets so many more publishers and viewers join. Raises aiohttp.ClientResponseError when one is refused."""
        self._key = [True]

    def publisher(self, caller: Caller) -> None:
        """It sends from now on."""
        caller.on_rtcp = lambda found: self._key.append(any(type(m).__name__ == "KeyFrameRequest" for m in found))
        self.publishers.append(caller)

    def viewer(self, caller: Caller) -> None:
        """It receives from now on."""
        caller.on_rtp = self._received
        self.viewers.append(caller)

    async def hang_up(self) -> None:
        """Everybody goes."""
        for caller in (*self.publishers, *self.viewers):
            await caller.close()

    def _received(self, packet: rtp.Packet, now: float) -> None:
        if len(packet.payload) > 500:
            self.delays.append(now - _STAMP.unpack_from(packet.payload, len(packet.payload) - 8)[0])

    async def send(self) -> None:
        """Send until cancelled; publishers are spread over the frame time."""
        began = time.monotonic()
        frame = 0
        while True:
            for at, caller in enumerate(self.publishers):
                due = began + (frame + at / len(self.publishers)) / PICTURES
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self._picture(caller, frame)
                for block in range(2):
                    number = frame * 2 + block
                    caller.send_rtp(OPUS_TYPE, number, number * 960, bytes(90), video=False, level=30 + at)
            frame += 1

    def _picture(self, caller: Caller, frame: int) -> None:
        key = frame % PICTURES == 0
        for part in range(PACKETS):
            first = bytes((0x90 if part == 0 else 0x80,)) + _HEAD[1:2] + (0x8000 | frame & 0x7FFF).to_bytes(2, "big")
            head = first + bytes((frame & 255, 0x20, 0x10 if key else 0x11))
            body = head + bytes(SIZE - len(head) - 8) + _STAMP.pack(time.monotonic())
            kind = VP8_TYPE | (0x80 if part == PACKETS - 1 else 0)
            caller.send_rtp(kind, frame * PACKETS + part, frame * 90_000 // PICTURES, body, video=True)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Resident KiB of a process."""
    line = next(s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if s.startswith("VmRSS"))
    return int(line.split()[1])


async def measure(name: str, pid: int, load: Load, seconds: float) -> Result:
    """Send for a while and count."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(load.send(), name="load")]
        running += [tasks.create_task(c.keep(), name="consent") for c in (*load.publishers, *load.viewers)]
        await asyncio.sleep(3)
        load.delays.clear()
        before, cpu, began = sum(v.received for v in load.viewers), cpu_seconds(pid), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        used, got = cpu_seconds(pid) - cpu, sum(v.received for v in load.viewers) - before
        for task in running:
            task.cancel()
    delays = sorted(load.delays) or [0.0]
    p50, p99 = (1000 * delays[int(len(delays) * share)] for share in (0.5, 0.99))
    return Result(name, got / took, 100 * used / took, 1e6 * used / max(1, got), p50, p99, memory(pid))


@contextlib.asynccontextmanager
async def ours(
    publishers: int, viewers: int, before: Sequence[str] = (), source: str = SERVER
) -> AsyncIterator[tuple[int, Load]]:
    """A meeting in its own process with everybody connected; `before` stands before the command, as taskset does."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*before, sys.executable, "-c", source, folder, stdout=pipe)
        try:
            port = int(await process.stdout.readline()) if process.stdout else 0
            load = Load()
            load.more = partial(_join, port, Tickets(Path(folder) / "tickets"), load)
            await load.more(publishers, viewers)
            yield process.pid, load
        finally:
            process.terminate()
            await process.wait()


async def _join(port: int, tickets: Tickets, load: Load, publishers: int, viewers: int) -> None:
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        for at in range(publishers + viewers):
            sends = at < publishers
            slots = {} if sends else {"audio_slots": 3, "video_slots": len(load.publishers)}
            caller = Caller(audio=sends, video=sends, **slots)
            token = tickets.issue("giao-ban", "site", f"{at}", f"{at}")
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
            url = f"https://127.0.0.1:{port}/{'whip' if sends else 'whep'}/giao-ban"
            async with session.post(url, data=caller.offer(), headers=headers) as response:
                response.raise_for_status()
                await caller.connect(await response.text())
            (load.publisher if sends else load.viewer)(caller)


async def one(kind: str, publishers: int, viewers: int, seconds: float) -> Result:
    """One run of one server."""
    starts = {"edge": ours, "janus": janus.tuned, "janus default": janus.default}
    async with starts[kind](publishers, viewers) as (pid, load):
        result = await measure(kind, pid, load, seconds)
        await load.hang_up()
    return result


def late_of(results: list[Result], name: str) -> list[float]:
    """99th percentiles of one server's runs."""
    return [result.p99_ms for result in results if result.name == name]


def table(results: list[Result]) -> str:
    """Medians, with the spread of the cost."""
    lines = ["server         runs   pkt/s  CPU %  us/pkt    (min–max)  p50 ms  p99 ms   MiB"]
    costs = {}
    for name in dict.fromkeys(result.name for result in results):
        some = [result for result in results if result.name == name]

        def median(field: str, of: list[Result] = some) -> float:
            return float(statistics.median(getattr(result, field) for result in of))

        costs[name] = median("microseconds")
        low, high = min(r.microseconds for r in some), max(r.microseconds for r in some)
        lines.append(
            f"{name:<14} {len(some):>4} {median('received_per_second'):>7.0f} {median('cpu_percent'):>6.1f} "
            f"{costs[name]:>7.1f} {f'{low:.1f}–{high:.1f}':>12} {median('p50_ms'):>7.2f} {median('p99_ms'):>7.2f} "
            f"{median('memory_kib') / 1024:>5.0f}"
        )
    for other, most in (("janus", 1.0), ("janus default", 0.6)):
        if other in costs:
            late = statistics.median(late_of(results, "edge")) - statistics.median(late_of(results, other))
            lines.append(
                f"edge : {other}: {costs['edge'] / costs[other]:.2f} of its processor (<= {most}), "
                f"99th percentile {late:+.2f} ms (<= +2)"
            )
    return "\n".join(lines)


def main() -> None:
    """Run interleaved and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publishers", type=int, default=4)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--janus", action="store_true")
    asked = parser.parse_args()
    if asked.janus:
        janus.enter_namespace()
    kinds = ["edge", "janus", "janus default"] if asked.janus else ["edge"]
    results: list[Result] = []
    for kind in kinds * asked.runs:
        results.append(asyncio.run(one(kind, asked.publishers, asked.viewers, asked.seconds)))
        print(f"{kind}: {results[-1].microseconds:.1f} us/packet", file=sys.stderr, flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
