"""`edge modbus scan`, `read`, `watch` and `line`: ask the running agent, print as it comes.

The agent does the work in the gaps of polling, since two programs on one serial line would spoil each other's answers.
Ctrl-C closes the connection, and the agent stops with it.
"""

from __future__ import annotations

import argparse
import re
import time
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import msgspec

from drivers import line_test, scan
from drivers.decodings import units
from drivers.frame_words import Seen
from drivers.frames import Outcome
from drivers.peek import HIGHEST, most
from drivers.settings import Bus
from edge_agent import bench_show as show
from edge_agent.bench_ask import Bar, bus_of, follow_bench, unit_of, wait_of, within
from edge_agent.bench_events import Missed, Notice, ReadAnswer, Stopped
from edge_agent.commands import Wrong, asked, loaded, print_json
from edge_agent.text import Text

READ: Any = ReadAnswer | Stopped
FUNCTIONS = {"1": 1, "co": 1, "2": 2, "di": 2, "3": 3, "hr": 3, "4": 4, "ir": 4}
EXAMPLES = {"--units": "1-32,40", "--bauds": "9600,19200", "--parities": "N,E"}
ALL_BAUDS = (9600, 19200, 4800, 38400, 115200, 2400)
"""The commonest first."""


# --- scan -------------------------------------------------------------------------------------------------------------


def scan_bus(arguments: argparse.Namespace) -> int:
    """`edge modbus scan BUS`: 0 somebody is there, 1 nobody."""
    config, text = loaded(arguments)
    bus = bus_of(config, arguments.bus, text)
    query = _scan_query(arguments, bus, text)
    bar, found, end = Bar(), [], None
    with bar, closing(follow_bench(config, text, "scan", query, scan.Event | Stopped)) as events:
        for event in events:
            if isinstance(event, scan.Progress):
                where = {"unit": event.unit, "line": event.line}
                bar.show(event.done, event.total, text("modbus.scan.progress", **where))
            elif isinstance(event, scan.Found):
                found.append(event)
                if not arguments.json:
                    bar.wipe()
                    print(show.found(event, text), flush=True)
            else:
                end = event
    if arguments.json:
        print_json({"found": found, "end": end})
    elif isinstance(end, scan.Scanned):
        print("\n".join(_scan_end(end, text)))
    return 0 if found else 1


def _scan_end(end: scan.Scanned, text: Text) -> list[str]:
    lines = [text("modbus.scan.end", asked=end.asked, found=end.found)]
    lines += [text("modbus.scan.noisy", line=line) for line in end.noisy]
    lines += [text("modbus.scan.refused", line=line) for line in end.refused]
    return lines if end.found or end.noisy else [*lines, text("modbus.scan.none")]


def _scan_query(arguments: argparse.Namespace, bus: Bus, text: Text) -> dict[str, str | int | float]:
    query: dict[str, str | int | float] = {"bus": bus.id, "models": int(not arguments.no_models)}
    if (arguments.bauds or arguments.parities) and not bus.is_serial:
        raise Wrong(text("modbus.scan.tcp", bus=bus.id))
    if arguments.units:
        query["units"] = ",".join(map(str, _units(arguments.units, bus, text)))
    if arguments.bauds:
        query["bauds"] = ",".join(map(str, _bauds(arguments.bauds, text)))
    if arguments.parities:
        query["framings"] = ",".join(_framings(arguments.parities, text))
    if arguments.functions:
        query["functions"] = ",".join(str(_function(word, text)) for word in arguments.functions.split(","))
    if (wait := wait_of(arguments.wait, text)) is not None:
        query["wait"] = wait
    return query


def _units(words: str, bus: Bus, text: Text) -> list[int]:
    """`1-32,40` as numbers, each once."""
    spans = [re.fullmatch(r"(\d+)(?:-(\d+))?", word) for word in words.split(",")]
    ends = [(int(span[1]), int(span[2] or span[1])) for span in spans if span]
    if len(ends) < len(spans) or not all(low <= high for low, high in ends):
        raise Wrong(_unreadable("--units", words, text))
    for unit in (unit for span in ends for unit in span):
        unit_of(bus, unit, text)
    return list(dict.fromkeys(unit for low, high in ends for unit in range(low, high + 1)))


def _bauds(words: str, text: Text) -> list[int]:
    if words == "all":
        return list(ALL_BAUDS)
    if not re.fullmatch(r"\d{3,7}(,\d{3,7})*", words):
        raise Wrong(_unreadable("--bauds", words, text))
    return [int(word) for word in words.split(",")]


