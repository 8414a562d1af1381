"""`edge point`, `box`, `log`, `report`: one thing in every detail, for people and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from edge_agent import config as configuration
from edge_agent.box_now import BoxNow
from edge_agent.client import Failed, NotAllowed, NotRunning, opened
from edge_agent.commands import Wrong, asked, loaded, print_json
from edge_agent.config import Config
from edge_agent.history import Sample
from edge_agent.logbook import LogLine
from edge_agent.point_now import PointDetail, Wire
from edge_agent.show import encodable, origin, painted, quality_words, service_state, shown, unit
from edge_agent.text import Text

BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
FEW = 5
"""Readings and errors that a page shows."""
REPORT_S = 60.0
LEVELS = ("info", "warning", "error")
HOT, FULL = 75.0, 5.0


# --- edge point -------------------------------------------------------------------------------------------------------


def point(arguments: argparse.Namespace) -> int:
    """`edge point ID`: 0 good, 1 uncertain or bad."""
    config, text = loaded(arguments)
    found: PointDetail = asked(config, text, f"/point/{arguments.id}", PointDetail)
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(_point_lines(found, text, ZoneInfo(config.timezone))))
    return 0 if found.quality == "good" else 1


def _point_lines(found: PointDetail, text: Text, zone: ZoneInfo) -> list[str]:
    quality = quality_words(found.quality, found.reason, text)
    age = text("point.never") if found.age_s is None else text("point.age", age=found.age_s)
    value = f"{shown(found.value, text)} {unit(found.unit)}".strip()
    lines = [f"{found.point}  {value}  {painted(quality, found.quality)}  {age}"]
    if found.since:
        lines.append(text("point.since", time=_clock(found.since, zone), ago=time.time() - found.since))
    lines += [text("point.source", source=origin(found.source, text), file=found.configured or "–")]
    lines += [text("point.range", low=_number(found.low, text), high=_number(found.high, text))]
    if found.own_low is not None or found.own_high is not None:
        lines.append(text("point.own", low=_number(found.own_low, text), high=_number(found.own_high, text)))
    if any(each is not None for each in found.trend):
        lines.append(text("point.trend", line=spark(found.trend)))
    lines += wire_lines(found.wire, text) if found.wire else []
    lines += _samples("point.recent", found.recent, text, zone)
    lines += _samples("point.errors", found.errors, text, zone)
    return lines


def wire_lines(wire: Wire, text: Text) -> list[str]:
    """The registers behind a point, and how their device does."""
    answer = "–" if wire.answer_ms is None else text.number(wire.answer_ms)
    lines = [
        text(
            "point.registers",
            function=wire.function,
            address=wire.address,
            count=wire.count,
            type=wire.type,
            order=wire.order,
            raw=wire.raw or "–",
        ),
        text(
            "point.counts",
            ok=wire.requests_ok,
            timeouts=wire.timeouts,
            garbled=wire.garbled,
            exceptions=wire.exceptions,
            late=wire.late,
            answer=answer,
        ),
    ]
    if wire.cause:
        lines.append(text("point.failing", cause=text(f"cause_now.{wire.cause}"), next=wire.next_try_s or 0.0))
    return lines + [text("point.trap", trap=trap) for trap in wire.traps]


def _samples(key: str, samples: Sequence[Sample], text: Text, zone: ZoneInfo) -> Iterator[str]:
    if samples:
        yield text(key)
    for each in samples[:FEW]:
        reason = "" if each.reason == "ok" else f"  {text(f'reason.{each.reason}')}"
        yield f"  {_clock(each.time / 1000, zone)}  {shown(each.value, text)}{reason}"


def spark(line: Sequence[float | None]) -> str:
    """A line of numbers as bars; a blank where there is none."""
    known = [value for value in line if value is not None]
    low, span = min(known), (max(known) - min(known)) or 1.0
    bars = BARS if encodable(BARS) else PLAIN_BARS
    return "".join(" " if v is None else bars[min(7, int(8 * (v - low) / span))] for v in line)


# --- edge box ---------------------------------------------------------------------------------------------------------


def box(arguments: argparse.Namespace) -> int:
    """`edge box`: 0 well, 1 where something of the machine needs a look."""
    config, text = loaded(arguments)
    found: BoxNow = asked(config, text, "/box", BoxNow)
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(_box_lines(found, text, ZoneInfo(config.timezone))))
    return 1 if _needs_look(found) else 0


def _needs_look(found: BoxNow) -> bool:
    power, storage = found.power, found.storage
    bad = not found.clock.synced or power.low_now or power.throttled_now or power.low_before
    return bad or storage.read_only or storage.free_pct < FULL or (found.celsius or 0.0) >= HOT


def _box_lines(found: BoxNow, text: Text, zone: ZoneInfo) -> list[str]:
    clock, storage = found.clock, found.storage
    synced = text("box.synced" if clock.synced else "box.unsynced", source=clock.source)
    battery = text("box.battery" if clock.battery else "box.no_battery")
    lines = [text("box.clock", time=_clock(clock.time, zone), state=synced, battery=battery)]
    lines += [text("box.power", state=_power(found, text))]
    if found.celsius is not None:
        lines.append(text("box.heat", celsius=found.celsius))
    state = text("box.read_only") if storage.read_only else text("box.writable")
    sizes = {"free": storage.free_bytes, "total": storage.total_bytes, "percent": storage.free_pct}
    lines.append(text("box.storage", **sizes, device=storage.device, kind=storage.kind, state=state))
    wear = text("box.no_wear") if storage.wear_pct is None else f"{storage.wear_pct} %"
    lines.append(text("box.wear", wear=wear, written=storage.written_bytes or 0, errors=storage.errors or 0))
    if found.memory_available_mb is not None:
        lines.append(text("box.memory", free=found.memory_available_mb * 1e6, load=found.load_1m, cpus=found.cpus))
    lines.append(text("box.up", up=found.up_s))
    for way in found.network.interfaces:
        addresses = ", ".join(way.addresses) or text(
            "tui.network.no_address" if way.carrier else "tui.network.no_signal"
        )
        lines.append(f"{way.name}: {text(f'tui.network.{way.kind}')}, {addresses}")
    for each in found.services:
        state = service_state(each.state, text)
        lines.append(text("box.service", name=each.name, state=state, restarts=each.restarts))
    lines.append("  ".join(f"{name} {version}" for name, version in found.versions.items()))
    return lines


def _power(found: BoxNow, text: Text) -> str:
    power = found.power
    if not power.known:
        return text("box.power_unknown")
    words = ("low_now", "throttled_now", "capped_now", "low_before", "throttled_before")
    said = [text(f"box.{name}") for name in words if getattr(power, name)]
    return ", ".join(said) or text("box.power_good")


# --- edge log ---------------------------------------------------------------------------------------------------------


def log(arguments: argparse.Namespace) -> int:
    """`edge log`: the agent's newest lines; with --follow for ever."""
    config, text = loaded(arguments)
    if arguments.n < 1:
        raise Wrong(text("log.few"))
    zone = ZoneInfo(config.timezone)
    lines = [line for line in asked(config, text, "/log", list[LogLine]) if _wanted(line, arguments)]
    lines = lines[-arguments.n :]
    if arguments.json and not arguments.follow:
        print_json(lines)
        return 0
    for line in lines:
        _print_line(line, arguments, zone)
    if arguments.follow:
        _follow(config, text, arguments, max((line.number for line in lines), default=0))
    return 0


