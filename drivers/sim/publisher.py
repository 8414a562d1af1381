"""Simulated MQTT devices: a weather station behind ChirpStack and a traffic counter, each on a connection of its own.

A device publishes one message at a time, QoS 1, and goes on when the broker has acknowledged it. While the broker is
away the same message, stamp and all, is sent again; messages that fall due meanwhile are not made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiomqtt
import msgspec

from drivers.mqtt_seam import PublishingClient
from drivers.reading import Value, quantities
from drivers.sim.encoding import EXACT, SequencePoint
from drivers.sim.fault import Troubled
from drivers.sim.ledger import Book, Message
from drivers.sim.values import Walk

log = logging.getLogger("edge.sim")
quiet = logging.getLogger("edge.sim.paho")
quiet.setLevel(logging.CRITICAL)  # What paho says of a lost connection is said here once, by name.

NOBODY = 0x10
"""PUBACK: no matching subscribers (MQTT 5, 3.4.2.1)."""
FAILED = 0x80
"""PUBACK reasons from here on: the broker did not take the message."""
ANSWER_TIMEOUT = 3.0
"""Seconds to wait for the broker's answer before the connection is made anew."""
RETRY_FIRST, RETRY_LAST = 0.1, 2.0
"""Seconds between two attempts to reach the broker."""


class BadUrl(ValueError):
    """The broker's address cannot be used; the message says why."""


class Broker(msgspec.Struct, frozen=True):
    """Where to publish."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None


def parse_url(url: str) -> Broker:
    """Read `mqtt://[user:password@]host[:port]`. Raises BadUrl."""
    parts = urlsplit(url)
    try:
        port = parts.port or 1883
    except ValueError:
        raise BadUrl(f"{url!r}: the port is not a number") from None
    if parts.scheme != "mqtt" or not parts.hostname:
        raise BadUrl(f"{url!r}: expected mqtt://[user:password@]host[:port]")
    user, password = parts.username, parts.password
    return Broker(parts.hostname, port, unquote(user) if user else None, unquote(password) if password else None)


class Made(msgspec.Struct, frozen=True):
    """A message ready to be published, and the ledger's line for it."""

    topic: str
    payload: bytes
    message: Message


class MqttDevice(Protocol):
    """Something that makes messages."""

    name: str
    sequence: SequencePoint
    troubles: Troubled

    def make(self, n: int, stamp: int) -> Made:
        """The `n`-th message, with its own time `stamp` (milliseconds)."""
        ...


# --- devices ----------------------------------------------------------------------------------------------------------

STATION_FIELDS: Mapping[str, tuple[str, int]] = {
    "temperature": ("weather.temp_c", 1),
    "humidity": ("weather.rh_pct", 1),
    "pressure": ("weather.pressure_hpa", 1),
    "wind_speed": ("weather.wind_speed_ms", 1),
    "wind_direction": ("weather.wind_dir_deg", 0),
    "rainfall_total": ("weather.rain_total_mm", 1),
}
"""Fields of a Milesight WTS506's decoded object: our point and how many decimals it has."""


