"""One broker connection = one task: messages become readings, and are acknowledged once those are on disk.

MQTT 5 with a session that the broker keeps while we are away. A message that arrives is decoded at once and waits, as
readings, for the pipeline; `Batch.done` acknowledges it. Without that, after a crash, the broker sends it again.
What waits is bounded: QoS 1 by the receive maximum, beyond which the broker holds back or is not read from; QoS 0 is
dropped beyond the same number, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from drivers.decoders import DECODERS
from drivers.driver import Batch, Trouble
from drivers.marked import SecretMissing
from drivers.mqtt_access import wanted
from drivers.mqtt_inbox import RECENT, Arrival, Counts, Inbox
from drivers.mqtt_packets import Message
from drivers.mqtt_seam import Link, Refused, Unreachable, Untrusted, Wanted
from drivers.mqtt_topics import Topics
from drivers.reading import Readings, Source
from drivers.settings import Broker, Limit

BATCH = 500
"""Messages from which on nobody waits for more."""
GATHER = 0.01
"""Seconds for which the first message waits for company: a batch costs more than a message."""
IDLE = 5.0
"""Longest wait without a sign of life to the watchdog."""
LEAST_PAUSE, MOST_PAUSE = 1.0, 25.0
"""Seconds between two attempts. So that readings are back within 30: the last attempt and a commit come on top."""
STABLE = 10.0
"""A connection that lasted this long starts the next back-off from the beginning."""
UNSTEADY, SHORT = 3, 60.0
"""So many connections in a row that were lost within a minute, and could be made again at once, are no outage: most
often two clients with one id throw each other out (mosquitto 2.0 does not tell them)."""
BRIEF = 5.0
"""An absence this short makes no message late."""
QUIET = 0.2
"""Silence after which what the broker had kept for us is over."""
CATCHING_UP = 30.0
"""Longest time for which messages without a stamp count as kept by the broker, where no silence tells."""
OVERRUN = 2
"""Times the receive maximum at which we stop reading: mosquitto 2.0 keeps to it until acknowledgements flow, and then
sends its whole queue (8,000 unacknowledged messages seen with a maximum of 2,000)."""
BRIEF_WORDS = 80
"""Characters of a bad message that a sentence shows."""

log = logging.getLogger("edge.mqtt")


class _Held(msgspec.Struct, eq=False):
    """A QoS 1 message that the broker still keeps for us."""

    mid: int
    content: int
    """Hash of topic and payload: tells a second delivery from another message under the same number."""
    link: int
    """The connection that delivered it last; packet identifiers mean nothing on another."""
    stored: bool = False


class MqttConnection:
    """Driver of one broker: subscribes, decodes, acknowledges after the commit, reconnects for ever."""

    def __init__(
        self,
        broker: Broker,
        site: str,
        synced: Callable[[], bool] = lambda: True,
        *,
        taken: Callable[[str], bool] = lambda _: False,
        memory: Path | None = None,
    ) -> None:
        """`synced`: whether the box's clock is right, so that it can judge a device's; `taken`: whether a name is
        another driver's device; `memory`: file for the session's topics. ValueError: impossible path.
        """
        self.name = broker.id
        self.connected = False
        self._broker = broker
        self._client_id = broker.client_id or f"edge-{site}"
        self._subscriptions = [each for each in broker.subscriptions if each.decoder in DECODERS]
        self._inbox = Inbox(broker, synced, taken)
        self._topics = Topics(memory, self.where, self._client_id)
        self._link: Link | None = None
        self._links = 0
        self._held: dict[int, _Held] = {}
        self._readings: list[Readings] = []
        self._fresh: list[_Held] = []
        self._acknowledged: dict[int, _Held] = {}
        """The last of those stored and acknowledged, as many as a broker can have waited for: one that ended before it
        took note delivers them again."""
        self._wake = asyncio.Event()
        self._trouble: Trouble | None = None
        self._refusals: list[Trouble] = []
        self._taken_over_at = -RECENT
        self._thrown_out = 0
        self._thrown_out_since = 0.0
        self._progress = time.monotonic()
        self._pause = LEAST_PAUSE
        self._away_since: float | None = None
        self._last_burst = 0.0
        self._catching_up = False
        self._up_since = 0.0

    # --- what the pipeline and the screens ask ---

    @property
    def counts(self) -> Counts:
        """What has come in since the program started."""
        return self._inbox.counts

    @property
    def where(self) -> str:
        """Host and port of the broker."""
        return f"{self._broker.host}:{self._broker.port}"

    def limits(self, source: Source) -> Mapping[str, Limit]:
        """Limits of a source by `measurement.field`, as its subscription says."""
        return self._inbox.limits(source)

    def progress(self) -> float:
        """`time.monotonic()` of the last completed turn: at least every 30 s, whatever the broker does."""
        return self._progress

    def troubles(self) -> list[Trouble]:
        """What is wrong now, worst first."""
        found = [self._trouble] if self._trouble else []
        if self._age(self._taken_over_at) < RECENT:
            found.append(self._say("session_taken_over", self._taken_over_at, {"client_id": self._client_id}))
        elif self._thrown_out >= UNSTEADY:
            found.append(self._say("connection_unsteady", self._thrown_out_since, {"client_id": self._client_id}))
        return [*found, *self._refusals, *self._recent()]

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """Batches for ever. Cancelling closes the connection; the broker keeps the session."""
        while True:
            try:
                link = await self._connect()
                while self._readings or (link and link.alive):
                    if batch := await self._next_batch():
                        yield batch
            finally:
                self._hang_up()
            await self._rest()

    # --- connecting ---

    async def _connect(self) -> Link | None:
        """A subscribed connection; None where there is none, with the trouble noted."""
        try:
            self._progress = time.monotonic()
            link = self._dial(await asyncio.to_thread(wanted, self._broker, self._client_id))
            await link.open()
            self._progress = time.monotonic()
            await self._subscribe(link)
        except SecretMissing as secret:
            self._failed("secret_missing", name=secret.name, variable=secret.variable)
        except Refused as why:
            self._failed("broker_refused", error=str(why))
        except (Untrusted, ssl.SSLError) as why:
            self._failed("broker_untrusted", where=self.where, error=str(why))
        except Unreachable as why:
            self._failed("broker_unreachable", where=self.where, error=str(why))
        except OSError as why:
            self._failed("broker_files", file=str(why.filename or ""), error=why.strerror or str(why))
        else:
            self._up(link)
            return link
        return None

    def _dial(self, how: Wanted) -> Link:
        """A new link, in place before it opens: what the broker kept arrives right behind its CONNACK."""
        now = time.monotonic()
        self._links += 1
        self._catching_up = self._away_since is None or now - self._away_since > BRIEF
        self._last_burst = self._up_since = now
        self._link = Link(how, self._received, self._wake.set)
        return self._link

    async def _subscribe(self, link: Link) -> None:
        if not link.session_present:
            self._held.clear()  # The broker has forgotten them; their numbers will be others'.
            self._catching_up = False
        self._refusals = []
        await self._forget(link)
        if not self._subscriptions:
            return
        answers = await link.subscribe([(each.topic, each.qos) for each in self._subscriptions])
        for each, answer in zip(self._subscriptions, answers, strict=False):
            if answer.value >= 0x80:
                self._refuse("subscription_refused", topic=each.topic, error=str(answer))
            elif answer.value < each.qos:
                self._refuse("subscription_weakened", topic=each.topic)

    async def _forget(self, link: Link) -> None:
        """Unsubscribe from what an earlier configuration wanted, and remember what this one does."""
        wanted = [each.topic for each in self._subscriptions]
        if link.session_present and (gone := await asyncio.to_thread(self._topics.left_over, wanted)):
            await link.unsubscribe(gone)
            log.info("unsubscribed broker=%s topics=%s", self.name, gone)
        await asyncio.to_thread(self._topics.keep, wanted)

    def _refuse(self, what: str, **facts: str) -> None:
        log.warning("%s broker=%s %s", what.replace("_", " "), self.name, _pairs(facts))
        self._refusals.append(self._say(what, time.time(), facts))

    def _up(self, link: Link) -> None:
        kept = "kept" if link.session_present else "new"
        if self._trouble:
            log.warning("broker back broker=%s where=%s session=%s", self.name, self.where, kept)
        else:
            log.info("broker connected broker=%s where=%s session=%s", self.name, self.where, kept)
        if self._away_since is not None and not link.session_present:
            log.warning("session lost broker=%s: what was sent meanwhile may be lost", self.name)
        self._trouble, self.connected = None, True

    def _failed(self, what: str, **facts: str) -> None:
        """A connection could not be made."""
        self._thrown_out = 0
        self._down(what, **facts)

    def _down(self, what: str, **facts: str) -> None:
        """Note why there is no connection; one warning for each reason in turn."""
        if self._trouble is None or self._trouble.what != what:
            since = self._trouble.since if self._trouble else time.time()
            log.warning("%s broker=%s %s", what.replace("_", " "), self.name, _pairs(facts))
            self._trouble = self._say(what, since, facts, failed=True)

    def _hang_up(self) -> None:
        """Close whatever is open and note how it ended."""
        if (link := self._link) is None:
            return
        self._link = None
        link.close()
        if not self.connected:
            return
        self.connected, self._away_since = False, time.monotonic()
        lasted = self._away_since - self._up_since
        if lasted > STABLE:
            self._pause = LEAST_PAUSE
        self._thrown_out = self._thrown_out + 1 if lasted < SHORT else 0
        if self._thrown_out == 1:
            self._thrown_out_since = time.time()
        if link.taken_over:
            self._taken_over_at = time.time()
        if link.error:
            self._down("broker_unreachable", where=self.where, error=link.error)

    async def _rest(self) -> None:
        """Wait 1 s, 2 s … 25 s with jitter, so that boxes do not come back together after an outage."""
        if self._age(self._taken_over_at) < MOST_PAUSE:
            self._pause = MOST_PAUSE  # Two clients with one id would otherwise throw each other out for ever.
        left = random.uniform(0.5, 1.0) * self._pause
        self._pause = min(2 * self._pause, MOST_PAUSE)
        while left > 0:
            self._progress = time.monotonic()
            await asyncio.sleep(min(left, IDLE))
            left -= IDLE

    # --- messages ---

    def _received(self, messages: Sequence[Message]) -> None:
        """Called by the link with what one read of the socket brought."""
        arrival = Arrival.now(late=self._is_late())
        useless: list[int] = []
        for message in messages:
            if message.mid and message.dup and self._repeated(message, useless):
                continue
            if not message.mid and len(self._readings) >= self._broker.receive_maximum:
                self.counts.dropped += 1
                self.counts.saw("dropped", time.time())
                continue
            readings = self._inbox.take(message, arrival)
            if readings:
                self._readings += readings
                if message.mid:
                    self._hold(message)
            elif message.mid:
                useless.append(message.mid)
        if self._link:
            self._link.acknowledge(useless)
            if len(self._held) > OVERRUN * self._broker.receive_maximum:
                self._link.pause()
        if self._readings:
            self._wake.set()

    def _hold(self, message: Message) -> None:
        held = _Held(message.mid, hash((message.topic, message.payload)), self._links)
        self._held[message.mid] = held
        self._fresh.append(held)

    def _repeated(self, message: Message, acknowledge: list[int]) -> bool:
        """True where the first copy of a message, from before a reconnect, is on its way to disk or there already."""
        content = hash((message.topic, message.payload))
        held = self._held.get(message.mid) or self._acknowledged.get(message.mid)
        if held is None or held.content != content or held.link == self._links:
            return False
        self.counts.repeated += 1
        held.link = self._links
        if held.stored:
            acknowledge.append(self._done_with(held))
        return True

    def _done_with(self, held: _Held) -> int:
        """Remember a message that is stored as acknowledged; its packet identifier."""
        self._held.pop(held.mid, None)
        self._acknowledged.pop(held.mid, None)
        self._acknowledged[held.mid] = held
        if len(self._acknowledged) > OVERRUN * self._broker.receive_maximum:
            del self._acknowledged[next(iter(self._acknowledged))]
        return held.mid

    def _is_late(self) -> bool:
        """True while the broker hands over what it kept: until a silence, or for 30 s where there is none."""
        now = time.monotonic()
        if self._catching_up and (now - self._last_burst > QUIET or now - self._up_since > CATCHING_UP):
            self._catching_up = False
        self._last_burst = now
        return self._catching_up

    async def _next_batch(self) -> Batch | None:
        """All that has come in, None after a while of nothing."""
        self._progress = time.monotonic()
        if not self._readings:
            self._wake.clear()
            try:
                async with asyncio.timeout(IDLE):
                    await self._wake.wait()
            except TimeoutError:
                return None
        if len(self._readings) < BATCH:
            await asyncio.sleep(GATHER)
        readings, held = self._readings, self._fresh
        self._readings, self._fresh = [], []
        return Batch(tuple(readings), partial(self._stored, held)) if readings else None

    def _stored(self, batch: Sequence[_Held]) -> None:
        """The batch is on disk: acknowledge what came by this connection; the rest when the broker repeats it."""
        link = self._link
        mids: list[int] = []
        for held in batch:
            held.stored = True
            if link and held.link == self._links and self._held.get(held.mid) is held:
                mids.append(self._done_with(held))
        if link:
            link.acknowledge(mids)
            if len(self._held) <= self._broker.receive_maximum:
                link.resume()

    # --- troubles ---

    def _recent(self) -> list[Trouble]:
        """Troubles of single messages, while they are recent."""
        counts, found = self.counts, list[Trouble]()
        for what, counter, last in (
            ("payload_malformed", "malformed", counts.last_malformed),
            ("without_codec", "without_codec", counts.last_without_codec),
            ("name_taken", "name_taken", counts.last_name_taken),
            ("too_many_series", "refused_series", ""),
            ("messages_dropped", "dropped", ""),
        ):
            since, at = counts.seen.get(counter, (0.0, 0.0))
            if at and self._age(at) < RECENT:
                found.append(self._say(what, since, {"count": getattr(counts, counter), "last": _brief(last)}))
        return found

    def _say(self, what: str, since: float, facts: Mapping[str, str | int], *, failed: bool = False) -> Trouble:
        return Trouble(what, self.name, since, {"broker": self.name, **facts}, failed)

    @staticmethod
    def _age(moment: float) -> float:
        return time.time() - moment


def _pairs(facts: Mapping[str, str]) -> str:
    """Facts as a log line has them."""
    return " ".join(f"{key}={value}" for key, value in facts.items())


def _brief(text: str) -> str:
    """A message's text as a sentence can show it."""
    return text if len(text) <= BRIEF_WORDS else f"{text[:BRIEF_WORDS]}…"
