"""From a broker's message to readings: which subscription it belongs to, its decoder, its time, its series. No I/O.

Nothing that a payload holds raises here: what cannot be used is counted, the last example kept, and the message is done
with, so that it cannot block those behind it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import msgspec

from drivers.decoders import DECODERS
from drivers.decoders.values import MAX_TOPIC, Decode, Decoded, Malformed, Payload
from drivers.mqtt_packets import Message
from drivers.paho import topic_matches_sub
from drivers.reading import Quantity, Readings, Reason, Source, quantities
from drivers.settings import Broker, Limit, Subscription

EARLIEST = 1_577_836_800_000
"""1 January 2020: no stamp of ours is older."""
LATEST = 4_102_444_800_000
"""1 January 2100, for as long as our own clock cannot judge."""
AHEAD = 5 * 60_000
"""Milliseconds that a device's clock may be ahead of ours."""
MAX_SERIES = 4000
"""A ward has hundreds. When full, new series are refused and counted: a name that changes with each message would fill
the database's index just as it would fill ours."""
MAX_ROUTES = 4096
"""Topics whose subscription is remembered. When full, it is forgotten and found again."""
MAX_UNKNOWN = 200
"""Unknown field names counted by name; further ones are counted together under `…`."""
TOLD_EVERY = 60.0
"""Seconds between two log lines about messages of no use: a sender that goes on so may not fill the card."""
RECENT = 900.0
"""Seconds for which such a thing is told; what comes again within them has been going on since the first."""
SHOWN = 200
"""Bytes of a bad payload that are kept."""

SeriesKey = tuple[str, str, tuple[tuple[str, str], ...], tuple[str, ...]]

log = logging.getLogger("edge.mqtt")


class Counts(msgspec.Struct):
    """What one connection has seen since the program started."""

    messages: int = 0
    readings: int = 0
    malformed: int = 0
    last_malformed: str = ""
    """Reason, topic and beginning of the last payload that was of no use."""
    without_codec: int = 0
    last_without_codec: str = ""
    """A device whose bytes the network server passes on undecoded."""
    refused_series: int = 0
    name_taken: int = 0
    """Rows of devices that are named like one of another driver: as one series they would be nobody's."""
    last_name_taken: str = ""
    dropped: int = 0
    """QoS 0 messages for which there was no room."""
    repeated: int = 0
    """Delivered again after a reconnect, the first copy on its way to disk or acknowledged in vain; taken once."""
    not_subscribed: int = 0
    """On topics that no subscription names: an older configuration's, kept in the broker's session."""
    unknown: dict[str, int] = {}
    """Field names that no table has."""
    seen: dict[str, tuple[float, float]] = {}
    """By the name of its counter, of what is told: when it began and when it was last, Unix seconds."""

    def saw(self, what: str, moment: float) -> None:
        """It happened once more: after a long quiet it begins anew."""
        since, last = self.seen.get(what, (moment, moment))
        self.seen[what] = (since if moment - last < RECENT else moment, moment)


