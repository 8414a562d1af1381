"""`edge journal verify|export|quarantine list`: what only reads, from the file itself, also while the agent runs."""

from __future__ import annotations

import argparse
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from edge_agent import journal_file, quarantine
from edge_agent.bench_ask import Bar
from edge_agent.commands import Wrong, loaded, print_json
from edge_agent.config import Config
from edge_agent.show import table, terminal_width
from edge_agent.text import Text

T = TypeVar("T")

MOST_WORDS = 60
AGO = {"m": 60, "h": 3600, "d": 86_400}


def verify(arguments: argparse.Namespace) -> int:
    """`edge journal verify`: 0 all is as it should be, 1 something is not."""
    config, text = loaded(arguments)
    with showing(text("journal.verifying")) as seen:
        found = reading(config, text, lambda: journal_file.verify(file_of(config), seen))
    if arguments.json:
        print_json(found)
    else:
        facts = {name: getattr(found, name) for name in ("rows", "readings", "damaged", "miscounted", "disordered")}
        said = "sound" if found.is_sound else "unsound"
        print(text(f"journal.{said}", **facts, missing=found.missing, structure=found.structure))
    return 0 if found.is_sound else 1


def export(arguments: argparse.Namespace) -> int:
    """`edge journal export`: lines of a time to a file; 1: damaged rows were left out."""
    config, text = loaded(arguments)
    span = span_of(arguments, text)
    if arguments.to.exists() and not arguments.to.is_file():  # a device must not be replaced by a file
        raise Wrong(text("journal.no_file", file=str(arguments.to)))
    influx = next((sink.influxdb for sink in config.sinks if sink.influxdb), None)
    database = (influx.database or influx.bucket if influx else None) or "edge"
    try:
        with showing(text("journal.exporting")) as seen:
            found = reading(
                config, text, lambda: journal_file.export(file_of(config), arguments.to, span, database, seen)
            )
    except journal_file.NotWritten as error:
        raise Wrong(text("journal.not_written", file=str(arguments.to), error=str(error))) from None
    if arguments.json:
        print_json(found)
    else:
        print(text("journal.exported", file=found.file, lines=found.lines, damaged=found.damaged))
    return 1 if found.damaged else 0


def quarantined(arguments: argparse.Namespace) -> int:
    """`edge journal quarantine list`: what sinks refused; 1: there is something."""
    config, text = loaded(arguments)
    sinks = {sink.id for sink in config.sinks}
    db = reading(config, text, lambda: journal_file.opened(file_of(config)))
    found = reading(config, text, lambda: quarantine.refusals(db, arguments.sink))
    db.close()
    if not found and arguments.sink and arguments.sink not in sinks:  # of one that is gone there may be some
        raise Wrong(text("journal.no_sink", sink=arguments.sink))
    if arguments.json:
        print_json(found)
    elif not found:
        print(text("journal.quarantine_empty"))
    else:
        head = ["N", *(text(f"journal.{name}") for name in ("refused_by", "refused_at", "refused_line", "words"))]
        rows = [[str(r.id), r.sink, _local(r.at_ms), r.line, r.words[:MOST_WORDS]] for r in found]
        print(table(head, rows, right=(0,), most=terminal_width()))
    return 1 if found else 0


def reading(config: Config, text: Text, work: Callable[[], T]) -> T:
    """What `work` reads of the file. Raises Wrong."""
    try:
        return work()
    except (journal_file.Unusable, OSError, sqlite3.Error) as error:
        raise Wrong(text("journal.unreadable", file=str(file_of(config)), error=str(error))) from None


def span_of(arguments: argparse.Namespace, text: Text) -> tuple[int, int]:
    """The wanted time in ms, both ends included."""
    since, until = _moment(arguments.since, text), _moment(arguments.until, text) if arguments.until else 1 << 62
    if until < since:
        raise Wrong(text("journal.no_span", since=arguments.since, until=arguments.until))
    return since, until


def _moment(value: str, text: Text) -> int:
    """`now`, `30m`, `24h`, `7d` back from now, or an RFC 3339 time; ms."""
    if value == "now":
        return int(time.time() * 1000)
    if found := re.fullmatch(r"(\d+)([mhd])", value):
        return int((time.time() - int(found[1]) * AGO[found[2]]) * 1000)
    try:
        return int(datetime.fromisoformat(value).timestamp() * 1000)
    except ValueError:
        raise Wrong(text("ledger.since", value=value)) from None


def _local(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000).astimezone().isoformat(" ", "seconds")


def file_of(config: Config) -> Path:
    """The journal's file."""
    return config.state / "journal.db"


@contextmanager
def showing(words: str) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal; call what it gives with the share that is done, 0..1."""
    with Bar() as bar:
        yield lambda share: bar.show(round(100 * share), 100, words)
