"""One who takes what a broker has for us, and what is published for it: numbers that count up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt

from drivers.driver import Batch
from drivers.mqtt import MqttConnection
from drivers.reading import Readings
from drivers.settings import Broker
from edge_agent.demo_servers import Mosquitto
from edge_agent.text import LANGUAGES, texts
from tests.waiting import until

COUNTER = {
    "topic": "s/+",
    "decoder": "json",
    "device": "{1}",
    "time": "$.t",
    "points": {"counter.count": "$.n"},
}
NOW = 1_786_674_000_000


def broker(url: str, **more: Any) -> Broker:
    """A connection that counts: each message carries a number `n` and a stamp `t`."""
    return Broker.model_validate({"id": "field", "broker": url, "subscriptions": [COUNTER]} | more)


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Payloads with rising numbers and stamps."""
    now = int(time.time() * 1000) - 100_000
    return [b'{"n":%d,"t":%d}' % (number, now + number) for number in range(start, start + count)]


async def publish(
    server: Mosquitto, payloads: Iterable[bytes], topic: str = "s/dev-1", qos: int = 1, retain: bool = False
) -> None:
    """Publish all, in order, each acknowledged by the broker."""
    async with aiomqtt.Client("127.0.0.1", server.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        client.pending_calls_threshold = 1000
        payloads = list(payloads)
        for start in range(0, len(payloads), 500):
            await asyncio.gather(
                *[client.publish(topic, payload, qos, retain) for payload in payloads[start : start + 500]]
            )


class Taker:
    """Stands where the pipeline stands: takes batches and, where `commit` says so, calls their `done`."""

    def __init__(self, settings: Broker, *, commit: bool = True) -> None:
        self.connection = MqttConnection(settings, "cl-02")
        self.commit = commit
        self.batches: list[Batch] = []

    async def run(self) -> None:
        async for batch in self.connection.readings():
            self.batches.append(batch)
            if self.commit and batch.done:
                batch.done()

    def commit_first(self) -> None:
        if done := self.batches[0].done:
            done()

    def commit_all(self) -> None:
        for batch in self.batches:
            if batch.done:
                batch.done()

    @property
    def readings(self) -> list[Readings]:
        return [readings for batch in self.batches for readings in batch.readings]

    @property
    def numbers(self) -> list[Any]:
        return [readings.values[0] for readings in self.readings]

    def what(self) -> list[str]:
        return [trouble.what for trouble in self.connection.troubles()]


@asynccontextmanager
async def taking(settings: Broker, *, commit: bool = True, connected: bool = True) -> AsyncIterator[Taker]:
    """A running Taker, connected; ended as the program ends it: by cancelling."""
    taker = Taker(settings, commit=commit)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(taker.run())
        if connected:
            await until(lambda: taker.connection.connected)
        try:
            yield taker
        finally:
            task.cancel()


def say(taker: Taker) -> list[str]:
    """Every trouble in both languages; a sentence or a fact that is missing fails."""
    return [
        texts(language, strict=True)(f"trouble.{trouble.what}", **trouble.facts)
        for language in LANGUAGES
        for trouble in taker.connection.troubles()
    ]