class Arrival(msgspec.Struct, frozen=True):
    """When messages came in."""

    time: int
    """Milliseconds since 1970 UTC."""
    mono: int
    """Milliseconds of CLOCK_BOOTTIME."""
    late: bool = False
    """They had been waiting in the broker for nobody knows how long."""

    @classmethod
    def now(cls, *, late: bool = False) -> Arrival:
        """This moment."""
        mono = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return cls(time.time_ns() // 1_000_000, mono // 1_000_000, late)


class _Route(msgspec.Struct, frozen=True):
    topic: str
    subscription: Subscription
    decode: Decode


class Inbox:
    """The messages of one connection, turned into readings one by one."""

    def __init__(
        self, broker: Broker, synced: Callable[[], bool], taken: Callable[[str], bool] = lambda _: False
    ) -> None:
        """`synced`: whether our own clock is right, to judge a device's; `taken`: whether a name is another driver's
        device. Raises ValueError for an impossible path.
        """
        self._taken = taken
        self.counts = Counts()
        self._told = 0.0
        """When a message of no use was last in the log, Unix seconds."""
        self._broker = broker.id
        self._synced = synced
        self._decoders = [
            (each, DECODERS[each.decoder](each)) for each in broker.subscriptions if each.decoder in DECODERS
        ]
        self._routes: dict[bytes, _Route | None] = {}
        self._series: dict[SeriesKey, Source] = {}
        self._limits: dict[Source, Mapping[str, Limit]] = {}

    def limits(self, source: Source) -> Mapping[str, Limit]:
        """The limits of the subscription that a source came by, `measurement.field` -> limit."""
        return self._limits.get(source, {})

    def take(self, message: Message, arrival: Arrival) -> list[Readings]:
        """The readings of one message; empty where it has none that can be used."""
        self.counts.messages += 1
        try:
            route = self._route(message.topic)
            payload = route.decode(route.topic, message.payload) if route else None
        except Malformed as why:
            self._malformed(message, str(why))
            return []
        except Exception as bug:  # A decoder's bug must not make the broker send this message for ever.
            log.exception("decoder failed broker=%s topic=%r", self._broker, message.topic[:SHOWN])
            self._malformed(message, repr(bug))
            return []
        if route is None or payload is None:
            self.counts.not_subscribed += 1
            return []
        if payload.unknown or payload.without_codec:
            self._count(payload)
        late = arrival.late or message.retain
        readings = [self._readings(row, route, arrival, late) for row in payload.rows]
        taken = [each for each in readings if each is not None]
        self.counts.readings += sum([len(each.values) for each in taken])
        return taken

    def _route(self, topic: bytes) -> _Route | None:
        """The first subscription that names the topic. Raises Malformed."""
        try:
            return self._routes[topic]
        except KeyError:
            pass
        if len(topic) > MAX_TOPIC:
            raise Malformed(f"topic of {len(topic)} bytes")
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            raise Malformed("topic is not UTF-8") from None
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        found = next(((each, decode) for each, decode in self._decoders if matches(each.topic, text)), None)
        route = self._routes[topic] = _Route(text, *found) if found else None
        return route

    def _readings(self, row: Decoded, route: _Route, arrival: Arrival, late: bool) -> Readings | None:
        """A row with its series and time; None where there is no room for another series."""
        key = (row.device, row.measurement, row.tags, row.fields)
        if (source := self._series.get(key)) is None and (source := self._new_series(key, route)) is None:
            return None
        stamp, faults = row.time, row.faults
        if stamp is not None and self._believable(stamp, arrival.time):
            return Readings(source, stamp, arrival.mono, row.values, faults, stamped=True)
        # Without a stamp, or with an impossible one, arrival is the best that is known; the mark says so.
        mark = Reason.bad_time if stamp is not None else Reason.stale if late else None
        if mark:
            faults = {index: faults.get(index, mark) for index in range(len(row.values))}
        return Readings(source, arrival.time, arrival.mono, row.values, faults)

    def _believable(self, stamp: int, now: int) -> bool:
        return EARLIEST <= stamp < LATEST and (stamp <= now + AHEAD or not self._synced())

    def _new_series(self, key: SeriesKey, route: _Route) -> Source | None:
        if self._taken(key[0]):
            self.counts.name_taken += 1
            self.counts.last_name_taken = key[0]
            self.counts.saw("name_taken", time.time())
            return None
        if len(self._series) >= MAX_SERIES:
            self.counts.refused_series += 1
            self.counts.saw("refused_series", time.time())
            return None
        device, measurement, tags, fields = key
        origin = f"{self._broker} {route.subscription.decoder}"
        source = Source(device, tuple(_quantity(measurement, field) for field in fields), tags, origin)
        self._series[key] = source
        self._limits[source] = route.subscription.limits
        return source

    def _malformed(self, message: Message, why: str) -> None:
        """Count it; the first and then one a minute are in the log with their reason."""
        now, topic = time.time(), printable(message.topic[:SHOWN].decode(errors="replace"))
        why, begin = printable(why[:120]), printable(message.payload[:SHOWN].decode(errors="replace"))
        self.counts.malformed += 1
        self.counts.last_malformed = f"{why}: {topic}: {begin}"
        self.counts.saw("malformed", now)
        if abs(now - self._told) >= TOLD_EVERY:
            self._told = now
            log.warning("message unreadable broker=%s topic=%s error=%s payload=%s", self._broker, topic, why, begin)

    def _count(self, payload: Payload) -> None:
        """Fields in no table, and devices without a codec."""
        unknown = self.counts.unknown
        for name in payload.unknown:
            shown = printable(name[:40])
            if shown not in unknown and len(unknown) >= MAX_UNKNOWN:
                shown = "…"
            unknown[shown] = unknown.get(shown, 0) + 1
        if payload.without_codec:
            self.counts.without_codec += 1
            self.counts.last_without_codec = payload.without_codec
            self.counts.saw("without_codec", time.time())


def matches(wanted: str, topic: str) -> bool:
    """True where a subscription's topic covers `topic`; `$share/group/…` shares the rest among several clients."""
    if wanted.startswith("$share/"):
        wanted = wanted.split("/", 2)[-1]
    return topic_matches_sub(wanted, topic)


def printable(text: str) -> str:
    """Text that does nothing to a terminal."""
    return "".join([c if c.isprintable() else "·" for c in text])


def _quantity(measurement: str, field: str) -> Quantity:
    return quantities()[f"{measurement}.{field}"]
