"""A broker at the other end of a line that the kernel cuts in three ways (nft), and a sensor that publishes to it."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import aiomqtt
import pytest

from drivers.mqtt_seam import PublishingClient
from edge_agent.demo_servers import Mosquitto, free_port

PLUGIN = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
NFT = shutil.which("nft", path="/usr/sbin:/sbin")
WAYS = {
    "whole": ("", ""),
    "reset": ("tcp dport {port} reject with tcp reset", ""),
    "black hole": ("tcp dport {port} drop", "tcp sport {port} drop"),
    # What the broker says goes through, and that it has come; what the box says, its PUBACKs, does not.
    "deaf broker": ("tcp dport {port} tcp flags & (syn | fin | rst) == 0 ip length > 52 drop", ""),
}
"""What the kernel does to packets to the broker, and to those from it."""
PERIOD = 0.05
"""Seconds between two messages."""


class Broker(Mosquitto):
    """mosquitto with rights that can be changed, and a second door at the end of the line. Saves every second."""

    def __init__(self, folder: Path, host: str) -> None:
        """`host`: where the line ends."""
        super().__init__(folder)
        if PLUGIN is None or NFT is None:
            pytest.skip("mosquitto's dynamic security plugin or nft is not installed")
        self.door, self.host = free_port(), host
        self.saved = folder / "mosquitto" / "mosquitto.db"
        self._rights = folder / "rights.json"
        self.allow(subscribe=True)
        self.extra = f"listener {self.door} {host}\nautosave_interval 1\n"
        self.extra += f"plugin {PLUGIN}\nplugin_opt_config_file {self._rights}"

    def allow(self, *, subscribe: bool) -> None:
        """Who may do what, from its next start."""
        access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": subscribe, "unsubscribe": True}
        self._rights.write_text(json.dumps({"defaultACLAccess": access}), encoding="utf-8")

    def line(self, way: str) -> None:
        """Make the line one of WAYS."""
        table = f"edge_test_{self.door}"
        rules = zip(("input", "output"), WAYS[way], strict=True)
        chains = [
            f"chain {hook} {{\ntype filter hook {hook} priority 0;\n{rule.format(port=self.door)}\n}}"
            for hook, rule in rules
        ]
        new = "\n".join(["", f"table inet {table} {{", *chains, "}"]) if way != "whole" else ""
        words = f"add table inet {table}\ndelete table inet {table}{new}\n"
        subprocess.run([NFT or "", "-f", "-"], input=words, text=True, check=True, timeout=10)

    def __exit__(self, *_: object) -> None:
        """Stop, and leave the kernel as it was."""
        self.line("whole")
        self.stop()


class Sensor:
    """Publishes a number that counts up, each until the broker has acknowledged it, from a thread of its own."""

    def __init__(self, broker: Broker) -> None:
        """Nothing is published yet."""
        self._broker = broker
        self.kept: dict[int, int] = {}
        """Time in ms -> number of what the broker said it has."""
        self._go, self._ended = threading.Event(), threading.Event()
        self._go.set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._publish()), name="sensor")

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Publish nothing, and what was published is on the broker's disk: all of it survives kill -9."""
        self._go.clear()
        time.sleep(2 * PERIOD)
        last, deadline = time.time(), time.monotonic() + 10
        while not self._broker.saved.exists() or self._broker.saved.stat().st_mtime < last:
            assert time.monotonic() < deadline, "the broker saves every second"
            time.sleep(0.05)
        try:
            yield
        finally:
            self.go()

    def go(self) -> None:
        """Publish again."""
        self._go.set()

    async def _publish(self) -> None:
        while not self._ended.is_set():
            try:
                v5 = aiomqtt.ProtocolVersion.V5
                async with PublishingClient("127.0.0.1", self._broker.port, protocol=v5) as client:
                    await self._numbers(client)
            except aiomqtt.MqttError:
                await asyncio.sleep(PERIOD)

    async def _numbers(self, client: PublishingClient) -> None:
        while not self._ended.is_set():
            if self._go.is_set():
                number, now = len(self.kept), time.time_ns() // 1_000_000
                await client.publish("s/sensor-1", b'{"n":%d,"t":%d}' % (number, now), qos=1, timeout=5)
                assert client.reason < 0x80, hex(client.reason)
                self.kept[now] = number
            await asyncio.sleep(PERIOD)
