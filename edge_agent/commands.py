"""The one-shot commands: ask the running agent, print for people or as JSON, exit 0 well, 1 attention, 2 failed."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from drivers.marked import Problems
from edge_agent import config as configuration
from edge_agent.board import PointNow
from edge_agent.client import Failed, NotAllowed, NotRunning, Refused, ask
from edge_agent.config import Config, check_report, render
from edge_agent.findings import Findings
from edge_agent.show import mark, origin, painted, quality_words, shown, table, terminal_width, unit
from edge_agent.status import VERDICTS, JournalStat, LedgerRow, SinkStatus, Status
from edge_agent.text import Text, texts
from edge_agent.wrong import Wrong as Wrong  # noqa: PLC0414 - many commands take it from here

T = TypeVar("T")

HOUR_S = 3600
MOST_BYTES = 1000
"""What `edge status` prints at most: a second on a line of 9,600 baud."""


def check(arguments: argparse.Namespace) -> int:
    """`edge check`: every error of the configuration, or one line that it is good."""
    config, problems = check_report(arguments.config)
    if config is None:
        text = texts(arguments.language)
        print(*render(problems, text), sep="\n", file=sys.stderr)
        print(text("check.errors", count=len(problems), file=str(arguments.config)), file=sys.stderr)
        return 2
    text = texts(config.language)
    for path, word in config.not_built():
        print(text("trouble.not_built", path=path, what=word), file=sys.stderr)
    devices = sum(len(bus.devices) for bus in config.buses)
    print(text("check.good", file=str(arguments.config), buses=len(config.buses), devices=devices))
    return 0


def status(arguments: argparse.Namespace) -> int:
    """`edge status`: the verdict first, what is wrong, then the figures; 1 kB at most on a healthy box."""
    config, text = loaded(arguments)
    now: Status = asked(config, text, "/status", Status)
    if arguments.json:
        print_json(now)
    else:
        found = asked(config, text, "/findings", Findings)
        print("\n".join(_status_lines(now, found, text)))
    return VERDICTS.index(now.verdict)


def _status_lines(now: Status, found: Findings, text: Text) -> list[str]:
    """The verdict, the figures, and of the findings as many as fit."""
    wrong = [finding for finding in found.findings if finding.severity != "info"]
    verdict = text(f"verdict.{now.verdict}", count=len(wrong) or len(now.reasons))
    head = painted(f"{mark(now.verdict)} {now.name or now.site}: {verdict}", now.verdict)
    points = now.points
    tail = [text("status.points", total=points.total, good=points.good, uncertain=points.uncertain, bad=points.bad)]
    tail += [_sink_line(sink, text) for sink in now.sinks]
    tail.append(text("status.journal", readings=now.journal.readings, size=text.size(now.journal.bytes)))
    if now.journal.error:
        tail.append(text("status.pending", readings=now.journal.pending))
    told = [f"  - {finding.sentence} → {finding.steps[0]}" for finding in wrong]
    room = MOST_BYTES - len("\n".join([head, *tail]).encode())
    return [head, *_fitting(told, room, text), *tail]


def _fitting(lines: Sequence[str], room: int, text: Text) -> list[str]:
    """The first lines that fit into so many bytes, the very first cut short if need be; then how many are left out."""
    shown: list[str] = []
    for line in lines:
        rest = "  " + text("status.more", count=len(lines) - max(len(shown), 1))
        if not shown:
            shown.append(_cut(line, room - len(f"\n\n{rest}".encode())))
        elif len("\n".join(["", *shown, line, rest]).encode()) <= room:
            shown.append(line)
        else:
            return [*shown, rest]
    return shown


def _cut(line: str, room: int) -> str:
    """As much of the line as `room` bytes hold."""
    letters, end = line.encode(), "…"
    return line if len(letters) <= room else letters[: max(room - len(end.encode()), 0)].decode(errors="ignore") + end


def _sink_line(sink: SinkStatus, text: Text) -> str:
    state = painted(text(f"sink.{sink.state}"), sink.state)
    age = text.duration(sink.oldest_unsent_s) if sink.oldest_unsent_s is not None else "–"
    return text("status.sink", sink=sink.id, state=state, delivered=sink.delivered, waiting=sink.waiting, age=age)


def points(arguments: argparse.Namespace) -> int:
    """`edge points`: every point with value, unit, quality and age."""
    config, text = loaded(arguments)
    found: list[PointNow] = asked(config, text, "/points", list[PointNow])
    if arguments.json:
        print_json(found)
    elif not found:
        print(text("points.none"))
    else:
        print(points_table(found, text))
    return 1 if any(point.quality == "bad" for point in found) else 0


def points_table(found: Sequence[PointNow], text: Text) -> str:
    """The points as a table; a value that is old or missing never looks fresh."""
    head = [text(f"points.{name}") for name in ("point", "value", "unit", "quality", "age", "source")]
    return table(head, [_point_row(point, text) for point in found], right=(1, 4), most=terminal_width())


def _point_row(point: PointNow, text: Text) -> list[str]:
    quality = quality_words(point.quality, point.reason, text)
    age = "–" if point.age_s is None else text.duration(point.age_s)
    return [point.point, shown(point.value, text), unit(point.unit), quality, age, origin(point.source, text)]


def journal_stat(arguments: argparse.Namespace) -> int:
    """`edge journal stat`: what is on disk and how far each sink has it."""
    config, text = loaded(arguments)
    stat: JournalStat = asked(config, text, "/journal", JournalStat)
    if arguments.json:
        print_json(stat)
    else:
        span = {"first": stat.first_time or "–", "last": stat.last_time or "–"}
        print(text("journal.readings", readings=stat.readings, size=text.size(stat.bytes), **span))
        if stat.ahead_time is not None:
            print(text("journal.ahead", last=stat.ahead_time))
        for sink in stat.sinks:
            said = "sink_unconfirmed" if sink.unconfirmed else "sink"
            facts = {"cursor": sink.cursor, "waiting": sink.waiting, "unconfirmed": sink.unconfirmed}
            print(text(f"journal.{said}", sink=sink.id, **facts))
        rest = {"quarantined": stat.quarantined, "thinned": stat.thinned, "damaged": stat.damaged_files}
        print(text("journal.rest", **rest))
        if stat.written_per_day is not None:
            print(text("journal.written", written=text.size(stat.written_per_day), most=text.size(stat.daily_writes)))
    return 1 if stat.quarantined or stat.thinned or stat.damaged_files else 0


def ledger(arguments: argparse.Namespace) -> int:
    """`edge ledger`: per device and hour, what was expected and what became of it."""
    config, text = loaded(arguments)
    rows: list[LedgerRow] = asked(config, text, f"/ledger?since={_since(arguments.since, text)}", list[LedgerRow])
    if arguments.json:
        print_json(rows)
    elif not rows:
        print(text("ledger.none"))
    else:
        names = ("hour", "device", "expected", "read", "rejected", "stored", "delivered", "quarantined", "thinned")
        print(table([text(f"ledger.{name}") for name in names], [_ledger_row(row) for row in rows], right=range(2, 9)))
    return 0


def _ledger_row(row: LedgerRow) -> list[str]:
    delivered = " ".join(f"{sink}={n}" for sink, n in row.delivered.items()) or "0"
    numbers = (row.expected, row.read, sum(row.rejected.values()), row.stored)
    return [row.hour[:13], row.device, *map(str, numbers), delivered, str(row.quarantined), str(row.thinned)]


def _since(value: str, text: Text) -> int:
    """Hours since 1970: `24h`, `7d` back from now, or an RFC 3339 time."""
    if found := re.fullmatch(r"(\d+)([hd])", value):
        return int(time.time() / HOUR_S) - int(found[1]) * (24 if found[2] == "d" else 1)
    try:
        return int(datetime.fromisoformat(value).timestamp() / HOUR_S)
    except ValueError:
        raise Wrong(text("ledger.since", value=value)) from None


# --- shared -----------------------------------------------------------------------------------------------------------


def loaded(arguments: argparse.Namespace) -> tuple[Config, Text]:
    """The configuration and the sentences in its language. Raises Wrong."""
    try:
        config = configuration.load(arguments.config)
    except Problems as problems:
        text = texts(arguments.language)
        raise Wrong("\n".join(render(problems.problems, text))) from None
    return config, texts(config.language)


def asked(config: Config, text: Text, question: str, answer: type[T], **how: Any) -> T:
    """The agent's answer; `how`: see `client.ask`. Raises Wrong."""
    try:
        return ask(config.control, question, answer, **how)
    except (NotRunning, NotAllowed, Failed) as error:
        raise wrong(error, config, text) from None


def wrong(error: NotRunning | NotAllowed | Failed, config: Config, text: Text) -> Wrong:
    """The sentence for what the client raises."""
    if isinstance(error, Refused):
        return Wrong(f"{error.sentence} {text('maintain.steal')}" if error.what == "busy" else error.sentence)
    if isinstance(error, NotRunning):
        return Wrong(text("client.not_running", socket=str(config.control), file=str(config.file)))
    if isinstance(error, NotAllowed):
        return Wrong(text("client.not_allowed", socket=str(config.control), group=_group(config.control)))
    return Wrong(text("client.failed", error=str(error)))


def _group(path: Path) -> str:
    try:
        return path.group()
    except (OSError, KeyError):
        return "edge-agent"


def print_json(answer: object) -> None:
    """For scripts."""
    print(msgspec.json.format(msgspec.json.encode(answer), indent=1).decode())
