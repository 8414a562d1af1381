"""Registers of a Modbus device: their types, and decoding a block of them. No I/O.

A block is read as one request (`planner.py` makes them). Its `Decoder` puts the words of low-word-first values in
order, unpacks all fields with one precompiled `struct` and turns each raw number into its quantity.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import call, itemgetter, mul, truediv
from typing import Any

import msgspec

from drivers.reading import Reason, Value

READ_FUNCTIONS = (1, 2, 3, 4)
BIT_FUNCTIONS = (1, 2)
MAX_REGISTERS = 125
MAX_BITS = 2000
"""Most that one request may ask for (Modbus application protocol 1.1b3, 6.1 to 6.4)."""

CODES = {"u16": "H", "s16": "h", "u32": "I", "s32": "i", "f32": "f", "u64": "Q", "s64": "q", "f64": "d"}
MAY_FAIL = ("u64", "s64", "f32", "f64", "str")
"""Types of which not every content is a value."""
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
"""Bytes of the big-endian value in wire order: high word first, low word first, and both with swapped bytes."""


class Register(msgspec.Struct, frozen=True):
    """One value in a device's register map."""

    key: str
    addr: int
    """0-based PDU address, as it goes on the wire."""
    fc: int = 3
    """Function that reads it: 1 coils, 2 discrete inputs, 3 holding, 4 input registers."""
    type: str = "u16"
    """A key of CODES, `bit`, or `str` (two characters a register)."""
    order: str = "ABCD"
    words: int = 1
    """Registers it takes; for coils and discrete inputs, bits (always 1)."""
    scale: float = 1.0
    offset_raw: int = 0
    """value = (raw + offset_raw) * scale"""
    unit: str = ""
    """UCUM code."""
    canonical: str | None = None
    """`measurement.field` of the naming table; None: read on request only."""
    invalid: tuple[int, ...] = ()
    """Raw numbers that mean "no reading"; for f32 and f64 the bit pattern."""
    valid: tuple[int, int] | None = None
    """Raw numbers outside this range mean "no reading"."""
    bit: int = 0
    """For type `bit` in a register: which bit, 0 the lowest."""
    once: bool = False
    """Reading it takes its content away: read by itself, and never twice for one value."""
    alarm: bool = False
    """An alarm hangs on it: it is read before others, in blocks of its own kind."""

    @property
    def end(self) -> int:
        """First address after it."""
        return self.addr + self.words