def _wanted(line: LogLine, arguments: argparse.Namespace) -> bool:
    enough = LEVELS.index(arguments.level) <= (LEVELS.index(line.level) if line.level in LEVELS else len(LEVELS))
    words = f"{line.source} {line.text}".lower()
    return enough and all(word.lower() in words for word in arguments.word)


def _follow(config: Config, text: Text, arguments: argparse.Namespace, number: int) -> None:
    zone = ZoneInfo(config.timezone)
    try:
        with opened(config.control, f"/log?follow=1&since={number}", timeout=86_400.0) as stream:
            for raw in stream:
                line = msgspec.json.decode(raw, type=LogLine)
                if _wanted(line, arguments):
                    _print_line(line, arguments, zone)
    except (NotRunning, NotAllowed, Failed) as error:
        raise Wrong(text("client.failed", error=str(error))) from None


def _print_line(line: LogLine, arguments: argparse.Namespace, zone: ZoneInfo) -> None:
    if arguments.json:
        print(msgspec.json.encode(line).decode(), flush=True)
        return
    times = f" (×{line.count})" if line.count > 1 else ""
    state = {"warning": "attention", "error": "failed"}.get(line.level, "")
    print(painted(f"{_clock(line.last, zone)} {line.level} {line.source} {line.text}{times}", state), flush=True)


# --- edge report ------------------------------------------------------------------------------------------------------


def report(arguments: argparse.Namespace) -> int:
    """`edge report`: write the bundle. 0 whole, 1 without the agent's part."""
    config, problems = configuration.check_report(arguments.config)
    raw, whole = _bundle(config, arguments.config)
    text = _text(config, arguments)
    target = arguments.file or Path(time.strftime("edge-report-%Y%m%d-%H%M%S.tar.gz", time.gmtime()))
    try:
        target.write_bytes(raw)
    except OSError as error:
        raise Wrong(text("report.not_written", file=str(target), error=error.strerror or str(error))) from None
    if arguments.json:
        print(json.dumps({"file": str(target), "bytes": len(raw), "whole": whole}))
    else:
        print(text("report.written", file=str(target), size=len(raw)))
        if not whole:
            print(text("report.partly", problems=len(problems)), file=sys.stderr)
    return 0 if whole else 1


def _bundle(config: Config | None, file: Path) -> tuple[bytes, bool]:
    if config:
        try:
            with opened(config.control, "/report", timeout=REPORT_S) as response:
                return response.read(), True
        except (NotRunning, NotAllowed, Failed):
            pass  # then what can be told without it
    from edge_agent.report import without_agent

    return without_agent(config, file), False


def _text(config: Config | None, arguments: argparse.Namespace) -> Text:
    from edge_agent.text import texts

    return texts(config.language if config else arguments.language)


# --- shared -----------------------------------------------------------------------------------------------------------


def _clock(moment: float, zone: ZoneInfo) -> str:
    """Hour, minute and second; the day too where it is not today."""
    then, now = datetime.fromtimestamp(moment, zone), datetime.now(zone)
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%d/%m %H:%M:%S")


def _number(value: float | None, text: Text) -> str:
    return "–" if value is None else text.number(value)
