"""Does a broker keep what arrives while the box is away? Measured, for `edge net`: nothing else tells.

A probe client subscribes and leaves, another publishes more QoS 1 messages than the defaults of brokers hold, the first
comes back and counts. On the way it sees how many messages the broker sends ahead of their acknowledgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Sequence

import aiomqtt
import msgspec

from drivers.marked import SecretMissing
from drivers.mqtt_access import wanted
from drivers.mqtt_packets import Message
from drivers.mqtt_seam import Link, Refused, Unreachable, Wanted
from drivers.settings import Broker

MESSAGES = 1500
"""Above mosquitto's default queue of 1000."""
LEAST_WINDOW = 1000
"""Unacknowledged messages that the box needs under way: at 5,000 a second it commits every 50 ms."""
SESSION = 300
"""Seconds that the broker keeps the probe's session, should cleaning up fail."""
QUIET = 1.0
PUBLISHING = 60.0
CHUNK = 100


class Finding(msgspec.Struct, frozen=True):
    """What one broker did. Sentences: `sentences()`."""

    broker: str
    sent: int = 0
    kept: int = 0
    """Messages that were delivered after the return."""
    window: int = 0
    """Messages that came before the first was acknowledged, at most the receive maximum that was asked for."""
    error: str = ""
    """Why it could not be measured."""

    @property
    def keeps(self) -> bool:
        """True: nothing was lost."""
        return not self.error and self.kept == self.sent

    def sentences(self) -> list[tuple[str, dict[str, str | int]]]:
        """Text keys with their facts: the verdict, and what to set where something is wrong."""
        facts: dict[str, str | int] = {"broker": self.broker, "kept": self.kept, "sent": self.sent}
        if self.error:
            return [("net.broker_not_probed", {"broker": self.broker, "error": self.error})]
        found = [("net.broker_keeps" if self.keeps else "net.broker_drops", facts)]
        if self.window < min(LEAST_WINDOW, self.kept):
            found.append(("net.broker_window", {"broker": self.broker, "window": self.window, "least": LEAST_WINDOW}))
        return found


async def probe(broker: Broker, messages: int = MESSAGES) -> Finding:
    """Measure one broker; takes some seconds and leaves nothing behind. Never raises for what the broker does."""
    name = secrets.token_hex(6)
    topic = f"edge-probe/{name}"
    try:
        how = await asyncio.to_thread(wanted, broker, f"edge-probe-{name}")
        how = msgspec.structs.replace(how, session_expiry=SESSION)
        try:
            await _subscribe_and_leave(how, topic)
            await _publish(how, topic, messages)
            window, kept = await _count(how, messages)
        finally:
            with contextlib.suppress(OSError, aiomqtt.MqttError):  # nobody there: no session either
                await asyncio.shield(_forget(how))  # Ctrl-C must not leave one behind
    except SecretMissing as missing:
        return Finding(broker.id, error=str(missing))
    except (Refused, Unreachable, aiomqtt.MqttError, ssl.SSLError, OSError) as why:
        return Finding(broker.id, error=str(why) or "no answer in time")
    return Finding(broker.id, messages, kept, window)


class _Counter:
    """Counts what a link receives."""

    def __init__(self) -> None:
        self.mids: list[int] = []
        self.count = 0
        self.changed = asyncio.Event()

    def received(self, messages: Sequence[Message]) -> None:
        self.count += len(messages)
        self.mids += [message.mid for message in messages if message.mid]
        self.changed.set()

    async def until_quiet(self, most: int) -> None:
        """Until `most` have come, or nothing has for a while."""
        while self.count < most:
            self.changed.clear()
            try:
                async with asyncio.timeout(QUIET):
                    await self.changed.wait()
            except TimeoutError:
                return


async def _subscribe_and_leave(how: Wanted, topic: str) -> None:
    link = Link(how, lambda _messages: None, lambda: None)
    try:
        await link.open()
        for answer in await link.subscribe([(topic, 1)]):
            if answer.value != 1:
                raise Refused(f"{topic}: {answer}")
    finally:
        link.close()


async def _publish(how: Wanted, topic: str, messages: int) -> None:
    """QoS 1 from another client, each acknowledged by the broker: from then on it is answerable for them."""
    async with asyncio.timeout(PUBLISHING), _plain(how, f"{how.client_id}-p") as client:
        client.pending_calls_threshold = CHUNK + 1
        for start in range(0, messages, CHUNK):
            numbers = range(start, min(start + CHUNK, messages))
            await asyncio.gather(*[client.publish(topic, b"%d" % number, qos=1) for number in numbers])


async def _count(how: Wanted, messages: int) -> tuple[int, int]:
    """(messages before the first acknowledgement, all messages)."""
    counter = _Counter()
    link = Link(how, counter.received, lambda: None)
    try:
        await link.open()
        await counter.until_quiet(min(messages, how.receive_maximum))
        window, seen = counter.count, -1
        while seen < counter.count < messages:
            seen = counter.count
            mids, counter.mids = counter.mids, []
            link.acknowledge(mids)
            await counter.until_quiet(min(messages, seen + max(len(mids), 1)))
        return window, counter.count
    finally:
        link.close()


async def _forget(how: Wanted) -> None:
    """A clean start under the probe's id makes the broker drop session and queue."""
    async with asyncio.timeout(10), _plain(how, how.client_id):
        pass


def _plain(how: Wanted, client_id: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        how.host,
        how.port,
        username=how.username,
        password=how.password,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
        tls_context=how.tls,
        keepalive=how.keepalive,
    )
