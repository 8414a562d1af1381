"""Text for the terminal: aligned tables, colour only on a terminal, numbers as the language writes them."""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence

from drivers.reading import Value
from edge_agent.text import Text

COLOURS = {"good": "32", "ok": "32", "up": "32", "uncertain": "33", "attention": "33", "bad": "31", "failed": "31"}
COLOURS |= {"down": "31", "refusing": "31", "throttled": "33"}
MARKS = {"good": "●", "uncertain": "▲", "bad": "✖", "ok": "●", "attention": "▲", "failed": "✖"}
"""State is told by shape and word too, never by colour alone."""

UNITS = {"1": "", "Cel": "°C", "ug/m3": "µg/m³", "m3/s": "m³/s", "W/m2": "W/m²", "dB[SPL]": "dB", "[ppm]": "ppm"}
UNITS |= {"[ppb]": "ppb", "deg": "°", "V.A": "VA", "V.A{reactive}": "var", "kW.h": "kWh", "dB{mW}": "dBm", "MBy": "MB"}
"""UCUM code -> what people write; others are the same. JSON keeps the code."""


def unit(ucum: str) -> str:
    """A unit as people write it, in the output's character set."""
    shown = UNITS.get(ucum, ucum)
    return shown if encodable(shown) else ucum


def width(text: str) -> int:
    """Columns that the text takes."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), most: int = 0) -> str:
    """Columns as wide as their widest cell; those of `right` are flush right.

    Where `most` columns of the terminal do not suffice, the last columns are left out rather than wrapped.
    """
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(width(row[i]) for row in cells) for i in range(len(head))]
    while most and len(widths) > 1 and sum(widths) + 2 * (len(widths) - 1) > most:
        widths.pop()
    return "\n".join(_line(row[: len(widths)], widths, right) for row in cells)


def terminal_width() -> int:
    """Columns of the terminal; 0 where the output goes elsewhere and is never cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = []
    for i, cell in enumerate(row):
        space = " " * (widths[i] - width(cell))
        padded.append(space + cell if i in right else cell + space)
    return "  ".join(padded).rstrip()


def colours() -> bool:
    """True on a terminal that shows colour and whose user did not decline it (no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"


def painted(text: str, state: str) -> str:
    """The text in the colour of its state."""
    return f"\x1b[{COLOURS[state]}m{text}\x1b[0m" if colours() and state in COLOURS else text


def mark(state: str) -> str:
    """The mark of a state, as the output's character set can show it."""
    sign = MARKS.get(state, "")
    return sign if encodable(sign) else {"●": "+", "▲": "!", "✖": "x"}.get(sign, "")


def encodable(text: str) -> bool:
    """True where the output's character set has all letters of the text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def quality_words(quality: str, reason: str, text: Text) -> str:
    """Mark and word, and why where there is a reason."""
    words = f"{mark(quality)} {text(f'quality.{quality}')}"
    return words if reason == "ok" else f"{words} ({text(f'reason.{reason}')})"


def meaning(point: str, text: Text) -> str:
    """What a point measures, in the language: `met-1.weather.temp_c[lane=1]` is air temperature."""
    name = point.partition("[")[0].split(".")
    return text(f"meaning.{'.'.join(name[-2:])}")


def origin(source: str, text: Text) -> str:
    """Where a point comes from; a Modbus address in the language's own word."""
    found = re.match(r"(\S+) unit (\d+)", source)
    return text("origin.unit", bus=found[1], unit=int(found[2])) + source[found.end() :] if found else source


def service_state(state: str, text: Text) -> str:
    """As systemd names it (systemctl(1)), in words where there are some."""
    return text(f"service.{state}") if f"service.{state}" in text.sentences else state


def shown(value: Value | None, text: Text) -> str:
    """A value as the language writes it; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return text("value.yes" if value else "value.no")
    if isinstance(value, int | float):
        return text.number(value)
    return value
