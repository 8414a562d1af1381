"""`edge modbus`: the technician's tools for a Modbus bus. The words of each command; what they do stands elsewhere.

All but `plan` go through the running agent, which keeps polling meanwhile: two programs on one serial line would spoil
each other's answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from drivers import line_test
from drivers.bus_plan import PlannedBus, planned
from drivers.settings import Bus
from drivers.splits import memory_of
from edge_agent import bench_commands as bench
from edge_agent import modbus_show as show
from edge_agent import write_commands
from edge_agent.bench_ask import bus_of
from edge_agent.client import Failed, NotAllowed, NotRunning, ask
from edge_agent.commands import Wrong, loaded, print_json
from edge_agent.config import Config
from edge_agent.config_commands import add_lock_options
from edge_agent.text import Text

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[argparse.ArgumentParser]
    Parser = argparse.ArgumentParser
    Add = Callable[[Group, str, Text, str], argparse.ArgumentParser]
    Asks = Callable[[argparse.ArgumentParser, Text, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]


def add_parsers(group: Group, text: Text, add: Add, asks: Asks) -> None:
    """The sub-commands, with the helpers of the main parser."""

    def command(name: str, does: Callable[[argparse.Namespace], int], nargs: str | None = None) -> Parser:
        parser = asks(add(group, name, text, "modbus."), text, does)
        parser.add_argument("bus", nargs=nargs, metavar="BUS", help=text("help.modbus.bus"))
        return parser

    _scan_options(command("scan", bench.scan_bus), text)
    _read_options(command("read", bench.read), text)
    watching = command("watch", bench.watch)
    watching.add_argument("--seconds", type=float, metavar="S", help=text("help.modbus.seconds"))
    watching.add_argument("--full", action="store_true", help=text("help.modbus.full"))
    examining = command("line", bench.line)
    examining.add_argument("--rounds", type=int, default=line_test.ROUNDS, metavar="N", help=text("help.modbus.rounds"))
    _write_options(command("write", write_commands.write), text)
    command("plan", plan, nargs="?")


def _scan_options(parser: Parser, text: Text) -> None:
    for name in ("units", "bauds", "parities", "functions"):
        parser.add_argument(f"--{name}", metavar="LIST", help=text(f"help.modbus.{name}"))
    parser.add_argument("--wait", type=float, metavar="MS", help=text("help.modbus.wait"))
    parser.add_argument("--no-models", action="store_true", help=text("help.modbus.no_models"))


def _read_options(parser: Parser, text: Text) -> None:
    parser.add_argument("unit", type=int, metavar="UNIT", help=text("help.modbus.unit"))
    parser.add_argument("fc", metavar="FC", help=text("help.modbus.fc"))
    parser.add_argument("addr", type=int, metavar="ADDR", help=text("help.modbus.addr"))
    parser.add_argument("count", type=int, nargs="?", default=1, metavar="N", help=text("help.modbus.count"))
    parser.add_argument("--all-types", action="store_true", help=text("help.modbus.all_types"))
    parser.add_argument("--unit-of", metavar="QUANTITY", help=text("help.modbus.unit_of"))
    parser.add_argument("--every", action="store_true", help=text("help.modbus.every_row"))


def _write_options(parser: Parser, text: Text) -> None:
    parser.add_argument("unit", type=int, metavar="UNIT", help=text("help.modbus.unit"))
    parser.add_argument("setting", nargs="?", metavar="ADDR", help=text("help.modbus.setting"))
    parser.add_argument("value", nargs="?", metavar="VALUE", help=text("help.modbus.value"))
    parser.add_argument("--device-address", type=int, metavar="N", help=text("help.modbus.device_address"))
    parser.add_argument("--profile", metavar="ID", help=text("help.modbus.profile"))
    parser.add_argument("--confirm", metavar="VALUE", help=text("help.modbus.confirm"))
    parser.add_argument("--wait", type=float, metavar="MS", help=text("help.modbus.wait"))
    add_lock_options(parser, text)


# --- plan -------------------------------------------------------------------------------------------------------------


def plan(arguments: argparse.Namespace) -> int:
    """`edge modbus plan [BUS]`: what polling costs; 1 where a line has too much to do.

    With the costs that the running agent has learned, else from the configuration alone.
    """
    config, text = loaded(arguments)
    buses = [bus_of(config, arguments.bus, text)] if arguments.bus else config.buses
    if not buses:
        raise Wrong(text("modbus.no_buses", file=str(config.file)))
    found = [_planned(bus, config) for bus in buses]
    if arguments.json:
        print_json(found)
    else:
        print("\n\n".join(show.plan(each, text) for each in found))
    return 1 if any(each.load_pct > show.FULL for each in found) else 0


def _planned(bus: Bus, config: Config) -> PlannedBus:
    try:
        found: PlannedBus = ask(config.control, f"/modbus/plan?{urlencode({'bus': bus.id})}", PlannedBus)
    except (NotRunning, NotAllowed, Failed):
        profiles = {device.profile: config.used_profiles[device.profile] for device in bus.devices}
        return planned(bus, profiles, memory_of(config.state, bus.id))
    return found
