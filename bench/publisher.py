"""A publisher of QoS 1 messages (MQTT 5) at an even pace that costs the machine little.

`python -m bench.publisher PORT RATE SECONDS` prints `published N acknowledged N late S`: how many seconds the worst
burst left after it was due. The messages are those of traffic counters, as `config/agent.example.yaml` reads them.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time
from datetime import UTC, datetime

TOPIC = "traffic/{}/interval"
COUNTERS = 100
"""Devices; each has its own series, in which stamps differ."""
BURST = 0.002
"""Seconds between two bursts."""
CONNECT = b"\x10\x16\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x09publisher"
"""Clean start, no keepalive, no properties (MQTT 5, 3.1)."""
PUBACK = 4
"""Bytes of an acknowledgement without a reason code."""
LINGER = 10.0
"""Seconds for the last acknowledgements."""


class Publisher:
    """One connection."""

    def __init__(self, port: int) -> None:
        """Connect and wait for the broker's word."""
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(CONNECT)
        if self._socket.recv(1024)[:1] != b"\x20":
            raise ConnectionError("the broker refused the publisher")
        self._socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._unsent = b""
        self._heard = 0
        self._began = time.time()
        self.published = 0

    @property
    def acknowledged(self) -> int:
        """Messages that the broker has taken over."""
        return self._heard // PUBACK

    def publish(self, count: int, rate: float) -> None:
        """Send the next `count` messages, stamped when they are due: a counter never stamps two alike."""
        for number in range(self.published, self.published + count):
            self._unsent += _packet(number, self._began + number / rate)
        self.published += count
        self._send()

    def _send(self) -> None:
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                self._unsent = self._unsent[self._socket.send(self._unsent) :]

    def listen(self, seconds: float) -> None:
        """Take acknowledgements until the time is over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._send()
            if self._selector.select(left):
                self._heard += len(self._socket.recv(65536))

    def settle(self) -> None:
        """Wait for the last acknowledgements."""
        deadline = time.monotonic() + LINGER
        while self.acknowledged < self.published and time.monotonic() < deadline:
            self.listen(0.05)


def _packet(number: int, when: float) -> bytes:
    """One PUBLISH with QoS 1; `when` in Unix seconds."""
    topic = TOPIC.format(f"cnt-{number % COUNTERS:03}").encode()
    end = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
    body = (
        f'{{"count":{number % 97},"speed":{20 + number % 613 / 10:.1f},"occupancy":{number % 890 / 10:.1f},'
        f'"lane":"{number % 2 + 1}","dir":"forward","class":"car","end":"{end}","id":{number}}}'
    ).encode()
    rest = len(topic).to_bytes(2, "big") + topic + (number % 65535 + 1).to_bytes(2, "big") + b"\0" + body
    return b"\x32" + bytes((len(rest) & 0x7F | 0x80, len(rest) >> 7)) + rest


def main(port: int, rate: float, seconds: float) -> None:
    """Publish `rate` messages a second."""
    publisher = Publisher(port)
    print("connected", flush=True)
    began, late = time.monotonic(), 0.0
    while (passed := time.monotonic() - began) < seconds:
        publisher.publish(int(passed * rate) - publisher.published, rate)
        late = max(late, time.monotonic() - began - passed)
        publisher.listen(BURST)
    publisher.settle()
    print(f"published {publisher.published} acknowledged {publisher.acknowledged} late {late:.3f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
