"""How the Modbus commands reach the agent, and what is the same for all of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from drivers.marked import Problems
from drivers.settings import Bus
from edge_agent import config as configuration
from edge_agent.bench_events import Stopped
from edge_agent.client import Failed, NotAllowed, NotRunning, ask, follow
from edge_agent.commands import Wrong
from edge_agent.config import Config
from edge_agent.text import Text, texts

BAR = 20
"""Columns of the progress bar."""


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


# --- asking -----------------------------------------------------------------------------------------------------------


def follow_bench(
    config: Config, text: Text, what: str, query: dict[str, Any], kinds: Any, *, quiet: bool = False
) -> Generator[Any]:
    """Events of the agent; raises Wrong where it cannot go on. `quiet`: None comes for each sign of life."""
    try:
        for event in follow(config.control, f"/modbus/{what}?{urlencode(query)}", kinds, quiet=quiet):
            if isinstance(event, Stopped):
                raise Wrong(text(event.what, **event.facts))
            yield event
    except KeyboardInterrupt:
        print("\n" + text("modbus.stopped"), file=sys.stderr)
        raise
    except (NotRunning, NotAllowed, Failed) as error:
        raise _wrong(error, config, text, query) from None


def once(config: Config, text: Text, what: str, query: dict[str, Any], kind: Any) -> Any:
    try:
        return ask(config.control, f"/modbus/{what}?{urlencode(query)}", kind)
    except (NotRunning, NotAllowed, Failed) as error:
        raise _wrong(error, config, text, query) from None


def _wrong(error: Exception, config: Config, text: Text, query: dict[str, Any]) -> Wrong:
    if isinstance(error, NotRunning):
        return Wrong(text("client.not_running", socket=str(config.control), file=str(config.file)))
    if isinstance(error, NotAllowed):
        return Wrong(text("client.not_allowed", socket=str(config.control), group=_group(config.control)))
    if str(error).startswith("404"):
        return Wrong(text("modbus.not_in_agent", bus=query["bus"]))
    return Wrong(text("client.failed", error=str(error)))


def _group(path: Path) -> str:
    try:
        return path.group()
    except (OSError, KeyError):
        return "edge-agent"


class Bar:
    """Progress of long work, on a terminal only."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._shown = 0
        self._on = sys.stderr.isatty()

    def __enter__(self) -> Bar:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave a clean line."""
        self.wipe()

    def show(self, done: int, total: int, words: str) -> None:
        """So far."""
        if self._on:
            full = BAR * done // max(total, 1)
            said = f"[{'#' * full}{'.' * (BAR - full)}] {done}/{total} {words}"
            print("\r" + said.ljust(self._shown), end="", file=sys.stderr, flush=True)
            self._shown = len(said)

    def wipe(self) -> None:
        """Take it away, so that other lines can follow."""
        if self._shown:
            print("\r" + " " * self._shown + "\r", end="", file=sys.stderr, flush=True)
            self._shown = 0
