"""What `edge modbus scan`, `read`, `watch` and `line` print for people. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from drivers.decodings import Decoding
from drivers.frame_words import PointSeen, Seen
from drivers.frames import Outcome
from drivers.line_findings import Finding, UnitCounts
from drivers.line_test import Examined
from drivers.peek import Look
from drivers.reading import Value
from drivers.scan import Found
from edge_agent.show import encodable, mark, painted, table, unit
from edge_agent.text import Text

EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""Milliseconds: edges of the histogram's columns."""
BARS, PLAIN_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*%#"
REFERENCES = {1: 1, 2: 10001, 3: 40001, 4: 30001}
"""What manuals call address 0 of each function."""
KNOWN_CODES = (1, 2, 3, 4, 5, 6, 8, 10, 11)
HEAD = 12
"""Bytes of a long frame that are shown."""
BEST = 12
"""Decodings that are shown."""


# --- scan -------------------------------------------------------------------------------------------------------------


def found(each: Found, text: Text) -> str:
    """One unit that is there."""
    sure = [model.profile for model in each.models if model.certain]
    maybe = [model.profile for model in each.models if not model.certain]
    words = [text("modbus.scan.unit", unit=each.unit, line=each.line, answer=_answer(each, text))]
    if each.device:
        words.append(text("modbus.scan.configured", device=each.device))
    if sure:
        words.append(text("modbus.scan.is", models=" / ".join(sure)))
    elif maybe:
        words.append(text("modbus.scan.maybe", models=" / ".join(maybe)))
    return "; ".join(words)


def _answer(each: Found, text: Text) -> str:
    word, _, code = each.answer.partition(" ")
    ms = text.number(each.ms, 0)
    if word in (Outcome.ok.value, Outcome.exception.value):
        return text("modbus.scan.answers_code" if code else "modbus.scan.answers", ms=ms, code=code)
    return text(f"modbus.scan.{word}")


# --- read -------------------------------------------------------------------------------------------------------------


def look(seen: Look, text: Text) -> str:
    """Frames, what became of them, and the registers as they are."""
    lines = [f"TX  {seen.sent}", f"RX  {seen.heard or '–'}  {text.number(seen.ms, 1)} ms"]
    if seen.outcome != Outcome.ok.value:
        return "\n".join([*lines, painted(failure(seen.outcome, seen.code, text), "bad")])
    head = [text(f"modbus.read.{name}") for name in ("address", "reference", "hex", "u16", "s16")]
    mine = [(at, word) for at, word in sorted(seen.words.items()) if seen.addr <= at < seen.addr + seen.count]
    rows = [
        [str(at), str(REFERENCES[seen.fc] + at), f"{word:04X}", str(word), str(word - (word >> 15 << 16))]
        for at, word in mine
    ]
    if seen.fc in (1, 2):
        head, rows = [head[0], head[1], "0/1"], [[row[0], row[1], row[3]] for row in rows]
    return "\n".join([*lines, table(head, rows, right=range(5))])


def failure(outcome: str, code: int, text: Text) -> str:
    """Why there is no answer, and what to try."""
    if outcome == Outcome.exception.value:
        why = text(f"modbus.exception.{code}") if code in KNOWN_CODES else text("modbus.exception.other")
        return text("modbus.read.exception", code=code, why=why)
    return text(f"modbus.read.{outcome}")


def decodings(ranked: Sequence[Decoding], addr: int, wanted: str | None, text: Text, most: int = BEST) -> str:
    """The likeliest readings of the registers."""
    head = [text(f"modbus.read.{name}") for name in ("value", "type", "order", "scale", "address", "hex", "share")]
    rows = [
        [
            f"{_plain(each.value, text)} {wanted or ''}".strip(),
            each.type,
            each.order if each.type not in ("u16", "s16") or each.order != "ABCD" else "",
            "" if each.scale == 1 else f"×{text.number(each.scale)}",
            f"{each.addr}" + (f" ({each.addr - addr:+d})" if each.addr != addr else ""),
            " ".join(f"{word:04X}" for word in each.words),
            f"{text.number(100 * each.share, 0)} %",
        ]
        for each in ranked[:most]
    ]
    return table(head, rows, right=(0, 6))


def _plain(value: float, text: Text) -> str:
    """A number of any size, short."""
    if value and not 1e-4 <= abs(value) < 1e10:  # beyond, digits say nothing
        return f"{value:.3g}"
    return text.number(value)


# --- watch ------------------------------------------------------------------------------------------------------------


