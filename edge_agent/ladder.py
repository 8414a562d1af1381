"""A ladder leads to one server: each rung is tried only when the one below holds, and told as soon as it is known.

The first rungs are the same for every server: its name, the connection, the certificate. What stands above them is in
`net.py` (brokers) and `influx_setup.py` (databases). A step gives what it found, or raises Red with what to do.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from drivers.marked import SecretMissing

LIMIT = 5.0
"""Seconds that a rung may take, where its step does not say otherwise."""
CONNECTING = 3.0
"""Seconds for each address of a name."""
ADDRESSES = 3
"""Most addresses of a name that are tried: usually an IPv6 and an IPv4 one."""
DAYS_LEFT = 14
"""A certificate that ends sooner needs attention."""
DAY = 86_400

State = Literal["ok", "attention", "failed", "left_out"]
Fact = str | int | float
Facts = Mapping[str, Fact]


class Red(Exception):
    """This rung does not hold, so those above it are not tried."""

    def __init__(self, what: str, **facts: Fact) -> None:
        """`what`: which sentence `net.<what>`."""
        super().__init__(what)
        self.what = what
        self.facts: Facts = facts


class Says(msgspec.Struct, frozen=True):
    """What a step found."""

    what: str = ""
    """Sentence `net.<what>`; empty: nothing to say."""
    facts: Facts = {}
    state: State = "ok"


def holds(what: str = "", **facts: Fact) -> Says:
    """All is well."""
    return Says(what, facts)


def attention(what: str, **facts: Fact) -> Says:
    """It works, but somebody should change something."""
    return Says(what, facts, "attention")


def left_out(what: str, **facts: Fact) -> Says:
    """It was not asked, or could not be; that is no fault."""
    return Says(what, facts, "left_out")


class Rung(msgspec.Struct, frozen=True):
    """One rung, tried or left out."""

    name: str
    state: State
    ms: int = 0
    what: str = ""
    facts: Facts = {}


class Step(msgspec.Struct, frozen=True):
    """How a rung is tried."""

    name: str
    do: Callable[[], Awaitable[Says]]
    limit: float | None = LIMIT
    """Seconds; None where a person is asked meanwhile."""


class Watch(Protocol):
    """Follows a climb."""

    def asking(self, name: str) -> None:
        """The rung is being tried."""
        ...

    def told(self, rung: Rung) -> None:
        """The rung is known."""
        ...


async def climb(steps: Sequence[Step], watch: Watch) -> list[Rung]:
    """Every rung, those above a red one left out."""
    rungs: list[Rung] = []
    for step in steps:
        watch.asking(step.name)
        rungs.append(await _try(step))
        watch.told(rungs[-1])
        if rungs[-1].state == "failed":
            break
    return rungs + [Rung(step.name, "left_out") for step in steps[len(rungs) :]]


async def _try(step: Step) -> Rung:
    begun = time.monotonic()
    try:
        async with asyncio.timeout(step.limit):
            says = await step.do()
    except Red as red:
        says = Says(red.what, red.facts, "failed")
    except SecretMissing as secret:
        says = Says("secret_missing", {"name": secret.name, "variable": secret.variable}, "failed")
    except TimeoutError:
        says = Says("no_answer", {"limit": step.limit or 0}, "failed")
    return Rung(step.name, says.state, round(1000 * (time.monotonic() - begun)), says.what, says.facts)


# --- the rungs that all ladders have ----------------------------------------------------------------------------------


class Way:
    """To a TCP port, with or without TLS."""

    def __init__(self, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None) -> None:
        """`tls` reads the certificates of the configuration, and may raise Red; None without TLS."""
        self._host, self._port, self._tls = host, port, tls
        self._addresses: list[str] = []

    def steps(self) -> list[Step]:
        """Name, connection, and TLS where it is used."""
        steps = [Step("name", self._resolve), Step("tcp", self._connect, LIMIT + CONNECTING * ADDRESSES)]
        return [*steps, Step("tls", self._shake_hands)] if self._tls else steps

    async def _resolve(self) -> Says:
        if _is_address(self._host):
            self._addresses = [self._host]
            return holds("is_address")
        try:
            self._addresses = await _look_up(self._host)
        except socket.gaierror as fault:
            unknown = fault.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
            raise Red("name_unknown" if unknown else "name_unanswered", host=self._host) from None
        except UnicodeError:
            raise Red("name_unknown", host=self._host) from None
        return holds("has_addresses", addresses=", ".join(self._addresses))

    async def _connect(self) -> Says:
        red = None
        for address in self._addresses[:ADDRESSES]:
            if (red := await self._refusal(address)) is None:
                self._addresses = [address]  # The rungs above take the one that answered.
                return holds()
        raise red or Red("name_unknown", host=self._host)

    async def _refusal(self, address: str) -> Red | None:
        """Why no connection comes about, None where one does."""
        try:
            async with asyncio.timeout(CONNECTING):
                _, writer = await asyncio.open_connection(address, self._port)
        except TimeoutError:
            return Red("silent", host=self._host, port=self._port)
        except ConnectionRefusedError:
            return Red("nobody_listens", host=self._host, port=self._port)
        except OSError as fault:
            return Red("no_way", host=self._host, error=plain(fault))
        writer.transport.abort()
        return None

    async def _shake_hands(self) -> Says:
        context = self._tls() if self._tls else ssl.create_default_context()
        try:
            ends = await _certificate_end(self._addresses[0], self._port, context, self._host)
        except ssl.SSLCertVerificationError as fault:
            raise Red("untrusted", error=fault.verify_message) from None
        except (OSError, EOFError) as fault:
            raise Red("no_tls", error=plain(fault)) from None
        days = int((ends - time.time()) / DAY)
        return holds("days_left", days=days) if days >= DAYS_LEFT else attention("ends_soon", days=days)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _look_up(host: str) -> list[str]:
    """The addresses of a name, by a thread that nobody waits for: a dead name server answers after half a minute."""
    answer: concurrent.futures.Future[list[str]] = concurrent.futures.Future()
    answer.set_running_or_notify_cancel()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            answer.set_result(list(dict.fromkeys(str(each[4][0]) for each in found)))
        except (OSError, UnicodeError) as fault:
            answer.set_exception(fault)

    threading.Thread(target=ask, name="edge-name", daemon=True).start()
    return await asyncio.wrap_future(answer)


async def _certificate_end(address: str, port: int, context: ssl.SSLContext, host: str) -> float:
    """Unix time until which the server's certificate holds, after a handshake that trusts it."""
    _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        certificate = writer.get_extra_info("peercert")
    finally:
        writer.transport.abort()
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))


def plain(fault: BaseException) -> str:
    """An error in a few words, without its number."""
    words = str(getattr(fault, "strerror", None) or getattr(fault, "reason", None) or fault) or type(fault).__name__
    return words[:1].lower() + words[1:]
