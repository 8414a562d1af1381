"""How the Modbus commands reach the agent, and what is the same for all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any
from urllib.parse import urlencode

from drivers.guests import LONGEST, SHORTEST
from drivers.settings import Bus
from edge_agent.bench_events import Stopped
from edge_agent.client import Failed, NotAllowed, NotRunning, follow
from edge_agent.commands import Wrong, wrong
from edge_agent.config import Config
from edge_agent.text import Text

LINES = "EDGE_PROGRESS"
"""Variable that asks for progress in lines, where its value is `lines` …"""
MARK = "\x1e"
"""… each with this letter before `done total words` (ASCII record separator: no sentence has it)."""
BAR = 20
"""Columns of the progress bar."""


def bus_of(config: Config, name: str, text: Text) -> Bus:
    """The bus of that name. Raises Wrong, which names those that there are."""
    for bus in config.buses:
        if bus.id == name:
            return bus
    known = ", ".join(bus.id for bus in config.buses)
    raise Wrong(text("modbus.unknown_bus", bus=name, buses=known or "–"))


def within(what: str, number: float, least: float, most: float, text: Text) -> None:
    """Raises Wrong where the option `what` has another number; no number at all is one."""
    if not least <= number <= most:
        raise Wrong(text("modbus.number_range", what=what, least=least, most=most))


def wait_of(ms: float | None, text: Text) -> float | None:
    """`--wait`, in seconds. Raises Wrong."""
    if ms is None:
        return None
    within("--wait", ms, 1000 * SHORTEST, 1000 * LONGEST, text)
    return ms / 1000


def unit_of(bus: Bus, unit: int, text: Text) -> None:
    """Raises Wrong where no device of the bus can have this number."""
    if unit not in bus.units:
        raise Wrong(text("modbus.unit_range", least=bus.units[0], most=bus.units[-1]))


def follow_bench(
    config: Config, text: Text, what: str, query: dict[str, Any], kinds: Any, **how: Any
) -> Generator[Any]:
    """Events of the agent; raises Wrong where it cannot go on. `how`: see `client.follow`."""
    try:
        for event in follow(config.control, f"/modbus/{what}?{urlencode(query)}", kinds, **how):
            if isinstance(event, Stopped):
                raise Wrong(text(event.what, **event.facts))
            yield event
    except KeyboardInterrupt:
        print("\n" + text("modbus.stopped"), file=sys.stderr)
        raise
    except (NotRunning, NotAllowed, Failed) as error:
        raise wrong(error, config, text) from None


class Bar:
    """Progress of long work: on a terminal, or as lines for the screen that runs the command (`tui/runs.py`)."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._shown = 0
        self._on = sys.stderr.isatty()
        self._lines = not self._on and os.environ.get(LINES) == "lines"

    def __enter__(self) -> Bar:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave a clean line."""
        self.wipe()

    def show(self, done: int, total: int, words: str) -> None:
        """So far."""
        if self._lines:
            print(f"{MARK}{done} {total} {words}", file=sys.stderr, flush=True)
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
