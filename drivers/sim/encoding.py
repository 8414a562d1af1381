"""The inverse of `register.Decoder`: from a value to the words that a device answers; and the sequence number that one
point of each device carries. Plain functions, no I/O.

What holds: decoding the words of a value gives the value that a perfect reader sees, and that value encodes to the
same words again.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from drivers.reading import Quantity, Value, quantities
from drivers.register import BIT_FUNCTIONS, CODES, Register
from drivers.sim.values import usual_value

Raw = int | float | bytes
"""What stands in the registers, before scale and offset."""

LIMITS = {code: (-(1 << size - 1), (1 << size - 1) - 1) for code, size in (("s16", 16), ("s32", 32), ("s64", 64))}
LIMITS |= {code: (0, (1 << size) - 1) for code, size in (("u16", 16), ("u32", 32), ("u64", 64))}
"""Raw numbers that a type holds, both ends included."""

EXACT = 1 << 24
"""Integers up to here are exact in a 32-bit float; no sequence is longer."""
CONVENTIONAL = {"u16": 0xFFFF, "s16": 0x7FFF, "u32": 0xFFFFFFFF, "s32": 0x7FFFFFFF}
"""What makers send for "no reading" where the profile names no code; floats are NaN then."""


class Unrepresentable(ValueError):
    """The register cannot hold the value: choose another."""


def encoder(register: Register) -> Callable[[Value], bytes]:
    """From a value to the bytes on the wire; one byte, 0 or 1, for functions 1 and 2."""
    raw, pack = _unscaler(register), packer(register)
    return lambda value: pack(raw(value))


def packer(register: Register) -> Callable[[Raw], bytes]:
    """From the raw number (text: its bytes) to the bytes on the wire. Raises Unrepresentable."""
    if register.fc in BIT_FUNCTIONS:
        return lambda bit: b"\1" if bit else b"\0"
    swaps = register.order in ("BADC", "DCBA") and register.type in CODES
    width = register.words * 2
    code = f"{width}s" if register.type == "str" else CODES.get(register.type, "H")
    form = struct.Struct(("<" if swaps else ">") + code)
    reverse = register.order in ("CDAB", "BADC") and register.words > 1

    def pack(raw: Raw) -> bytes:
        try:
            wire = form.pack(raw)
        except (struct.error, OverflowError):
            raise Unrepresentable(f"{register.key}: {raw!r} is not a {register.type}") from None
        return b"".join(wire[at : at + 2] for at in range(width - 2, -1, -2)) if reverse else wire

    return pack


def _unscaler(register: Register) -> Callable[[Value], Raw]:
    """The inverse of scale and offset, in integers, so that 27.9 at 0.1 is 279 for every size of number."""
    if register.type == "str":
        return lambda text: str(text).encode("ascii")
    if register.type == "bit" or register.fc in BIT_FUNCTIONS:
        mask = 1 << register.bit if register.type == "bit" and register.fc not in BIT_FUNCTIONS else 1
        return lambda value: mask if value else 0
    numerator, denominator = Decimal(str(register.scale)).as_integer_ratio()
    if register.type in ("f32", "f64"):
        return lambda value: float(value) if numerator == denominator else float(value) * denominator / numerator
    offset = register.offset_raw
    return lambda value: _divided(float(value) if isinstance(value, str) else value, denominator, numerator) - offset


def _divided(value: float, numerator: int, denominator: int) -> int:
    """The integer nearest to value * numerator / denominator, without rounding on the way."""
    if not math.isfinite(value):
        raise Unrepresentable(f"{value} in an integer register")
    top, bottom = value.as_integer_ratio()
    top, bottom = top * numerator, bottom * denominator
    return (2 * top + bottom) // (2 * bottom)


# --- what a register can say ------------------------------------------------------------------------------------------


class Ladder(msgspec.Struct, frozen=True):
    """The values of a register that are good readings: value(k) for k from `low` to `high`, each exact."""

    low: int
    high: int
    offset: int
    numerator: int
    denominator: int

    def value(self, k: int) -> float:
        """The value of rung `k`, as a reader decodes it."""
        return (k + self.offset) * self.numerator / self.denominator

    @property
    def span(self) -> tuple[float, float]:
        """Least and greatest value."""
        return self.value(self.low), self.value(self.high)


def ladder(register: Register) -> Ladder | None:
    """The good values of `register`: within the gross range, no code for "no reading". None for bits and text."""
    quantity = quantities().get(register.canonical or "")
    low, high = (quantity.low, quantity.high) if quantity else (None, None)
    if register.fc in BIT_FUNCTIONS or register.type in ("bit", "str"):
        return None
    if register.type in ("f32", "f64"):
        return _float_ladder(low, high)
    numerator, denominator = Decimal(str(register.scale)).as_integer_ratio()
    first, last = LIMITS[register.type]
    if low is not None:
        first = max(first, math.ceil(low * denominator / numerator) - register.offset_raw)
    if high is not None:
        last = min(last, math.floor(high * denominator / numerator) - register.offset_raw)
    if register.valid:
        first, last = max(first, register.valid[0]), min(last, register.valid[1])
    last = min([last, *(code - 1 for code in register.invalid if first < code)])
    return Ladder(first, last, register.offset_raw, numerator, denominator) if first <= last else None


def _float_ladder(low: float | None, high: float | None) -> Ladder:
    """Thousandths where the range is small enough for seven digits, else whole numbers."""
    fine = high is not None and high < 10_000 and (low or 0) > -10_000
    each = 1000 if fine else 1
    first = -EXACT if low is None else math.ceil(low * each)
    last = EXACT if high is None else math.floor(high * each)
    return Ladder(first, last, 0, 1, each)


def beyond(register: Register, quantity: Quantity) -> Value | None:
    """A value that the register can hold and that lies outside the gross range; None where there is none."""
    pack = encoder(register)
    guesses = [q for q in (quantity.high, quantity.low) if q is not None]
    for limit in guesses:
        for factor in (1.5, 1.1):
            value = limit * factor if limit else -1.0
            if (quantity.high is None or value <= quantity.high) and (quantity.low is None or value >= quantity.low):
                continue
            try:
                wire = pack(value)
            except Unrepresentable:
                continue
            if wire not in _codes(register):
                return value
    return None


def sentinel(register: Register) -> bytes | None:
    """Wire bytes that mean "no reading": the profile's code, else the usual one of the type. None for bits and text."""
    if register.fc in BIT_FUNCTIONS or register.type in ("bit", "str"):
        return None
    if codes := _codes(register):
        return codes[0]
    usual = CONVENTIONAL.get(register.type)
    return packer(register)(usual if usual is not None else math.nan) if register.type not in ("u64", "s64") else None


