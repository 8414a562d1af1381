"""An emulated RS-485 line: a pty whose one device takes the time that a real line takes. Every register reads as 0.

`python -m bench.paced_line BAUD TURNAROUND` prints the port and serves until its standard input is closed. A request of
8 bytes, the silence that ends it, the device's turnaround and the answer take as long as at that speed with 8N1.
"""

from __future__ import annotations

import os
import select
import sys
import time
import tty

from drivers.frames import crc

REQUEST = 8
"""Bytes of a read request."""
SPIN = 0.0004
"""Seconds before the time that are spent awake: sleeping is not that exact."""


def main(baud: int, turnaround: float) -> None:
    """Serve."""
    master, end = os.openpty()
    tty.setraw(master)
    tty.setraw(end)
    print(os.ttyname(end), flush=True)
    character = 10 / baud
    silence = 3.5 * character if baud <= 19200 else 0.00175
    buffer = b""
    while True:
        readable, _, _ = select.select([master, sys.stdin], [], [])
        if sys.stdin in readable:
            return
        came, buffer = time.perf_counter(), buffer + os.read(master, 4096)
        if len(buffer) < REQUEST:
            continue
        answer, buffer = _answer(buffer[:REQUEST]), b""
        _until(came + (REQUEST + len(answer)) * character + silence + turnaround)
        os.write(master, answer)


def _answer(request: bytes) -> bytes:
    size = 2 * int.from_bytes(request[4:6], "big")
    body = request[:2] + bytes((size,)) + bytes(size)
    return body + crc(body)


def _until(moment: float) -> None:
    if (pause := moment - time.perf_counter() - SPIN) > 0:
        time.sleep(pause)
    while time.perf_counter() < moment:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