class Block(msgspec.Struct, frozen=True):
    """One read request and the registers it brings, in order of address."""

    fc: int
    start: int
    count: int
    """Registers, or bits for functions 1 and 2."""
    registers: tuple[Register, ...]

    def holes(self) -> list[tuple[int, int]]:
        """Address ranges (first, after last) that the request reads though no wanted register lies there."""
        found, reached = [], self.start
        for register in self.registers:
            if register.addr > reached:
                found.append((reached, register.addr))
            reached = max(reached, register.end)
        if reached < self.start + self.count:
            found.append((reached, self.start + self.count))
        return found

    def middle(self) -> int:
        """Address of the register at which the block falls into halves; 0: it has but one."""
        return self.registers[len(self.registers) // 2].addr if len(self.registers) > 1 else 0


class Decoder:
    """Turns the words of one block's answer into values."""

    def __init__(self, block: Block) -> None:
        """Compile the struct and one converter per register."""
        self.registers = block.registers
        self._pick = [r.addr - block.start for r in block.registers] if block.fc in BIT_FUNCTIONS else None
        self._pack = struct.Struct(f">{block.count}H").pack
        if self._pick is None:
            self._layers = [_Layer(block, rows) for rows in _disjoint(block.registers)]

    def decode(self, words: Sequence[int]) -> tuple[list[Value | None], dict[int, Reason]]:
        """Values in the order of the block's registers, and the reason of each that is not good.

        `words` are the block's registers (0..65535 each), or its bits for functions 1 and 2.
        """
        if self._pick is not None:
            return [bool(words[at]) for at in self._pick], {}
        return self.decode_bytes(self._pack(*words))

    def decode_bytes(self, body: bytes) -> tuple[list[Value | None], dict[int, Reason]]:
        """The same of an answer's data bytes; bits are packed there, the lowest first (application protocol 6.1)."""
        if self._pick is not None:
            return [bool(body[at >> 3] >> (at & 7) & 1) for at in self._pick], {}
        if len(self._layers) == 1:
            return self._layers[0].decode(body)
        values: list[Value | None] = [None] * len(self.registers)
        faults: dict[int, Reason] = {}
        for layer in self._layers:
            some, wrong = layer.decode(body)
            for at, value in zip(layer.positions, some, strict=True):
                values[at] = value
            faults.update({layer.positions[i]: reason for i, reason in wrong.items()})
        return values, faults


class _Layer:
    """Registers of a block that do not overlap: one struct unpacks them all."""

    def __init__(self, block: Block, positions: list[int]) -> None:
        rows = [block.registers[i] for i in positions]
        order, code = _layout(block, rows)
        self.positions = positions
        self._in_order = itemgetter(*order) if order != list(range(block.count)) else None
        self._words = struct.Struct(f">{block.count}H")
        self._unpack = struct.Struct(code).unpack
        self._functions, self._operands = zip(*map(_operation, rows), strict=True)
        self._may_fail = any(register.type in MAY_FAIL for register in rows)
        self._guarded = [(i, _number(r), _codes(r), r.valid) for i, r in enumerate(rows) if r.invalid or r.valid]

    def decode(self, body: bytes) -> tuple[list[Value | None], dict[int, Reason]]:
        if self._in_order:
            body = self._words.pack(*self._in_order(self._words.unpack(body)))
        raw = self._unpack(body)
        values = list(map(call, self._functions, raw, self._operands))
        faults: dict[int, Reason] = {}
        if self._may_fail:
            faults = {i: Reason.decode for i, value in enumerate(values) if value is None}
        for i, number_of, codes, valid in self._guarded:
            number = number_of(raw[i])
            if _matches(number, codes) or (valid and not valid[0] <= number <= valid[1]):
                faults[i] = Reason.sentinel
        return values, faults


def _disjoint(registers: Sequence[Register]) -> list[list[int]]:
    """Positions of the registers in as few layers as needed, so that within a layer none overlaps another."""
    layers: list[list[int]] = []
    for i, register in enumerate(registers):
        layer = next((rows for rows in layers if registers[rows[-1]].end <= register.addr), None)
        if layer is None:
            layers.append([i])
        else:
            layer.append(i)
    return layers


def _layout(block: Block, rows: list[Register]) -> tuple[list[int], str]:
    """Order of the words that suits the struct, and the struct's code for the whole block."""
    order = list(range(block.count))
    code, reached = ">", block.start
    for register in rows:
        at = register.addr - block.start
        if register.order in ("CDAB", "BADC"):
            order[at : at + register.words] = order[at : at + register.words][::-1]
        code += "xx" * (register.addr - reached)
        as_bytes = register.type == "str" or _swaps(register)
        code += f"{register.words * 2}s" if as_bytes else CODES.get(register.type, "H")
        reached = register.end
    return order, code + "xx" * (block.start + block.count - reached)


def _swaps(register: Register) -> bool:
    """True where the bytes within each word are swapped: its words reversed (BADC) or not (DCBA), little-endian."""
    return register.order in ("BADC", "DCBA") and register.type in CODES


def _operation(register: Register) -> tuple[Callable[[Any, Any], Value | None], int]:
    """From what the struct gives to the value, as a function and its second operand.

    For nearly all registers the function is one of C, which halves the cost of a poll.
    """
    numerator, denominator = Decimal(str(register.scale)).as_integer_ratio()
    if register.type in ("u16", "s16", "u32", "s32") and not _swaps(register) and not register.offset_raw:
        if denominator == 1:
            return mul, numerator
        if numerator == 1:
            return truediv, denominator
    convert = _converter(register)
    return lambda raw, _: convert(raw), 0


def _converter(register: Register) -> Callable[..., Value | None]:
    """From what the struct gives to the value, None where nothing can be decoded."""
    if register.type == "str":
        return _text
    if register.type == "bit":
        mask = 1 << register.bit
        return lambda word: bool(word & mask)
    scaled = _scaler(register)
    if not _swaps(register):
        return scaled
    number_of = _number(register)
    return lambda swapped: scaled(number_of(swapped))


def _number(register: Register) -> Callable[..., float]:
    """From what the struct gives to the raw number: with swapped bytes it gives them as they are."""
    if not _swaps(register):
        return lambda number: number
    unpack = struct.Struct("<" + CODES[register.type]).unpack
    return lambda swapped: unpack(swapped)[0]


def _scaler(register: Register) -> Callable[..., float | None]:
    """The scale as a fraction of integers, so that 279 at 0.1 is 27.9 and not 27.900000000000002."""
    numerator, denominator = Decimal(str(register.scale)).as_integer_ratio()
    offset = register.offset_raw
    if register.type in ("f32", "f64"):
        shorten = shortest_f32 if register.type == "f32" else float
        return lambda raw: _scaled_float(shorten(raw), numerator, denominator) if math.isfinite(raw) else None
    if denominator == 1 and register.type in ("u64", "s64"):
        return lambda raw: _in_64_bits((raw + offset) * numerator)
    if denominator == 1:
        return lambda raw: (raw + offset) * numerator
    return lambda raw: (raw + offset) * numerator / denominator


def _scaled_float(value: float, numerator: int, denominator: int) -> float | None:
    scaled = value if numerator == denominator else value * numerator / denominator
    return scaled if math.isfinite(scaled) else None


def _in_64_bits(number: int) -> int | None:
    return number if -(1 << 63) <= number < 1 << 63 else None


_f32 = struct.Struct("f")


def shortest_f32(value: float) -> float:
    """The number with the fewest digits that is the same 32-bit float: 230.1, not 230.10000610351562."""
    for form in (".7g", ".8g"):
        short = float(format(value, form))
        if abs(short) < 3.4e38 and _f32.unpack(_f32.pack(short))[0] == value:
            return short
    return float(format(value, ".9g"))


def _text(raw: bytes) -> str | None:
    try:
        return raw.split(b"\0", 1)[0].decode("ascii").strip()
    except UnicodeDecodeError:
        return None


def _codes(register: Register) -> frozenset[float]:
    """The `invalid` codes as the struct gives them: bit patterns of floats become floats."""
    if register.type in ("f32", "f64"):
        whole, part = ("I", "f") if register.type == "f32" else ("Q", "d")
        return frozenset(struct.unpack(part, struct.pack(whole, code))[0] for code in register.invalid)
    return frozenset(register.invalid)


def _matches(raw: float, codes: frozenset[float]) -> bool:
    """NaN is equal to nothing, so a NaN pattern among the codes stands for every NaN."""
    return raw in codes or (_is_nan(raw) and any(_is_nan(code) for code in codes))


def _is_nan(number: float) -> bool:
    return isinstance(number, float) and math.isnan(number)
