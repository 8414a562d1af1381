"""What all decoders share: what they return, and how numbers, times and names from a payload become ours.

Plain functions. Nothing here raises but `Malformed`: a value that cannot be used becomes None, and is counted as such.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

import msgspec

from drivers.reading import NO_FAULTS, Reason, Value

MAX_PAYLOAD = 256 * 1024
"""No sensor sends more; a longer payload is a fault and is not parsed."""
MAX_TOPIC = 512
MAX_NAME = 64
INT64 = 1 << 63
NO_TIME = 0
"""A time stamp is there but cannot be read; 1970 is outside every window."""

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")


class Malformed(ValueError):
    """Nothing of a message can be used; the text says why."""


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """The values of one series at one instant."""

    device: str
    measurement: str
    fields: tuple[str, ...]
    values: tuple[Value | None, ...]
    """One for each field; None: given, but not decodable."""
    tags: tuple[tuple[str, str], ...] = ()
    faults: Mapping[int, Reason] = NO_FAULTS
    """Reason of each None."""
    time: int | None = None
    """Milliseconds since 1970 UTC as the device says; NO_TIME: not readable; None: the payload has no stamp."""


class Payload(msgspec.Struct, frozen=True):
    """What one message holds."""

    rows: Sequence[Decoded] = ()
    unknown: Sequence[str] = ()
    """Names of fields that are in no table."""
    without_codec: str = ""
    """Device whose bytes nobody decoded: a codec is missing in the network server."""


Parsed = TypeVar("Parsed")
Decode = Callable[[str, bytes], Payload]
"""Topic and payload -> what they hold. Raises Malformed."""


def document(payload: bytes, decoder: msgspec.json.Decoder[Parsed]) -> Parsed:
    """Parse JSON. Raises Malformed for what is no JSON, too long or too deep; NaN and 1e999 are no JSON."""
    if len(payload) > MAX_PAYLOAD:
        raise Malformed(f"{len(payload)} bytes")
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as fault:
        raise Malformed(str(fault)) from None
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    except RecursionError:
        raise Malformed("nested too deep") from None


def as_float(raw: object) -> float | int | None:
    """A finite number, also as text (`"23.40"`); no boolean, nothing beyond 64 bits."""
    kind = type(raw)
    if kind is float:
        return raw if math.isfinite(raw) else None  # type: ignore[arg-type, return-value]  # narrowed by `kind`
    if kind is int:
        return raw if -INT64 <= raw < INT64 else None  # type: ignore[operator, return-value]
    return _from_text(raw) if kind is str else None  # type: ignore[arg-type]


def as_int(raw: object) -> int | None:
    """A whole number: 7, 7.0 or "7"."""
    number = as_float(raw)
    if type(number) is int or number is None:
        return number
    return int(number) if number == math.floor(number) and -INT64 <= number < INT64 else None


def as_bool(raw: object) -> bool | None:
    """true, "TRUE", "YES", "on", 1 and their opposites."""
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower() if isinstance(raw, str | int) else ""
    return True if text in _YES else False if text in _NO else None


def as_text(raw: object) -> str | None:
    """A short text without control characters."""
    return raw if isinstance(raw, str) and 0 < len(raw) <= 256 and raw.isprintable() else None


CONVERT: Mapping[str, Callable[[object], Value | None]] = {
    "float": as_float,
    "int": as_int,
    "bool": as_bool,
    "str": as_text,
}
"""By `Quantity.kind`."""


def _from_text(text: str) -> float | int | None:
    """`23.40`; Python's own `1_0`, `nan` and `inf` are no numbers of a sensor."""
    if len(text) > 64 or "_" in text or not text.isascii():
        return None
    try:
        return as_float(int(text)) if text.strip().lstrip("+-").isdigit() else as_float(float(text))
    except ValueError:
        return None


def stamp(raw: object) -> int:
    """RFC 3339 with its zone, or Unix seconds or milliseconds, as milliseconds; NO_TIME where it is neither."""
    if isinstance(raw, str) and (moment := _moment(raw)) is not None:
        return moment
    number = as_float(raw)
    if number is None or abs(number) >= 1e14:
        return NO_TIME
    # 1e11 seconds are the year 5138, 1e11 milliseconds are 1973.
    return round(number if abs(number) >= 1e11 else number * 1000)


def _moment(text: str) -> int | None:
    if len(text) < 16 or len(text) > 40:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        # Without a zone it is anybody's guess (Tasmota, Dragino's datalog): not readable.
        return None if moment.tzinfo is None else round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def device_name(text: str) -> str:
    """A device's identifier from a topic level or a name: `Trạm Lê Lợi 1` -> `tram-le-loi-1`, plain ones as they are.

    Raises Malformed where nothing is left of it, or it is longer than any name is.
    """
    if len(text) <= MAX_NAME and _PLAIN.fullmatch(text):
        return text
    if len(text) > 2 * MAX_NAME:
        raise Malformed(f"name of a device has {len(text)} characters")
    bare = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    ascii_only = "".join(c for c in bare if not unicodedata.combining(c)).lower()
    name = re.sub(r"[^a-z0-9_]+", "-", ascii_only).strip("-_")[:MAX_NAME]
    if not name:
        raise Malformed("name of the device is empty")
    return name


def tag_text(raw: object) -> str:
    """A tag's value: text, or a number as text; empty where it is of no use as a tag."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, int | float):
        return str(raw)[:MAX_NAME]
    return raw if isinstance(raw, str) and len(raw) <= MAX_NAME and raw.isprintable() else ""
