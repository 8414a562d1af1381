"""`edge sim ward`: simulated Modbus and MQTT devices in a process of their own, until SIGTERM or for some seconds.

Prints `ready modbus=… pty=… mqtt=…` once everything listens, and at the end what was generated; with `--ledger` each
answer and message is in the file. Ends in order: first nothing is answered any more, then the last acknowledgements
are awaited for a moment, then the ledger's summary is written.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop

from drivers.marked import Problems
from drivers.profile import UnknownVariant, library, read_profile
from drivers.sim.encoding import SequencePoint
from drivers.sim.fault import BadFault, Fault, Troubled, described, parse_fault
from drivers.sim.ledger import Book, Header, NotALedger
from drivers.sim.publisher import BadUrl, MqttDevice, Publisher, Station, TrafficCounter, now_ms, parse_url
from drivers.sim.slave import Bus, Endpoint, SerialLine, TcpPort, unplugged
from drivers.sim.unit import Unit, UnitOptions
from drivers.sim.wire import Mbap, Rtu

FAILED = 2

DEFAULT_DEVICES = (
    "met-1:renke-01f4-station:1@rtu",
    "cab-1:xy-md02:2@rtu",
    "power-1:eastron-sdm630:1@tcp",
    "water-1:dfrobot-sen0676-radar:7@tcp",
    "rain-1:chirpstack@mqtt",
    "cnt-1:traffic@mqtt",
)
"""The ward of the example configuration. Devices whose bus or broker is not given are left out."""

MQTT_DEVICES: Mapping[str, type[Station] | type[TrafficCounter]] = {"chirpstack": Station, "traffic": TrafficCounter}

GRACE = 0.3
"""Seconds at the end for the last PUBACK, for readers to take the last answer, and for connections to close."""

_MODBUS = re.compile(r"([a-z0-9][a-z0-9_-]*):([^:@+]+)((?:\+[^:@+]+)*):(\d{1,3})@(tcp|rtu|rtutcp)(?::(.+))?")
_MQTT = re.compile(r"([a-z0-9][a-z0-9_-]*):([^:@+]+)@mqtt")


class BadOption(ValueError):
    """The command line cannot be used; the message says why."""


class Place(msgspec.Struct, frozen=True):
    """Where a bus is: `tcp` or `rtutcp` with a port, `rtu` with a path."""

    kind: str
    at: str
    own: str = ""
    """Device that has a free port to itself (`@tcp:0`)."""


class ModbusDevice(msgspec.Struct, frozen=True):
    """`id:profile[+variant…]:unit@place`"""

    name: str
    profile: str
    variant: tuple[str, ...]
    unit: int
    place: Place


class WardDevices(msgspec.Struct, frozen=True):
    """All devices of a ward."""

    modbus: tuple[ModbusDevice, ...]
    mqtt: tuple[tuple[str, str], ...]
    """Name and kind."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add = parser.add_argument
    add("--port-modbus", type=int, metavar="PORT", help="Modbus TCP port of 127.0.0.1; 0 takes a free one")
    add("--pty", type=Path, metavar="PATH", help="link to the serial line's other end")
    add("--mqtt", metavar="URL", help="broker to publish to: mqtt://[user:password@]host[:port]")
    add("--ledger", type=Path, metavar="FILE", help="write down every answer and message; an old file is continued")
    add("--fault", action="append", default=[], metavar="NAME[:DEVICE][:NUMBER[:RATE]]", help="'help' lists them")
    add("--seed", type=int, default=1, help="draws values and faults (default 1)")
    add("--seconds", type=float, metavar="S", help="end by itself after S seconds")
    add(
        "--device",
        action="append",
        default=[],
        metavar="ID:PROFILE[+VARIANT]:UNIT@BUS",
        help="instead of the default ward; BUS is tcp[:PORT], rtu[:PATH] or rtutcp:PORT; "
        "ID:chirpstack@mqtt and ID:traffic@mqtt publish",
    )
    add("--profiles", action="append", default=[], type=Path, metavar="DIR", help="more device profiles")
    add("--every-mqtt", type=float, default=2.0, metavar="S", help="seconds between messages of a device (default 2)")
    add("--client-timeout", type=float, default=1.0, metavar="S", help="a later answer counts as late (default 1)")
    add("--repeat-within", type=float, default=0.05, metavar="S", help="the same request so soon is a repeated read")
    add("--strict", action="store_true", help="refuse addresses that the profile does not name")
    add("--static", action="store_true", help="values never change: fastest answers, for benchmarks")