def _codes(register: Register) -> list[bytes]:
    """Wire bytes of the profile's codes for "no reading"; those of floats are bit patterns."""
    if register.type not in ("f32", "f64"):
        return [packer(register)(code) for code in register.invalid]
    whole, part = ("I", "f") if register.type == "f32" else ("Q", "d")
    return [packer(register)(struct.unpack(part, struct.pack(whole, code))[0]) for code in register.invalid]


# --- the sequence number ----------------------------------------------------------------------------------------------


class SequencePoint(msgspec.Struct, frozen=True):
    """Which point carries the number n of a device's samples: value = low + step * ((n + shift) mod modulo)."""

    point: str
    low: float
    step: float
    modulo: int
    shift: int = 0
    """So that the first values are what one would expect of the point."""

    def code(self, value: float) -> int:
        """n mod modulo of a value that was read."""
        return (round((value - self.low) / self.step) - self.shift) % self.modulo


class Carrier(msgspec.Struct, frozen=True):
    """The register that carries the sequence number, by its place in the list that it was chosen from."""

    index: int
    rungs: Ladder
    first: int
    """Lowest rung of the sequence: the value 0 where the register can say it, else the least."""
    modulo: int
    shift: int
    """Rungs from the lowest to the usual value, where the sequence begins."""

    def value(self, n: int) -> float:
        """What the register says for sample `n`."""
        return self.rungs.value(self.first + (n + self.shift) % self.modulo)

    def point(self, name: str) -> SequencePoint:
        """How a checker finds the number again."""
        step = self.rungs.numerator / self.rungs.denominator
        return SequencePoint(name, self.rungs.value(self.first), step, self.modulo, self.shift)


def carrier(registers: Sequence[Register]) -> Carrier | None:
    """The register that holds the longest sequence, the first of equals; None where none can hold one."""
    found: list[Carrier] = []
    for index, register in enumerate(registers):
        if rungs := ladder(register):
            zero = -rungs.offset
            first = zero if rungs.low <= zero <= rungs.high else rungs.low
            modulo = min(EXACT, rungs.high - first + 1)
            usual = usual_value(register.canonical or "", rungs.value(first), rungs.value(first + modulo - 1))
            shift = int((usual - rungs.value(first)) * rungs.denominator / rungs.numerator)
            found.append(Carrier(index, rungs, first, modulo, min(shift, modulo - 1)))
    return max(found, key=lambda one: (one.modulo, -one.index), default=None)
