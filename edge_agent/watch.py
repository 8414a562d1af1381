"""`edge points`, once or (`-w 10`) anew every so many seconds, one table below the other, until Ctrl-C.

Plain lines, for any console and for files. A round without an answer is said, and the next one asks again.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from edge_agent import commands
from edge_agent.board import PointNow
from edge_agent.commands import asked, loaded, points_table
from edge_agent.config import Config
from edge_agent.text import Text
from edge_agent.wrong import Wrong

SHORTEST = 1.0
"""Seconds; points are hardly polled more often."""


def points(arguments: argparse.Namespace) -> int:
    """Watching ends by Ctrl-C only, unless the first question fails already. Raises Wrong."""
    if arguments.watch is None:
        return commands.points(arguments)
    config, text = loaded(arguments)
    if arguments.watch < SHORTEST:
        raise Wrong(text("points.watch.short", seconds=SHORTEST))
    due = time.monotonic()
    _print(_ask(config, text), config, text, json=arguments.json)
    while True:
        due = max(due + arguments.watch, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            found = _ask(config, text)
        except Wrong as wrong:
            print(f"{_clock(config)} {wrong}", file=sys.stderr)
            continue
        _print(found, config, text, json=arguments.json)


def _ask(config: Config, text: Text) -> list[PointNow]:
    found: list[PointNow] = asked(config, text, "/points", list[PointNow])
    return found


def _print(found: list[PointNow], config: Config, text: Text, *, json: bool) -> None:
    if json:  # one line each, for scripts that read lines
        print(msgspec.json.encode(found).decode(), flush=True)
    else:
        table = points_table(found, text) if found else text("points.none")
        print(f"-- {_clock(config)}", table, "", sep="\n", flush=True)


def _clock(config: Config) -> str:
    """The site's time of day."""
    return datetime.now(ZoneInfo(config.timezone)).strftime("%H:%M:%S")