class Station:
    """A weather station whose uplinks ChirpStack v4 decodes. `rainfall_total` carries the sequence number."""

    def __init__(self, name: str, seed: int, troubles: Troubled) -> None:
        """`name` is the device's name in ChirpStack, and its tag `sensor`."""
        self.name, self.troubles = name, troubles
        self.sequence = SequencePoint("weather.rain_total_mm", 0.0, 0.1, EXACT)
        self._eui = f"24e124{Random(f'{seed}/{name}').getrandbits(40):010x}"
        self._walks = {field: _walk(seed, name, point) for field, (point, _) in STATION_FIELDS.items()}

    def make(self, n: int, stamp: int) -> Made:
        """See MqttDevice."""
        fields: dict[str, Value] = {
            field: round(walk.step(), STATION_FIELDS[field][1]) for field, walk in self._walks.items()
        }
        fields["rainfall_total"] = n % EXACT / 10
        values: dict[str, Value | None] = {STATION_FIELDS[field][0]: value for field, value in fields.items()}
        fault = _spoil(self.troubles, fields, values, {"temperature": "weather.temp_c"}, 95.5)
        topic = f"application/0b1c5e9e-0000-4000-8000-000000000001/device/{self._eui}/event/up"
        payload, values, fault = _cut(self.troubles, self._uplink(n, stamp, fields), values, fault)
        return Made(topic, payload, Message(n, self.name, stamp, values, {}, fault=fault))

    def _uplink(self, n: int, stamp: int, fields: Mapping[str, Value]) -> bytes:
        return msgspec.json.encode(
            {
                "deduplicationId": f"{n:08x}-0000-4000-8000-{self._eui[:12]}",
                "time": rfc3339(stamp),
                "deviceInfo": {
                    "tenantName": "chi-linh",
                    "applicationName": "weather",
                    "deviceProfileName": "WTS506",
                    "deviceName": self.name,
                    "devEui": self._eui,
                    "tags": {"sensor": self.name},
                },
                "devAddr": "00a1b2c3",
                "dr": 2,
                "fCnt": n,
                "fPort": 85,
                "confirmed": False,
                "data": "AXVaA2cdAQ==",
                "object": fields,
                "rxInfo": [{"gatewayId": "0016c001f1500001", "rssi": -97, "snr": 6.5, "crcStatus": "CRC_OK"}],
                "txInfo": {"frequency": 923200000},
            }
        )


SERIES = [
    {"lane": str(lane), "dir": way, "class": kind}
    for lane, way in ((1, "forward"), (2, "backward"))
    for kind in ("motorcycle", "car", "bus", "truck_medium")
]


class TrafficCounter:
    """A counter that reports an interval of one lane and class at a time. `count` carries the sequence number."""

    def __init__(self, name: str, seed: int, troubles: Troubled) -> None:
        """`name` is a level of the topic."""
        self.name, self.troubles = name, troubles
        high = quantities()["traffic.count"].high or 0
        self.sequence = SequencePoint("traffic.count", 0.0, 1.0, int(high) + 1)
        self._speeds = [_walk(seed, f"{name}/{i}", "traffic.speed_avg_kmh") for i in range(len(SERIES))]

    def make(self, n: int, stamp: int) -> Made:
        """See MqttDevice."""
        at = (n - 1) % len(SERIES)
        tags = SERIES[at]
        fields: dict[str, Value] = {"count": n % self.sequence.modulo, "speed": round(self._speeds[at].step(), 1)}
        values: dict[str, Value | None] = {"traffic.count": fields["count"], "traffic.speed_avg_kmh": fields["speed"]}
        fault = _spoil(self.troubles, fields, values, {"speed": "traffic.speed_avg_kmh"}, 260.0)
        places = {"end": rfc3339(stamp), "lane": int(tags["lane"]), "dir": tags["dir"], "class": tags["class"]}
        payload, values, fault = _cut(self.troubles, msgspec.json.encode({**places, **fields}), values, fault)
        message = Message(n, self.name, stamp, values, tags if values else {}, fault=fault)
        return Made(f"traffic/{self.name}/interval", payload, message)


def _walk(seed: int, device: str, point: str) -> Walk:
    quantity = quantities()[point]
    return Walk(seed, device, point, quantity.low or 0.0, 1e6 if quantity.high is None else quantity.high)


def _spoil(
    troubles: Troubled,
    fields: dict[str, Value],
    values: dict[str, Value | None],
    able: Mapping[str, str],
    too_much: float,
) -> str:
    """Let a value fault hit one field: out of range stays a value, not a number is none."""
    for field, point in able.items():
        if troubles.strikes("out-of-range"):
            fields[field] = values[point] = too_much
            return "out-of-range"
        if troubles.strikes("nan"):
            fields[field], values[point] = "NaN", None
            return "nan"
    return ""


