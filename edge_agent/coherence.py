"""Checks across the parts of a configuration: what is named twice, what leads nowhere, what cannot go together.

Each check yields problems at the place of the later of two, or of the name that leads nowhere.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from drivers.marked import Loc, Problem, Problems, Tree
from drivers.marked_words import nearest

if TYPE_CHECKING:
    from drivers.profile import Profile
    from drivers.settings import Bus, Device
    from edge_agent.config import Config

SOCKET_BYTES = 107
"""Longest path of a Unix socket: sun_path holds 108 bytes with the final zero (unix(7))."""


class Coherence:
    """The checks of one configuration. Afterwards `used` has the profiles of its devices by id."""

    def __init__(self) -> None:
        """Nothing is read before `check`."""
        self.used: dict[str, Profile] = {}

    def check(self, config: Config, tree: Tree) -> list[Problem]:
        """Every problem across the parts."""
        return [
            *_twice(tree, _ids(config)),
            *_reserved(tree, _ids(config)),
            *_ports(config, tree),
            *_units(config, tree),
            *self._profiles(config, tree),
            *_names(config, tree),
            *_socket(config, tree),
        ]

    def _profiles(self, config: Config, tree: Tree) -> Iterator[Problem]:
        """Every named profile exists and can be used; its own faults come with its own file name."""
        from drivers.profile import library, read_profile

        files = library(config.profiles) if config.buses else {}
        refused: set[str] = set()
        for loc, device in _devices(config):
            name = device.profile
            if name not in files:
                yield _unknown(tree, (*loc, "profile"), "profile", name, files)
                continue
            try:
                if name not in refused and name not in self.used:
                    self.used[name] = read_profile(files[name])
            except Problems as wrong:
                refused.add(name)
                yield from wrong.problems
            if name in self.used:
                yield from _device(tree, loc, device, self.used[name])


def _devices(config: Config) -> Iterator[tuple[Loc, Device]]:
    for i, bus in enumerate(config.buses):
        for j, device in enumerate(bus.devices):
            yield ("buses", i, "devices", j), device


def _ids(config: Config) -> Iterator[tuple[str, Loc]]:
    """Every id with its kind in front: they must differ within a kind; drivers and sinks are told apart by their id."""
    yield from ((f"driver {bus.id}", ("buses", i, "id")) for i, bus in enumerate(config.buses))
    yield from ((f"driver {broker.id}", ("mqtt", i, "id")) for i, broker in enumerate(config.mqtt))
    yield from ((f"device {device.id}", (*loc, "id")) for loc, device in _devices(config))
    yield from ((f"sink {sink.id}", ("sinks", i, "id")) for i, sink in enumerate(config.sinks))
    yield from ((f"alarm {alarm.id}", ("alarms", i, "id")) for i, alarm in enumerate(config.alarms))


def _twice(tree: Tree, names: Iterable[tuple[str, Loc]], what: str = "id_twice") -> Iterator[Problem]:
    """A problem at each name that came before."""
    first: dict[str, Loc] = {}
    for name, loc in names:
        if name in first:
            yield tree.problem(loc, what, value=name.split(" ", 1)[1], first_line=tree(first[name])[0])
        first.setdefault(name, loc)


def _reserved(tree: Tree, names: Iterable[tuple[str, Loc]]) -> Iterator[Problem]:
    """The box's own readings come from the driver and device `box`, those of its meeting from `meeting`."""
    for name, loc in names:
        kind, _, value = name.partition(" ")
        if kind in ("driver", "device") and value in ("box", "meeting"):
            yield tree.problem(loc, "id_reserved", value=value)


def _ports(config: Config, tree: Tree) -> Iterator[Problem]:
    """One serial line is one bus, and so is one endpoint; two connections with one client id throw each other out."""
    lines = [
        (f"port {os.path.realpath(bus.serial)}", ("buses", i, "serial"))
        for i, bus in enumerate(config.buses)
        if bus.serial
    ]
    yield from _twice(tree, lines, "serial_twice")
    endpoints = [
        (f"endpoint {_machine(bus.host)}:{bus.port}", ("buses", i, "tcp"))
        for i, bus in enumerate(config.buses)
        if bus.tcp
    ]
    yield from _twice(tree, endpoints, "tcp_twice")
    clients = [
        (f"client {broker.client_id or f'edge-{config.site}'} at {broker.host}:{broker.port}", ("mqtt", i))
        for i, broker in enumerate(config.mqtt)
    ]
    yield from _twice(tree, clients, "client_twice")


def _machine(host: str) -> str:
    """One spelling for each that names the same machine, as far as can be told without asking anybody."""
    name = host.lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address("127.0.0.1" if name == "localhost" else name.strip("[]")))
    except ValueError:
        return name


