"""Sentences for people, from `text/vi.json` and `text/en.json`; numbers and durations as each language writes them.

A placeholder may say how its fact is written: `{count:number}`, `{ago:duration}` (seconds), `{bytes:size}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from string import Formatter
from typing import Any

import msgspec

LANGUAGES = ("vi", "en")
UNKNOWN = "…"
"""Stands where a sentence names a fact that was not given."""

SPACE = "\u00a0"
"""Between thousands: one at which no line breaks."""
MINUTE, HOUR, DAY = 60, 3600, 86_400
SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


class Text(Formatter):
    """The sentences of one language. Called with a key and its facts, it gives the sentence."""

    def __init__(self, language: str, sentences: Mapping[str, str], *, strict: bool = False) -> None:
        """`strict` raises KeyError where a sentence or a fact is missing; else the key or `…` stands there."""
        self.language = language
        self.sentences = sentences
        self.strict = strict

    def __call__(self, key: str, /, **facts: object) -> str:
        """The sentence, its placeholders filled."""
        if key not in self.sentences and not self.strict:
            return f"{key} {' '.join(f'{name}={value}' for name, value in facts.items())}".rstrip()
        return self.vformat(self.sentences[key], (), facts)

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """A fact by its name."""
        return kwargs[str(key)] if self.strict else kwargs.get(str(key), UNKNOWN)

    def format_field(self, value: Any, format_spec: str) -> str:
        """A fact as the placeholder asks; whole numbers without any wish are names (ports, lines) and stay bare."""
        if isinstance(value, str):
            return value
        if format_spec == "duration":
            return self.duration(value)
        if format_spec == "size":
            return self.size(value)
        if format_spec == "number" or isinstance(value, float):
            return self.number(value)
        return str(value)

    def number(self, value: float, digits: int | None = None) -> str:
        """`1 234,5` in Vietnamese, `1,234.5` in English; without `digits` as many as the number has, 6 at most."""
        bare = f"{value:,.6f}".rstrip("0").rstrip(".") if digits is None else f"{value:,.{digits}f}"
        return bare.translate(str.maketrans(",.", f"{SPACE},")) if self.language == "vi" else bare

    def duration(self, seconds: float) -> str:
        """In words, to two units at most: `34 phút`, `2 giờ 5 phút`, `3 ngày`."""
        whole = max(0, round(seconds))
        if whole < 2 * MINUTE:
            return self._units(whole, "second")
        if whole < HOUR:
            return self._units(whole // MINUTE, "minute")
        if whole < DAY:
            minutes = whole % HOUR // MINUTE
            return self._units(whole // HOUR, "hour") + (f" {self._units(minutes, 'minute')}" if minutes else "")
        hours = whole % DAY // HOUR
        return self._units(whole // DAY, "day") + (f" {self._units(hours, 'hour')}" if hours else "")

    def _units(self, count: int, unit: str) -> str:
        return self(f"time.{unit}" if count == 1 else f"time.{unit}s", n=self.number(count))

    def size(self, count: float) -> str:
        """`1,5 GiB`, to three figures."""
        for name in SIZES:
            if count < 1000 or name == SIZES[-1]:
                return f"{self.number(count, 0 if name == 'B' or count >= 100 else 1)} {name}"
            count /= 1024
        return ""


@cache
def texts(language: str, *, strict: bool = False) -> Text:
    """The texts of `vi` or `en`."""
    raw = resources.files("edge_agent").joinpath("text", f"{language}.json").read_bytes()
    return Text(language, msgspec.json.decode(raw, type=dict[str, str]), strict=strict)