def _cut(
    troubles: Troubled, payload: bytes, values: dict[str, Value | None], fault: str
) -> tuple[bytes, dict[str, Value | None], str]:
    """The payload, or half of it: then nothing of it is a value."""
    return (
        (payload[: len(payload) // 2], {}, "malformed") if troubles.strikes("malformed") else (payload, values, fault)
    )


def rfc3339(stamp: int) -> str:
    """Milliseconds since 1970 as `2026-08-14T03:20:11.512Z`."""
    return datetime.fromtimestamp(stamp / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- publishing -------------------------------------------------------------------------------------------------------


class NotTaken(ConnectionError):
    """The broker refused the message: try again later."""


async def _until_lost(client: aiomqtt.Client) -> None:
    """Raise MqttError when the connection is lost; `publish` alone would wait for its PUBACK in vain."""
    async for _ in client.messages:
        pass


class Publisher:
    """One device's connection to the broker."""

    def __init__(self, device: MqttDevice, broker: Broker, book: Book, every: float) -> None:
        """`every`: seconds between two messages; 0 as fast as the broker acknowledges."""
        self.device = device
        self._broker, self._book, self._every = broker, book, every
        self._n = book.last.get(device.name, 0)
        self._stamp = 0
        self._due = 0.0
        self._waiting: Made | None = None
        """Made, and not acknowledged yet."""
        self._published, self._copies, self._late = 0, 0, False
        self._away, self._retry = False, RETRY_FIRST
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Make no more messages; the one under way may still be acknowledged."""
        self._stopping.set()

    async def run(self) -> None:
        """Publish until stopped or cancelled."""
        try:
            while not self._stopping.is_set():
                try:
                    await self._connected()
                except* (aiomqtt.MqttError, OSError) as errors:
                    self._went_away(errors.exceptions[0])
                await self._pause(self._retry)
                self._retry = min(RETRY_LAST, 2 * self._retry)
        finally:
            if self._waiting and self._copies:
                self._book.add(self._line(self._waiting, None, heard=True))

    async def _connected(self) -> None:
        """One connection, from its beginning to its end."""
        broker = self._broker
        async with asyncio.timeout(ANSWER_TIMEOUT):  # aiomqtt connects in a thread that nothing can interrupt.
            _, probe = await asyncio.open_connection(broker.host, broker.port)
        probe.close()
        async with PublishingClient(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            identifier=f"sim-{self.device.name}-{id(self):x}",
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=ANSWER_TIMEOUT,
            logger=quiet,
        ) as client:
            if self._away:
                log.warning("broker back device=%s", self.device.name)
            self._away, self._retry = False, RETRY_FIRST
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(_until_lost(client), name=f"watch {self.device.name}")
                while made := self._waiting or await self._next():
                    await self._deliver(client, made)
                watching.cancel()

    async def _deliver(self, client: PublishingClient, made: Made) -> None:
        """Publish what was made, and write it into the ledger once it is acknowledged."""
        self._copies += 1
        self._published = self._published or now_ms()
        try:
            await client.publish(made.topic, made.payload, qos=1)
        except aiomqtt.MqttCodeError:
            self._copies -= 1  # There was no connection: nothing went out.
            raise
        if client.reason >= FAILED:
            raise NotTaken(f"PUBACK reason {client.reason:#x}")
        self._book.add(self._line(made, now_ms(), client.reason != NOBODY))
        self._waiting = None

    def _line(self, made: Made, acked: int | None, heard: bool) -> Message:
        return msgspec.structs.replace(
            made.message,
            published=self._published,
            acked=acked,
            heard=heard,
            copies=self._copies,
            repeat=self._copies > 1,
            late=self._late,
        )

    async def _next(self) -> Made | None:
        """The next message when it is due; None: stopping."""
        while True:
            now = time.monotonic()
            self._due = max(self._due + self._every, now)
            await self._pause(self._due - now)
            if self._stopping.is_set():
                return None
            if not self.device.troubles.strikes("silent"):
                break
        self._n += 1
        self._stamp = max(now_ms(), self._stamp + 1)
        self._waiting = self.device.make(self._n, self._stamp)
        self._published, self._copies = 0, 0
        delay = self.device.troubles.strikes("late")
        self._late = delay is not None
        await self._pause(delay.amount / 1000 if delay else 0.0)
        return self._waiting

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless stopping."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    def _went_away(self, error: Exception) -> None:
        if not self._away:
            log.warning("broker unreachable device=%s error=%s", self.device.name, error)
        self._away = True


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
