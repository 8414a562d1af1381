"""Modbus TCP devices as fast as Python can make them: constant work per request, so that the agent is what is measured.

`python -m bench.slaves DEVICES REGISTERS [busy]` prints the ports in one line and serves until its standard input is
closed; `busy`: without ever going to sleep.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from itertools import cycle
from typing import cast

import uvloop

from bench.ward import images

REQUEST = 12
"""Bytes of a read request: transaction, protocol, length, unit, function, start, count."""


class Slave(asyncio.Protocol):
    """One connection to a device."""

    def __init__(self, contents: list[bytes]) -> None:
        """`contents`: what the registers hold, one after the other."""
        self._contents = cycle(contents)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request; they come whole, for nobody asks before the answer."""
        for at in range(0, len(data) - REQUEST + 1, REQUEST):
            start, count = int.from_bytes(data[at + 8 : at + 10], "big"), data[at + 11]
            body = next(self._contents)[2 * start : 2 * (start + count)]
            head = bytes((0, 0, 0, 3 + len(body), data[at + 6], data[at + 7], len(body)))
            self._transport.write(data[at : at + 2] + head + body)


async def _serve(devices: int, registers: int, busy: bool) -> None:
    loop, ports = asyncio.get_running_loop(), []
    for device in range(devices):
        server = await loop.create_server(partial(Slave, images(device, registers)), "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    if busy:
        _stay_awake(loop)
    await loop.run_in_executor(None, sys.stdin.read)


def _stay_awake(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(_stay_awake, loop)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), "busy" in sys.argv[3:]))