def _units(config: Config, tree: Tree) -> Iterator[Problem]:
    for i, bus in enumerate(config.buses):
        at = [(f"unit {device.unit}", ("buses", i, "devices", j, "unit")) for j, device in enumerate(bus.devices)]
        yield from _twice(tree, at, "unit_twice")
        yield from _off_line(bus, i, tree)


def _off_line(bus: Bus, i: int, tree: Tree) -> Iterator[Problem]:
    for j, device in enumerate(bus.devices):
        if device.unit not in bus.units:
            least, most = bus.units[0], bus.units[-1]
            yield tree.problem(
                ("buses", i, "devices", j, "unit"), "unit_on_line", value=device.unit, least=least, most=most
            )


def _device(tree: Tree, loc: Loc, device: Device, profile: Profile) -> Iterator[Problem]:
    """The variants exist and settle every choice; limits name points that the device has."""
    from drivers.profile import UnknownVariant

    try:
        points = {register.canonical for register in profile.points(device.variant)}
    except UnknownVariant as unknown:
        yield tree.problem((*loc, "variant"), f"profile.{unknown.what}", **unknown.facts)
        return
    if not points:
        yield tree.problem((*loc, "profile"), "profile_without_points", value=device.profile)
    for name in device.limits:
        if name not in points:
            yield _unknown(tree, (*loc, "limits", name), "point_of_device", name, sorted(filter(None, points)))
    for i, name in enumerate(device.alarm_points):
        if name not in points:
            yield _unknown(tree, (*loc, "alarm_points", i), "point_of_device", name, sorted(filter(None, points)))
    yield from _identity(tree, loc, device, profile)


def _identity(tree: Tree, loc: Loc, device: Device, profile: Profile) -> Iterator[Problem]:
    """What the device is told by are registers that the profile knows it by, with what they can hold."""
    known = {each.register.key: each for each in profile.identities()}
    for key, value in device.identity.items():
        at = (*loc, "identity", key)
        if not known:
            yield tree.key_problem(at, "no_identity", profile=device.profile, value=key)
        elif key not in known:
            yield tree.key_problem(at, "unknown_identity", profile=device.profile, value=key, choices=", ".join(known))
        elif (known[key].register.type == "str") != isinstance(value, str):
            yield tree.problem(at, "identity_kind", value=key, type=known[key].register.type)
        elif not known[key].matches(value):
            wanted = ", ".join(str(each) for each in sorted(known[key].equals, key=str))
            yield tree.problem(at, "identity_model", value=str(value), profile=device.profile, wanted=wanted)


def _names(config: Config, tree: Tree) -> Iterator[Problem]:
    """Points of MQTT messages and alarms stand in the naming table."""
    from drivers.reading import quantities

    for loc, name in _named(config):
        if name not in quantities():
            yield _unknown(tree, loc, "point", name, quantities())


def _named(config: Config) -> Iterator[tuple[Loc, str]]:
    from edge_agent.config import point_of

    for i, broker in enumerate(config.mqtt):
        for j, subscription in enumerate(broker.subscriptions):
            loc: Loc = ("mqtt", i, "subscriptions", j)
            yield from (((*loc, "points", name), name) for name in subscription.points)
            yield from (((*loc, "limits", name), name) for name in subscription.limits)
            yield from (((*loc, "names", field), name) for field, name in subscription.names.items())
    for i, alarm in enumerate(config.alarms):
        yield ("alarms", i, "when"), point_of(alarm.when)
        if alarm.clear is not None:
            yield ("alarms", i, "clear"), point_of(alarm.clear)


def _socket(config: Config, tree: Tree) -> Iterator[Problem]:
    from edge_agent.meeting_config import control_of

    if config.meeting and (length := len(os.fsencode(control_of(config, config.meeting)))) > SOCKET_BYTES:
        yield tree.problem(("meeting",), "socket_path", length=length, most=SOCKET_BYTES)
    length = len(os.fsencode(config.control))
    if length > SOCKET_BYTES:
        step = "control" if tree.root.child("control") else "state"
        yield tree.problem((step,), "socket_path", length=length, most=SOCKET_BYTES)


def _unknown(tree: Tree, loc: Loc, kind: str, value: str, known: Iterable[str]) -> Problem:
    """A name that leads nowhere, with the nearest that would; `loc` leads to it or ends in it."""
    say = tree.key_problem if loc[-1] == value else tree.problem
    if near := nearest(value, known):
        return say(loc, f"unknown_{kind}_near", value=value, near=near)
    return say(loc, f"unknown_{kind}", value=value)
