"""What a few registers could mean: every type, byte order, scale and neighbouring address, the likeliest first. No I/O.

Each decoding is weighed as evidence: how usual such a register is, times how much better its value fits the wanted
unit than chance would. A 16-bit number at 0.001 is a temperature of this climate for half of all contents and so says
little; a float that comes out as 27.9 says nearly all.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from drivers.reading import quantities
from drivers.register import CODES, ORDERS, shortest_f32

WORDS = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "f32": 2, "u64": 4, "s64": 4, "f64": 4}
USUAL = {"u16": 1.0, "s16": 0.7, "f32": 1.0, "u32": 0.5, "s32": 0.4, "f64": 0.05, "u64": 0.05, "s64": 0.03}
"""How usual a type is among device profiles, u16 = 1."""
USUAL_ORDER = {"ABCD": 1.0, "CDAB": 0.5, "DCBA": 0.1, "BADC": 0.08}
USUAL_SCALE = {1.0: 0.9, 0.1: 1.0, 0.01: 0.4, 0.001: 0.15, 10.0: 0.03}
BESIDE = 0.25
"""How usual it is that the value lies one address beside the one that the manual names (40001 is address 0)."""
WITHIN = 0.6
"""The same of a later address among those asked for."""
FITTING, LONGER = 3.0, 0.3
"""How much likelier a value is as long as what was asked for, and one that is longer, than a shorter one."""
UNFIT = 0.01
"""Weight of a value that the wanted unit hardly has."""
EMPTY = 0.3
"""Weight of a zero: it fits everything and shows nothing."""
TINY = 0.001
"""Floats nearer to zero, yet not zero, come from a wrong order of bytes."""

NAMES = {"C": "Cel", "°C": "Cel", "degC": "Cel", "oC": "Cel", "ppm": "[ppm]", "ppb": "[ppb]", "dB": "dB[SPL]"}
NAMES |= {"µg/m³": "ug/m3", "µg/m3": "ug/m3", "kWh": "kW.h", "°": "deg", "VA": "V.A", "lux": "lx", "W/m²": "W/m2"}
NAMES |= {"mbar": "hPa", "var": "V.A{reactive}", "l/s": "L/s"}
"""What people write -> UCUM."""
PARTS = {"cm": ("m", 100.0), "dm": ("m", 10.0), "Pa": ("hPa", 100.0), "kPa": ("hPa", 0.1), "bar": ("hPa", 0.001)}
PARTS |= {"kW": ("W", 0.001), "mA": ("A", 1000.0), "mV": ("V", 1000.0), "kV": ("V", 0.001), "Wh": ("kW.h", 1000.0)}
PARTS |= {"km/h": ("m/s", 3.6), "mg/m3": ("ug/m3", 0.001), "L/s": ("m3/s", 1000.0), "MWh": ("kW.h", 0.001)}
"""Unit -> the one of the naming table, and how many of the former make one of it."""
ENDLESS = 1e7
"""Stands for the highest value of a counter, which the naming table leaves open."""


class UnknownUnit(ValueError):
    """No quantity of the naming table has this unit."""


class Decoding(msgspec.Struct, frozen=True):
    """One way to read the registers."""

    addr: int
    """0-based address of its first register."""
    type: str
    order: str
    scale: float
    value: float
    words: tuple[int, ...]
    """The registers, as they came."""
    share: float
    """Its part of all the evidence, 0 to 1."""
    fits: bool
    """The value is one that the wanted unit can have; always true where no unit was given."""


def span(unit: str) -> tuple[float, float]:
    """The lowest and highest value that quantities of this unit have here. Raises UnknownUnit."""
    name = NAMES.get(unit, unit)
    name, factor = PARTS.get(name, (name, 1.0))
    rows = [row for row in quantities().values() if row.unit == name and row.low is not None]
    if not rows:
        raise UnknownUnit(unit)
    high = max((row.high for row in rows if row.high is not None), default=ENDLESS)
    return min(row.low or 0.0 for row in rows) * factor, high * factor


def units() -> list[str]:
    """The units that `span` knows, as people write them first."""
    table = {row.unit for row in quantities().values() if row.unit and row.low is not None}
    parts = {name for name, (whole, _) in PARTS.items() if whole in table}
    return [*sorted(table | parts), *sorted(name for name, ucum in NAMES.items() if ucum in table | parts)]


def decodings(words: Mapping[int, int], addr: int, count: int, unit: str | None = None) -> list[Decoding]:
    """Every reading of `words` (register by address) at the asked addresses and one beside, the likeliest first.

    `addr` and `count` are what was asked for. Raises UnknownUnit.
    """
    wanted = span(unit) if unit else None
    found = [
        (weight, decoding)
        for at in range(addr - 1, addr + max(count, 2))
        for weight, decoding in _at(words, at, addr, count, wanted)
    ]
    whole = sum(weight for weight, _ in found) or 1.0
    ranked = sorted(found, key=lambda pair: (-pair[0], abs(pair[1].addr - addr)))
    return [msgspec.structs.replace(each, share=weight / whole) for weight, each in ranked]


def _at(
    words: Mapping[int, int], at: int, addr: int, count: int, wanted: tuple[float, float] | None
) -> Iterator[tuple[float, Decoding]]:
    """The decodings that begin at one address, with their weights."""
    place = 1.0 if at == addr else WITHIN if addr < at < addr + count else BESIDE
    for kind, length in WORDS.items():
        run = tuple(words[each] for each in range(at, at + length) if each in words)
        if len(run) < length:
            continue
        size = FITTING if length == count else 1.0 if length < count else LONGER
        for order in ORDERS if length > 1 else ("ABCD", "BADC"):
            raw = _raw(run, kind, order)
            if raw is None:
                continue
            for scale in (1.0,) if kind in ("f32", "f64") else USUAL_SCALE:
                value = raw if scale == 1.0 else float(f"{raw * scale:.12g}")
                prior = place * size * USUAL[kind] * USUAL_ORDER[order] * USUAL_SCALE[scale]
                fits = wanted is None or _possible(value, kind, wanted)
                weight = prior * _evidence(value, kind, scale, wanted)
                yield weight, Decoding(at, kind, order, scale, value, run, 0.0, fits)


def _raw(run: Sequence[int], kind: str, order: str) -> float | None:
    """The number, None where the bits are none."""
    words = run[::-1] if order in ("CDAB", "DCBA") else run
    swap = "<" if order in ("BADC", "DCBA") else ">"
    body = struct.pack(f"{swap}{len(words)}H", *words)
    number: float = struct.unpack(">" + CODES[kind], body)[0]
    if kind not in ("f32", "f64"):
        return number
    if not math.isfinite(number):
        return None
    return shortest_f32(number) if kind == "f32" else number


def _possible(value: float, kind: str, wanted: tuple[float, float]) -> bool:
    tiny = kind in ("f32", "f64") and 0 < abs(value) < TINY
    return wanted[0] <= value <= wanted[1] and not tiny


def _evidence(value: float, kind: str, scale: float, wanted: tuple[float, float] | None) -> float:
    """How many times more likely this content is when the decoding is right than by chance."""
    if kind in ("f32", "f64") and 0 < abs(value) < TINY:
        return UNFIT * UNFIT
    likely = _shortness(value, kind) if kind in ("f32", "f64") else 1.0
    if wanted is None:
        return likely * _magnitude(value, kind)
    if not _possible(value, kind, wanted):
        return UNFIT
    if value == 0:
        return EMPTY
    return likely / max(_chance(kind, scale, wanted), 1e-4)


def weigh(value: float, kind: str, scale: float, wanted: tuple[float, float]) -> float:
    """The logarithm of the same for one type that is known: how much a value speaks for it; below 0: against it."""
    return math.log(_evidence(value, kind, scale, wanted))


def _magnitude(value: float, kind: str) -> float:
    """Without a unit: everyday numbers rather than huge ones."""
    if kind in ("f32", "f64"):
        return 8.0 if abs(value) < 1e7 else UNFIT * UNFIT
    return 1.0 / (1.0 + abs(value) / 1e4)


def _shortness(value: float, kind: str) -> float:
    """Floats of devices often have few digits, random bits hardly ever."""
    digits = len(format(abs(value), ".9g").replace(".", "").strip("0").split("e")[0])
    if kind == "f32" and not _pattern(abs(value)) & 0xFFFF:
        return 5.0 if digits < 3 else 0.2  # the second register is empty: that makes few digits by itself
    return {0: 1.0, 1: 100.0, 2: 100.0, 3: 100.0, 4: 50.0, 5: 10.0, 6: 2.0}.get(digits, 1.0)


def _chance(kind: str, scale: float, wanted: tuple[float, float]) -> float:
    """The part of all contents of such a register that gives a possible value."""
    low, high = wanted
    if kind in ("f32", "f64"):
        return _patterns(low, high) / 2.0**32
    least, most = {"u16": (0.0, 65535.0), "s16": (-32768.0, 32767.0)}.get(kind, (-math.inf, math.inf))
    low, high = max(low / scale, least), min(high / scale, most)
    even = min((high - low + 1) / 65536, 1.0)
    # Small numbers stand in registers far more often than chance would put them there, in wide ones above all.
    small = math.log1p(max(high, 0.0)) - math.log1p(max(low, 0.0)) + math.log1p(max(-low, 0.0))
    return 0.7 * even + 0.3 * min(small / math.log(65536), 1.0)


def _patterns(low: float, high: float) -> float:
    """How many 32-bit floats lie between, those next to zero left out."""
    positive = _pattern(high) - _pattern(max(low, TINY)) if high > TINY else 0
    negative = _pattern(-low) - _pattern(max(-high, TINY)) if low < -TINY else 0
    return max(positive + negative, 1)


def _pattern(value: float) -> int:
    return int(struct.unpack(">I", struct.pack(">f", min(value, 3e38)))[0])
