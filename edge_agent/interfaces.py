"""The network interfaces of this machine, their addresses and the way out, from the kernel: no root."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from pathlib import Path
from typing import Literal

import msgspec

CLASS, PROC = Path("/sys/class/net"), Path("/proc/net")
Kind = Literal["cable", "wifi", "mobile"]
LOOPBACK = "772"
"""ARPHRD_LOOPBACK of <linux/if_arp.h>."""
MADE = ("br-", "docker", "dummy", "ifb", "ip6tnl", "sit", "tailscale", "tap", "tun", "veth", "virbr", "wg")
"""Names of interfaces that programs make: a cable that is pulled shows on none of them."""
MOBILE = ("wwan", "ppp", "usb")
SIOCGIFADDR, SIOCGIFNETMASK = 0x8915, 0x891B
UP, GATEWAY, ALL = 0x1, 0x2, "0" * 8
"""Flags of /proc/net/route, and its default destination."""
COMPLETE = 0x2
"""Flag of /proc/net/arp: the neighbour has answered."""
GLOBAL_V6 = "00"
"""Scope of /proc/net/if_inet6."""


class Interface(msgspec.Struct, frozen=True):
    """A way to the outside."""

    name: str
    kind: Kind
    carrier: bool
    """There is a signal: the cable is plugged in at both ends, the Wi-Fi or the modem is connected."""
    mbit: int | None
    """Speed of a cable in Mbit/s."""
    signal_dbm: int | None
    """Of Wi-Fi."""
    addresses: list[str]
    """With the length of their network, as `192.168.1.20/24`; without those that only hold on one cable."""
    self_given: bool = False
    """It has an address of 169.254.0.0/16 alone (RFC 3927): nobody gave it one."""


class NetworkNow(msgspec.Struct, frozen=True):
    """How the box stands in its network."""

    interfaces: list[Interface] = []
    gateway: str = ""
    """Empty: nothing leads out of the own network, or the line has none."""


class WayOut(msgspec.Struct, frozen=True):
    """The default route."""

    interface: str
    gateway: str
    """Empty: the line ends at the provider (PPP), there is no neighbour to ask."""


def interfaces() -> list[Interface]:
    """Those that a person can plug in or switch on, by their names. Raises OSError where the kernel hides them."""
    found = [each for each in sorted(CLASS.iterdir()) if each.is_dir() and not each.name.startswith(MADE)]
    return [_interface(each) for each in found if _word(each / "type") != LOOPBACK]


def way_out() -> WayOut | None:
    """By IPv4, else by IPv6; None: nothing leads out of the own network."""
    for line in _lines(PROC / "route")[1:]:
        name, destination, gateway, flags = line.split()[:4]
        if destination == ALL and int(flags, 16) & UP:
            address = socket.inet_ntoa(struct.pack("=L", int(gateway, 16)))
            return WayOut(name, address if int(flags, 16) & GATEWAY else "")
    for line in _lines(PROC / "ipv6_route"):
        words = line.split()
        if words[1] == "00" and int(words[8], 16) & GATEWAY:
            return WayOut(words[9], str(ipaddress.IPv6Address(bytes.fromhex(words[4]))))
    return None


def network() -> NetworkNow:
    """Both at once. Raises OSError where the kernel hides them."""
    out = way_out()
    return NetworkNow(interfaces(), out.gateway if out else "")


def is_neighbour(address: str) -> bool:
    """The machine with this IPv4 address has told where it is on the wire."""
    lines = [line.split() for line in _lines(PROC / "arp")[1:]]
    return any(words[0] == address and int(words[2], 16) & COMPLETE for words in lines)


def _interface(folder: Path) -> Interface:
    name, kind = folder.name, _kind(folder)
    carrier = _word(folder / "carrier") == "1"
    speed = _word(folder / "speed")
    four, six = _ipv4(name), _ipv6(name)
    given = [each for each in four if not ipaddress.ip_interface(each).is_link_local]
    return Interface(
        name=name,
        kind=kind,
        carrier=carrier,
        mbit=int(speed) if carrier and kind == "cable" and speed.isdigit() else None,
        signal_dbm=_signal(name) if kind == "wifi" else None,
        addresses=given + six,
        self_given=bool(four) and not given,
    )


def _kind(folder: Path) -> Kind:
    if (folder / "wireless").exists() or (folder / "phy80211").exists():
        return "wifi"
    is_modem = folder.name.startswith(MOBILE) or "DEVTYPE=wwan" in _lines(folder / "uevent")
    return "mobile" if is_modem else "cable"


def _ipv4(name: str) -> list[str]:
    """The first address of an interface (netdevice(7))."""
    asked = struct.pack("256s", name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            address = fcntl.ioctl(asking, SIOCGIFADDR, asked)[20:24]
            mask = fcntl.ioctl(asking, SIOCGIFNETMASK, asked)[20:24]
        except OSError:  # It has none.
            return []
    return [f"{socket.inet_ntoa(address)}/{int.from_bytes(mask).bit_count()}"]


def _ipv6(name: str) -> list[str]:
    rows = [line.split() for line in _lines(PROC / "if_inet6")]
    mine = [words for words in rows if words[5] == name and words[3] == GLOBAL_V6]
    return [f"{ipaddress.IPv6Address(bytes.fromhex(words[0]))}/{int(words[2], 16)}" for words in mine]


def _signal(name: str) -> int | None:
    """The level column of /proc/net/wireless."""
    for line in _lines(PROC / "wireless"):
        words = line.split()
        if words and words[0] == f"{name}:":
            return round(float(words[3]))
    return None


def _word(file: Path) -> str:
    """Empty where the kernel says nothing: an interface that is switched off has no carrier to tell of."""
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _lines(file: Path) -> list[str]:
    return _word(file).splitlines()
