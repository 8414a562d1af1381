"""`edge modbus`: the technician's tools for a Modbus bus. The words of each command; what they do stands elsewhere.

All but `plan` go through the running agent, which keeps polling meanwhile: two programs on one serial line would spoil
each other's answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from drivers.bus_plan import PlannedBus, planned
from drivers.marked import Problems
from drivers.settings import Bus
from edge_agent import config as configuration
from edge_agent import modbus_show as show
from edge_agent.commands import Wrong
from edge_agent.config import Config
from edge_agent.text import Text, texts

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[argparse.ArgumentParser]
    Add = Callable[[Group, str, Text, str], argparse.ArgumentParser]
    Asks = Callable[[argparse.ArgumentParser, Text, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]


def add_parsers(group: Group, text: Text, add: Add, asks: Asks) -> None:
    """The sub-commands, with the helpers of the main parser."""
    of = "modbus."
    planning = asks(add(group, "plan", text, of), text, plan)
    planning.add_argument("bus", nargs="?", metavar="BUS", help=text("help.modbus.bus"))


# --- plan -------------------------------------------------------------------------------------------------------------


def plan(arguments: argparse.Namespace) -> int:
    """`edge modbus plan [BUS]`: what polling costs, from the configuration alone. 1 where a line has too much to do."""
    config, text = opened(arguments)
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
    return planned(bus, {device.profile: config.used_profiles[device.profile] for device in bus.devices})


# --- shared -----------------------------------------------------------------------------------------------------------


def opened(arguments: argparse.Namespace) -> tuple[Config, Text]:
    """The configuration and its language. Raises Wrong with every fault of it."""
    try:
        config = configuration.load(arguments.config)
    except Problems as problems:
        raise Wrong("\n".join(configuration.render(problems.problems, texts(arguments.language)))) from None
    return config, texts(config.language)


def bus_of(config: Config, name: str, text: Text) -> Bus:
    """The bus of that name. Raises Wrong, which names those that there are."""
    for bus in config.buses:
        if bus.id == name:
            return bus
    known = ", ".join(bus.id for bus in config.buses)
    raise Wrong(text("modbus.unknown_bus", bus=name, buses=known or "–"))


def print_json(answer: object) -> None:
    """For scripts."""
    print(msgspec.json.format(msgspec.json.encode(answer), indent=1).decode())