def _unreadable(what: str, words: str, text: Text) -> str:
    return text("modbus.bad_list", what=what, value=words, example=EXAMPLES[what])


def _framings(words: str, text: Text) -> list[str]:
    letters = words.upper().split(",")
    if not set(letters) <= set(scan.PARITIES):
        raise Wrong(_unreadable("--parities", words, text))
    return [scan.PARITIES[letter] for letter in letters]


# --- read -------------------------------------------------------------------------------------------------------------


def read(arguments: argparse.Namespace) -> int:
    """`edge modbus read BUS UNIT FC ADDR N`: 0 read, 1 not."""
    config, text = loaded(arguments)
    bus, fc = bus_of(config, arguments.bus, text), _function(arguments.fc, text)
    _check_range(arguments, bus, fc, text)
    query: dict[str, Any] = {"bus": bus.id, "unit": arguments.unit, "fc": fc}
    query |= {"addr": arguments.addr, "count": arguments.count}
    if arguments.all_types or arguments.unit_of:
        query |= {"beside": 1} | ({"unit_of": arguments.unit_of} if arguments.unit_of else {})
    answer: Any = asked(config, text, f"/modbus/read?{urlencode(query)}", READ)
    if isinstance(answer, Stopped):
        raise Wrong(text(answer.what, **answer.facts, units=", ".join(units())))
    if arguments.json:
        print_json(answer)
    else:
        print(show.look(answer.look, text))
        if answer.decodings:
            rows = len(answer.decodings) if arguments.every else show.BEST
            print("\n" + show.decodings(answer.decodings, arguments.addr, arguments.unit_of, text, rows))
    return 0 if answer.look.outcome == Outcome.ok.value else 1


def _function(word: str, text: Text) -> int:
    if word.lower() not in FUNCTIONS:
        raise Wrong(text("modbus.function", value=word))
    return FUNCTIONS[word.lower()]


def _check_range(arguments: argparse.Namespace, bus: Bus, fc: int, text: Text) -> None:
    unit_of(bus, arguments.unit, text)
    fits = arguments.addr >= 0 and 1 <= arguments.count <= most(fc)
    if not fits or arguments.addr + arguments.count > HIGHEST + 1:
        raise Wrong(text("modbus.read_range", most=most(fc)))


# --- watch ------------------------------------------------------------------------------------------------------------


def watch(arguments: argparse.Namespace) -> int:
    """`edge modbus watch BUS`: every frame, until Ctrl-C or for --seconds."""
    config, text = loaded(arguments)
    bus = bus_of(config, arguments.bus, text)
    if arguments.seconds is not None:
        within("--seconds", arguments.seconds, 0.1, 1e6, text)
    end = time.monotonic() + arguments.seconds if arguments.seconds else None
    with closing(
        follow_bench(config, text, "watch", {"bus": bus.id}, Seen | Missed | Notice | Stopped, quiet=True)
    ) as events:
        for event in events:
            if arguments.json and event is not None:
                print(msgspec.json.encode(event).decode(), flush=True)
            elif isinstance(event, Seen):
                print(show.frame(event, text, full=arguments.full), flush=True)
            elif isinstance(event, Notice):
                print(text(event.what, **event.facts), flush=True)
            elif isinstance(event, Missed):
                print(text("modbus.watch.missed", count=event.frames), flush=True)
            if end and time.monotonic() > end:
                break
    return 0


# --- line -------------------------------------------------------------------------------------------------------------


def line(arguments: argparse.Namespace) -> int:
    """`edge modbus line BUS`: 0 the line is well, 1 not."""
    config, text = loaded(arguments)
    bus = bus_of(config, arguments.bus, text)
    within("--rounds", arguments.rounds, 1, line_test.MOST_ROUNDS, text)
    query = {"bus": bus.id, "rounds": arguments.rounds}
    bar, kinds = Bar(), line_test.Asking | line_test.Examined | Stopped
    with bar, closing(follow_bench(config, text, "line", query, kinds)) as events:
        for event in events:
            if isinstance(event, line_test.Asking):
                bar.show(event.done, event.total, text("modbus.line.progress", unit=event.unit))
            elif isinstance(event, line_test.Examined):
                bar.wipe()
                print_json(event) if arguments.json else print(show.examined(event, text))
                return 0 if event.finding.well else 1
    return 2