def frame(seen: Seen, text: Text, *, full: bool = False) -> str:
    """One frame: time, gap, bytes, and what they say."""
    clock = datetime.fromtimestamp(seen.time_ms / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    arrow = "TX" if seen.sent else "RX"
    data = seen.data if full else shortened(seen.data)
    return f"{clock} {seen.gap_ms:+9.1f} ms  {arrow}{'*' if seen.guest else ' '} {data or '–'}   {words(seen, text)}"


def shortened(data: str) -> str:
    """A long frame by its head and its tail: what it says stands beside it."""
    octets = data.split()
    return " ".join([*octets[:HEAD], "…", *octets[-2:], f"({len(octets)})"]) if len(octets) > HEAD + 5 else data


def words(seen: Seen, text: Text) -> str:
    """What a frame says."""
    who = f"{seen.device} ({seen.unit})" if seen.device else str(seen.unit)
    if seen.sent and seen.start is not None:
        if seen.count is None:
            return text("modbus.watch.writes", who=who, fc=seen.fc, addr=seen.start)
        last = seen.start + seen.count - 1
        return text("modbus.watch.reads", who=who, fc=seen.fc, first=seen.start, last=last)
    if seen.verdict == Outcome.ok.value:
        return "  ".join(point(each, text) for each in seen.points) or text("modbus.watch.ok", who=who)
    if seen.code:
        return painted(failure(Outcome.exception.value, seen.code, text), "bad")
    return painted(text(f"modbus.watch.{seen.verdict}", who=who), "bad")


def point(each: PointSeen, text: Text) -> str:
    """A point with its value."""
    return f"{each.point} {_shown(each.value, text)} {unit(each.unit)}".rstrip()


def _shown(value: Value | None, text: Text) -> str:
    if value is None:
        return "–"
    return text.number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


# --- line -------------------------------------------------------------------------------------------------------------


def examined(line: Examined, text: Text) -> str:
    """The finding first, then its causes, the counts and how fast each unit answers."""
    lines = finding(line.finding, line.bus, text)
    asked = [each for each in line.units if each.asked]
    if not asked:
        return "\n".join(lines)
    names: tuple[str, ...] = (
        "unit",
        "device",
        "asked",
        "ok",
        "timeout",
        "garbled",
        "exception",
        "short",
        "late",
        "median",
    )
    if any(each.echo for each in asked):
        names += ("echo",)
    head = [text(f"modbus.line.{name}") for name in names]
    rows = [_counts(each, text)[: len(names)] for each in asked]
    lines += ["", table(head, rows, right=(0, *range(2, len(names))))]
    if any(each.answers_ms for each in asked):
        lines += ["", text("modbus.line.histogram"), *histogram(asked)]
    return "\n".join(lines)


def finding(told: Finding, bus: str, text: Text) -> list[str]:
    """The finding in a sentence, and its causes in the order to try."""
    state = "good" if told.well else "bad"
    lines = [painted(f"{mark(state)} {text(f'line.{told.what}', **told.facts)}", state)]
    return lines + [f"  {i}. {text(f'cause.{name}', bus=bus, **told.facts)}" for i, name in enumerate(told.causes, 1)]


def _counts(each: UnitCounts, text: Text) -> list[str]:
    spoilt = f"{each.garbled} ({text.number(100 * each.garbled / each.asked, 0)} %)" if each.garbled else "0"
    numbers = (each.asked, each.ok, each.timeout, spoilt, each.exception, each.short, each.late)
    median = "–" if each.median_ms is None else f"{text.number(each.median_ms, 1)} ms"
    return [str(each.unit), each.device or "–", *map(str, numbers), median, str(each.echo)]


def histogram(units: Sequence[UnitCounts]) -> list[str]:
    """How long each unit's answers took: a row a unit, a column a range of milliseconds, as high as its share."""
    columns = [(0, EDGES[0]), *pairwise(EDGES), (EDGES[-1], 10**9)]
    labels = [f"<{high}" if high < 10**9 else f">{low}" for low, high in columns]
    names = [f"{each.device or '–'} ({each.unit})" for each in units]
    wide = max(len(name) for name in names)
    lines = [" " * wide + "  " + " ".join(label.rjust(5) for label in labels) + "  ms"]
    for each, name in zip(units, names, strict=True):
        shares = [sum(low <= ms < high for ms in each.answers_ms) for low, high in columns]
        bars = [_bar(share / len(each.answers_ms)) if each.answers_ms else " " for share in shares]
        lines.append(name.ljust(wide) + "  " + " ".join((bar * 4).rjust(5) for bar in bars).rstrip())
    return lines


def _bar(share: float) -> str:
    bars = BARS if encodable(BARS) else PLAIN_BARS
    return bars[0] if share == 0 else bars[max(1, round(share * (len(bars) - 1)))]
