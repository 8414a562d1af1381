"""The upper rungs of `edge net`: what a broker and a database must do beyond letting us connect.

Brokers are visited under names of our own, since the agent's would throw it out; they forget us when we leave. A
database gets one test reading, twice in one body, by the agent's own way of writing; it is taken away again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from drivers.settings import Broker
from edge_agent.config import Influx
from edge_agent.ladder import LIMIT, Red, Says, Step, attention, holds, left_out, plain

if TYPE_CHECKING:
    from drivers.mqtt_seam import Wanted
    from edge_agent.broker_probe import Finding
    from edge_agent.influx_setup import Database

SIGNING = LIMIT - 0.5
"""Seconds; a server of another kind may wait for ever for us to go on."""
PROBING = 45.0
"""Seconds for the 1,500 messages that a broker is tried with; one to three on a good line."""
STORING = 15.0
LEAVING = 4.0
"""Seconds after Ctrl-C in which a broker that is being tried may be left in order."""
ECHO = 3.0
"""Seconds in which a broker should give a message back."""

Consent = Callable[[str], Awaitable[bool]]
"""Asks whether a database of this name may be made."""

log = logging.getLogger("edge.net")


def _context(ca: Path | None, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    files = [file for file in (ca, cert, key) if file]
    try:
        for file in files:
            file.read_bytes()  # ssl does not tell which file it cannot read
        context = ssl.create_default_context(cafile=ca and str(ca))
        if cert and key:
            context.load_cert_chain(str(cert), str(key))
    except OSError as fault:  # SSLError too: no certificate in the file
        named = fault.filename or ", ".join(map(str, files))
        raise Red("certificate_file", file=str(named), error=plain(fault)) from None
    return context


# --- a broker ---------------------------------------------------------------------------------------------------------


class BrokerRungs:
    """The upper rungs of a broker: it lets us in, keeps messages while we are away, and sends enough ahead."""

    def __init__(self, broker: Broker, *, uplink: bool = False) -> None:
        """`uplink`: a broker that only takes readings, so that it need keep nothing for us."""
        self._broker = broker
        self._uplink = uplink
        self._finding: Finding | None = None

    def steps(self) -> list[Step]:
        """What stands above the connection."""
        if self._uplink:
            return [Step("sign_in", self._sign_in), Step("stored", self._not_built)]
        return [Step("sign_in", self._sign_in), Step("keeps", self._keeps, PROBING), Step("ahead", self._ahead)]

    def tls(self) -> ssl.SSLContext:
        """The certificates of the configuration."""
        return _context(self._broker.ca, self._broker.cert, self._broker.key)

    def _wanted(self) -> Wanted:
        from drivers.mqtt_access import wanted

        how = wanted(self._broker, f"edge-net-{secrets.token_hex(6)}")
        return msgspec.structs.replace(how, session_expiry=0)

    async def _sign_in(self) -> Says:
        """As a client that the broker forgets when it leaves."""
        from drivers.mqtt_seam import Link, Refused, Unreachable

        link = Link(self._wanted(), lambda _messages: None, lambda: None)
        try:
            async with asyncio.timeout(SIGNING):
                await link.open()
        except Refused as why:
            raise Red("broker_refused", error=str(why)) from None
        except Unreachable as why:
            raise Red("not_a_broker", error=str(why)) from None
        except TimeoutError:
            raise Red("not_a_broker", error="no answer") from None
        finally:
            link.close()
        return holds("signed_in", name=self._broker.username) if self._broker.username else holds("anonymous")

    async def _keeps(self) -> Says:
        # Without it, a user who may not publish would look like a broker that drops everything.
        if not await _echoes(self._wanted()):
            return left_out("no_echo")
        self._finding = await self._probe()
        (what, facts), *_ = self._finding.sentences()
        return Says(what.removeprefix("net."), facts, "ok" if self._finding.keeps else "attention")

    async def _probe(self) -> Finding:
        """Not stopped half-way, where it could leave its session with the broker: it is done in a moment."""
        from edge_agent.broker_probe import probe

        probing = asyncio.create_task(probe(self._broker), name="probe")
        try:
            return await asyncio.shield(probing)
        except asyncio.CancelledError:
            await asyncio.wait([probing], timeout=LEAVING)
            raise

    async def _ahead(self) -> Says:
        if self._finding is None or self._finding.error:
            return left_out("not_measured")
        from edge_agent.broker_probe import LEAST_WINDOW

        if (own := self._broker.receive_maximum) < LEAST_WINDOW:
            return attention("own_window", window=own, least=LEAST_WINDOW)
        for what, facts in self._finding.sentences()[1:]:
            return Says(what.removeprefix("net."), facts, "attention")
        return holds("ahead", window=self._finding.window)

    async def _not_built(self) -> Says:
        return left_out("not_built")


async def _echoes(how: Wanted) -> bool:
    """True when what we publish comes back to us."""
    import aiomqtt

    topic = f"edge-probe/{how.client_id}"
    try:
        async with (
            asyncio.timeout(ECHO),
            aiomqtt.Client(
                how.host,
                how.port,
                username=how.username,
                password=how.password,
                identifier=how.client_id,
                protocol=aiomqtt.ProtocolVersion.V5,
                clean_start=True,
                tls_context=how.tls,
            ) as client,
        ):
            await client.subscribe(topic, qos=1)
            await client.publish(topic, b"echo", qos=1)
            return bool(await anext(client.messages))
    except (TimeoutError, aiomqtt.MqttError):
        return False


# --- a database -------------------------------------------------------------------------------------------------------


class DatabaseRungs:
    """The upper rungs of a database: what it is, signing in, our database, a test reading, and the same one twice."""

    def __init__(self, id_: str, influx: Influx, site: str, consent: Consent | None) -> None:
        """`consent` where missing databases may be made."""
        self._id, self._influx, self._site, self._consent = id_, influx, site, consent
        self._server: Database | None = None
        self._copies: int | None = None

    def steps(self) -> list[Step]:
        """What stands above the connection."""
        return [
            Step("answers", self._answers),
            Step("sign_in", self._sign_in),
            Step("database", self._database, None if self._consent else LIMIT),
            Step("stored", self._stored, STORING),
            Step("once", self._once),
        ]

    def tls(self) -> ssl.SSLContext:
        """The certificates of the configuration."""
        return _context(self._influx.ca)

    @property
    def _known(self) -> Database:
        if self._server is None:
            raise Red("not_a_database", error="")
        return self._server

    async def _answers(self) -> Says:
        from edge_agent.influx_setup import Door, recognise

        self._server = await recognise(Door(self._influx))
        return holds("is_product", product=self._server.product)

    async def _sign_in(self) -> Says:
        await self._known.sign_in()
        name = self._influx.username or (self._influx.token.name if self._influx.token else "")
        return holds("signed_in", name=name) if name else holds("anonymous")

    async def _database(self) -> Says:
        found = self._known.find()
        if found == "there":
            return holds("has_database")
        if found == "not_needed":
            return left_out("no_database_needed")
        if self._consent and await self._consent(self._place):
            return await self._create()
        if found == "missing":
            raise Red("no_database")
        return left_out("database_unseen")

    async def _create(self) -> Says:
        try:
            await self._known.create()
        except Red as red:
            raise Red("not_created", error=red.facts.get("error", red.what)) from None
        return holds("created")

    @property
    def _place(self) -> str:
        return self._influx.database or self._influx.bucket or ""

    async def _stored(self) -> Says:
        """Write as the agent does, twice in one body, and read back."""
        stamp = int(1000 * time.time())
        try:
            await self._write(stamp)
            self._copies = await self._known.copies(self._site, stamp)
        finally:
            await self._clean()
        if self._copies == 0:
            raise Red("not_stored")
        return holds("not_read_back" if self._copies is None else "read_back")

    async def _write(self, stamp: int) -> None:
        from edge_agent.body import pack
        from edge_agent.influx_setup import PROBE
        from edge_agent.lines import escape_tag
        from edge_agent.rows import Row
        from edge_agent.sinks import SinkDown, TooLarge
        from edge_agent.sinks.influx import InfluxSink

        line = f"{PROBE},site={escape_tag(self._site)},sensor=edge-net ok=1 {stamp}\n"
        sink = InfluxSink(self._id, self._influx)
        try:
            settled = await sink.send([Row(2, 2, stamp, pack(line + line))])
        except SinkDown as down:
            raise Red(down.what, error=down.words, **down.facts) from None
        except TooLarge as words:
            raise Red("server_says", error=str(words)) from None
        finally:
            await sink.close()
        if settled.held:
            raise Red("reading_refused", error=settled.held[0].words)

    async def _clean(self) -> None:
        try:
            await self._known.clean(self._site)
        except (Red, TimeoutError) as error:
            log.info("test reading stays sink=%s error=%r", self._id, error)

    async def _once(self) -> Says:
        return await self._known.once(self._copies)