def main(args: argparse.Namespace) -> int:
    """Run the ward. Returns 0 when it was ended, 2 with a sentence when it could not start."""
    if "help" in args.fault:
        print(described())
        return 0
    try:
        ward = Ward(args)
    except (BadOption, BadFault, BadUrl, UnknownVariant, Problems, OSError, NotALedger) as error:
        print(f"edge sim ward: {error}", file=sys.stderr)
        return FAILED
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ward.run())


class Ward:
    """Everything that one command simulates."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Make the devices; nothing is opened yet but the ledger. Raises what `main` catches."""
        self._seed: int = args.seed
        self._seconds: float | None = args.seconds
        self._faults = tuple(parse_fault(text) for text in args.fault)
        devices = parse_devices(args.device or default_devices(args), args.port_modbus, args.pty, args.mqtt is not None)
        _refuse_strangers(self._faults, devices)
        if args.static and args.ledger:
            raise BadOption("--static and --ledger exclude each other: a constant answer carries no sequence number")
        options = UnitOptions(args.seed, self._faults, args.strict, args.static, args.repeat_within)
        self._broker = parse_url(args.mqtt) if args.mqtt else None
        self._book = Book(args.ledger)
        self._endpoints = _endpoints(devices.modbus, args.profiles, options, self._book, args.client_timeout)
        self._publishers = [
            Publisher(device, self._broker, self._book, args.every_mqtt)
            for device in _mqtt_devices(devices.mqtt, self._faults, args.seed)
            if self._broker
        ]

    async def run(self) -> int:
        """Open everything, serve until the end, close everything."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        try:
            for endpoint in self._endpoints:
                await endpoint.open()
        except OSError as error:
            print(f"edge sim ward: {endpoint.address}: {error.strerror or error}", file=sys.stderr)
            self._close()
            return FAILED
        self._book.open(Header(self._seed, now_ms(), self._sequences()))
        print(self._ready(), flush=True)
        with contextlib.suppress(BrokenPipeError):
            await self._serve(stop)
        return 0

    async def _serve(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            publishing = [group.create_task(one.run(), name=f"publish {one.device.name}") for one in self._publishers]
            unplugging = [
                group.create_task(unplugged(endpoint, fault.amount), name=f"unplug {endpoint.address}")
                for endpoint in self._endpoints
                if (fault := _unplug(endpoint))
            ]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._seconds)
            await self._wind_up([*publishing], [*unplugging])
        self._close()
        print(summed_up(self._book), flush=True)

    async def _wind_up(self, publishing: list[asyncio.Task[None]], unplugging: list[asyncio.Task[None]]) -> None:
        """Nothing new, then whatever is under way, each for a moment only."""
        for endpoint in self._endpoints:
            endpoint.bus.stop()
        for publisher in self._publishers:
            publisher.stop()
        for task in unplugging:
            task.cancel()
        left = set(publishing)
        await asyncio.sleep(GRACE / 3)  # A pty throws away what was not read when it closes.
        while left:
            _, left = await asyncio.wait(left, timeout=GRACE)
            for task in left:
                task.cancel()

    def _close(self) -> None:
        for endpoint in self._endpoints:
            endpoint.close()
        self._book.close()

    def _sequences(self) -> dict[str, SequencePoint]:
        units = [unit for endpoint in self._endpoints for unit in endpoint.bus.units.values()]
        found = {unit.device: unit.sequence for unit in units if unit.sequence}
        return found | {one.device.name: one.device.sequence for one in self._publishers}

    def _ready(self) -> str:
        tcp = [one.address for one in self._endpoints if isinstance(one, TcpPort)]
        pty = [one.address for one in self._endpoints if isinstance(one, SerialLine)]
        mqtt = [f"{self._broker.host}:{self._broker.port}"] if self._broker and self._publishers else []
        parts = {"modbus": tcp, "pty": pty, "mqtt": mqtt}
        return " ".join(["ready", *(f"{name}={','.join(found)}" for name, found in parts.items() if found)])


def summed_up(book: Book) -> str:
    """The last line on the terminal: what was generated."""
    total = book.summary
    parts = {name: getattr(total, name) for name in total.__struct_fields__ if name != "faults"}
    faults = {f"fault-{name}": count for name, count in total.faults.items()}
    return " ".join(["served", *(f"{name}={count}" for name, count in (parts | faults).items())])


# --- from options to devices ------------------------------------------------------------------------------------------


def default_devices(args: argparse.Namespace) -> list[str]:
    """The devices of the default ward whose bus or broker is given."""
    given = {"tcp": args.port_modbus is not None, "rtu": args.pty is not None, "mqtt": args.mqtt is not None}
    return [text for text in DEFAULT_DEVICES if given[text.rpartition("@")[2]]]


def parse_devices(texts: Iterable[str], port: int | None, pty: Path | None, mqtt: bool) -> WardDevices:
    """Read `--device` options. Raises BadOption."""
    modbus: list[ModbusDevice] = []
    others: list[tuple[str, str]] = []
    for text in texts:
        if found := _MODBUS.fullmatch(text):
            modbus.append(_modbus_device(text, found, port, pty))
        elif found := _MQTT.fullmatch(text):
            if found[2] not in MQTT_DEVICES or not mqtt:
                raise BadOption(f"{text!r}: " + ("expected chirpstack or traffic" if mqtt else "needs --mqtt"))
            others.append((found[1], found[2]))
        else:
            raise BadOption(f"{text!r}: expected ID:PROFILE[+VARIANT]:UNIT@BUS or ID:KIND@mqtt")
    _refuse_twice([*(device.name for device in modbus), *(name for name, _ in others)])
    if not modbus and not others:
        raise BadOption("nothing to simulate: give --port-modbus, --pty or --mqtt")
    return WardDevices(tuple(modbus), tuple(others))


def _modbus_device(text: str, found: re.Match[str], port: int | None, pty: Path | None) -> ModbusDevice:
    name, profile, variants, unit, kind, where = found.groups()
    if kind == "rtu":
        at = where or (str(pty) if pty else "")
    else:
        at = where or (str(port) if port is not None and kind == "tcp" else "")
    if not at:
        raise BadOption(f"{text!r}: no {'path' if kind == 'rtu' else 'port'} is given")
    if kind != "rtu" and not (at.isdecimal() and int(at) < 65536):
        raise BadOption(f"{text!r}: {at!r} is not a port")
    if not (kind == "tcp" and int(unit) <= 255) and not 1 <= int(unit) <= 252:
        raise BadOption(f"{text!r}: unit {unit} is not possible")
    place = Place(kind, at, own=name if where == "0" else "")
    return ModbusDevice(name, profile, tuple(v for v in variants.split("+") if v), int(unit), place)


def _refuse_twice(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadOption(f"device {name!r} is given twice")


def _refuse_strangers(faults: Iterable[Fault], devices: WardDevices) -> None:
    known = {device.name for device in devices.modbus} | {name for name, _ in devices.mqtt}
    for fault in faults:
        if fault.device and fault.device not in known:
            raise BadOption(f"fault {fault.name}: no device {fault.device!r}; there are {', '.join(sorted(known))}")


def _endpoints(
    devices: Sequence[ModbusDevice],
    folders: Iterable[Path],
    options: UnitOptions,
    book: Book,
    client_timeout: float,
) -> list[Endpoint]:
    """One endpoint for each place, in the order in which they are named."""
    paths, places = library(folders), dict[Place, list[ModbusDevice]]()
    for device in devices:
        if device.profile not in paths:
            raise BadOption(f"device {device.name}: no profile {device.profile!r}; there are {', '.join(paths)}")
        if any(device.unit == other.unit for other in places.setdefault(device.place, [])):
            raise BadOption(f"device {device.name}: unit {device.unit} is on the bus already")
        places[device.place].append(device)
    profiles = {name: read_profile(paths[name]) for name in {device.profile for device in devices}}
    found: list[Endpoint] = []
    for place, mine in places.items():
        units = [
            Unit(d.name, d.unit, profiles[d.profile], d.variant, options, first=book.last.get(d.name, 0)) for d in mine
        ]
        bus = Bus(units, book, client_timeout)
        if place.kind == "rtu":
            found.append(SerialLine(bus, Path(place.at)))
        else:
            found.append(TcpPort(bus, int(place.at), Mbap if place.kind == "tcp" else Rtu))
    return found


def _mqtt_devices(devices: Iterable[tuple[str, str]], faults: tuple[Fault, ...], seed: int) -> list[MqttDevice]:
    return [MQTT_DEVICES[kind](name, seed, Troubled(seed, name, faults)) for name, kind in devices]


def _unplug(endpoint: Endpoint) -> Fault | None:
    return next((fault for unit in endpoint.bus.units.values() if (fault := unit.troubles.has("unplug"))), None)


def _alone() -> int:
    parser = argparse.ArgumentParser(prog="python -m drivers.sim.ward", description=__doc__)
    add_arguments(parser)
    return main(parser.parse_args())


if __name__ == "__main__":
    sys.exit(_alone())
