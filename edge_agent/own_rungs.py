"""The lowest rungs of every ladder: the box's own cable or radio, its address, its gateway, its clock.

They are climbed once, before the servers, and only where a server lies beyond this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from edge_agent import clock
from edge_agent.interfaces import Interface, WayOut, interfaces, is_neighbour, way_out
from edge_agent.ladder import Red, Says, Step, attention, holds, left_out

PINGS, PING_S = 2, 0.8
"""How often a gateway is asked, and for how many seconds."""
DISCARD = 9
"""The port of a datagram that only makes the kernel look for its neighbour (RFC 863)."""
ECHO = struct.pack("!BBHHH", 8, 0, 0, 0, 1)
"""ICMP echo request (RFC 792); the kernel fills in checksum and identifier (icmp(7))."""


def is_beyond(host: str) -> bool:
    """The way there leaves this machine."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() != "localhost"


class OwnRungs:
    """From the plug to the gateway."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """`hosts`: what is to be reached beyond this machine."""
        self._hosts = hosts
        self._way: Interface | None = None
        self._out: WayOut | None = None

    def steps(self) -> list[Step]:
        """In the order in which a person looks."""
        return [
            Step("link", self._link),
            Step("address", self._address),
            Step("gateway", self._gateway),
            Step("clock", self._clock),
        ]

    async def _link(self) -> Says:
        """The interface that leads out, else the first with a signal."""
        found = interfaces()
        if not found:
            raise Red("own_no_interface")
        self._out = way_out()
        live = [each for each in found if each.carrier]
        if not live:
            raise _without_signal(found)
        best = [each for each in live if self._out and each.name == self._out.interface]
        self._way = (best or [each for each in live if each.addresses] or live)[0]
        return _signal(self._way)

    async def _address(self) -> Says:
        way = self._way
        if way is None or not way.addresses:
            name = way.name if way else "–"
            raise Red("own_no_dhcp", name=name) if way and way.self_given else Red("own_no_address", name=name)
        return holds("has_addresses", addresses=", ".join(way.addresses))

    async def _gateway(self) -> Says:
        if self._out is None:
            if all(self._is_near(host) for host in self._hosts):
                return left_out("own_gateway_unneeded")
            raise Red("own_no_gateway", name=self._way.name if self._way else "–")
        gateway = self._out.gateway
        if not gateway or ":" in gateway:
            return left_out("own_gateway_unasked", gateway=gateway or self._out.interface)
        if await answers(gateway):
            return holds("own_gateway", gateway=gateway)
        raise Red("own_gateway_silent", gateway=gateway, name=self._out.interface)

    def _is_near(self, host: str) -> bool:
        """An address in a network of the box's own."""
        own = [ipaddress.ip_interface(each).network for each in (self._way.addresses if self._way else [])]
        try:
            return any(ipaddress.ip_address(host) in network for network in own)
        except ValueError:
            return False

    async def _clock(self) -> Says:
        told = await clock.ask()
        if told.state == "synced":
            return holds("own_clock", by=told.by)
        if told.state == "waiting":
            return attention("own_clock_waiting")
        return attention("own_clock_unknown")


def _without_signal(found: Sequence[Interface]) -> Red:
    names = ", ".join(each.name for each in found)
    kinds = {each.kind for each in found}
    if "cable" in kinds:
        return Red("own_link_out_cable", names=names)
    if "wifi" in kinds:
        return Red("own_link_out_wifi", names=names)
    return Red("own_link_out_mobile", names=names)


def _signal(way: Interface) -> Says:
    if way.mbit:
        return holds("own_link_speed", name=way.name, mbit=way.mbit)
    if way.signal_dbm:
        return holds("own_link_signal", name=way.name, dbm=way.signal_dbm)
    if way.kind == "mobile":
        return holds("own_link_mobile", name=way.name)
    if way.kind == "wifi":
        return holds("own_link_wifi", name=way.name)
    return holds("own_link_cable", name=way.name)


async def answers(gateway: str) -> bool:
    """By a ping; where pings are forbidden or thrown away, by whether it tells its place on the wire (ARP)."""
    with suppress(OSError):
        for _ in range(PINGS):
            if await _echo(gateway):
                return True
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.sendto(b"", (gateway, DISCARD))
        await asyncio.sleep(PING_S)
    return is_neighbour(gateway)


async def _echo(address: str) -> bool:
    """One ping without root. Raises OSError where the machine's net.ipv4.ping_group_range does not allow it."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as asking:
        asking.setblocking(False)
        asking.connect((address, 0))
        asking.send(ECHO)
        with suppress(TimeoutError):
            async with asyncio.timeout(PING_S):
                return bool(await loop.sock_recv(asking, 256))
    return False
