"""Registers: decoding back what was encoded, sentinels, exact scales."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.reading import Reason
from drivers.register import CODES, ORDERS, Block, Decoder, Register

WORDS = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "f32": 2, "u64": 4, "s64": 4, "f64": 4}


def register(addr: int, kind: str = "u16", **more: Any) -> Register:
    return Register(key=f"{kind}_{addr}", addr=addr, type=kind, words=more.pop("words", WORDS.get(kind, 1)), **more)


def on_the_wire(kind: str, order: str, value: float) -> list[int]:
    """The words of `value` as a device with this byte order sends them."""
    raw = struct.pack(">" + CODES[kind], value)
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


def decode(rows: list[Register], words: list[int], start: int = 0, fc: int = 3) -> tuple[list[Any], dict[int, Reason]]:
    return Decoder(Block(fc, start, len(words), tuple(rows))).decode(words)


def numbers(kind: str) -> st.SearchStrategy[Any]:
    if kind in ("f32", "f64"):
        return st.floats(width=32 if kind == "f32" else 64, allow_nan=False, allow_infinity=False)
    bits = 16 * WORDS[kind]
    low = -(1 << bits - 1) if kind[0] == "s" else 0
    return st.integers(low, low + (1 << bits) - 1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", WORDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_type_in_every_byte_order(kind: str, order: str, data: st.DataObject) -> None:
    """What a device encodes is what comes out; a float32 comes out as the shortest number that is the same float32."""
    value = data.draw(numbers(kind))
    [decoded], faults = decode([register(0, kind, order=order)], on_the_wire(kind, order, value))
    if kind == "u64" and value >= 1 << 63:
        assert (decoded, faults) == (None, {0: Reason.decode})  # a reading's integer has 64 bits, signed
        return
    assert not faults
    assert decoded == value or struct.pack(">f", decoded) == struct.pack(">f", value)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(list(WORDS)), st.sampled_from(ORDERS), st.integers(0, 3)), max_size=12),
    st.data(),
)
def test_many_types_in_one_block(layout: list[tuple[str, str, int]], data: st.DataObject) -> None:
    """Values next to each other, with holes between, do not disturb one another."""
    rows: list[Register] = []
    words: list[int] = []
    values = []
    for kind, order, hole in layout:
        words += [0xDEAD] * hole
        value = data.draw(numbers(kind).filter(lambda number: abs(number) < 1 << 62))
        rows.append(register(40 + len(words), kind, order=order))
        words += on_the_wire(kind, order, value)
        values.append(value)
    if not rows:
        return
    decoded, faults = decode(rows, words, start=40)
    assert not faults
    assert [struct.pack(">f", one) for one in decoded] == [struct.pack(">f", one) for one in values]


def test_a_scale_of_a_tenth() -> None:
    """279 at 0.1 is 27.9, not 27.900000000000002; so for every raw number and decimal scale."""
    assert decode([register(0, scale=0.1)], [279])[0] == [27.9]
    for scale, digits in ((0.1, 1), (0.01, 2), (0.001, 3)):
        rows = [register(0, scale=scale)]
        for raw in range(0, 65536, 7):
            assert decode(rows, [raw])[0] == [round(raw * scale, digits)]


def test_an_offset_comes_before_the_scale() -> None:
    """value = (raw + offset) * scale."""
    assert decode([register(0, offset_raw=-400, scale=0.1)], [679])[0] == [27.9]
    assert decode([register(0, offset_raw=-400)], [679])[0] == [279]
    assert decode([register(0, "u64", offset_raw=-400)], [0, 0, 0, 679])[0] == [279]


def test_a_sentinel_is_marked_and_keeps_its_value() -> None:
    """A raw code that means "no reading" is bad with reason sentinel; other values stay good."""
    values, faults = decode([register(0, "s16", invalid=(-32768,)), register(1)], [0x8000, 5])
    assert values == [-32768, 5]
    assert faults == {0: Reason.sentinel}


def test_a_sentinel_of_a_float_is_its_bit_pattern() -> None:
    """For f32 the code is the pattern on the wire, in any byte order; a NaN pattern stands for every NaN."""
    row = register(0, "f32", order="CDAB", invalid=(0x7FC00000, 0xC61C3C00))
    assert decode([row], on_the_wire("f32", "CDAB", -9999.0))[1] == {0: Reason.sentinel}
    for pattern in ([0x0000, 0x7FC0], [0x1234, 0xFFC1]):
        assert decode([row], pattern) == ([None], {0: Reason.sentinel})
    assert decode([row], on_the_wire("f32", "CDAB", 21.5)) == ([21.5], {})
    without = register(0, "f32", order="CDAB", invalid=(0xC61C3C00,))
    assert decode([without], [0x0000, 0x7FC0]) == ([None], {0: Reason.decode})


def test_a_swapped_sentinel_of_an_integer() -> None:
    """The code is compared with the number, not with the bytes on the wire."""
    row = register(0, "u32", order="DCBA", invalid=(0xFFFF0000,))
    assert decode([row], on_the_wire("u32", "DCBA", 0xFFFF0000))[1] == {0: Reason.sentinel}


def test_a_raw_number_out_of_the_valid_range() -> None:
    """`valid` works like a sentinel for everything outside of it."""
    rows = [register(0, "s16", valid=(-400, 1250))]
    assert [decode(rows, [raw & 0xFFFF])[1] for raw in (-401, -400, 1250, 1251)] == [
        {0: Reason.sentinel},
        {},
        {},
        {0: Reason.sentinel},
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_float_that_is_no_number(value: float) -> None:
    """NaN and infinity never become values."""
    for kind in ("f32", "f64"):
        for order in ORDERS:
            assert decode([register(0, kind, order=order)], on_the_wire(kind, order, value)) == (
                [None],
                {0: Reason.decode},
            )


def test_a_scale_that_leads_out_of_the_numbers() -> None:
    """A product that is infinite, or an integer beyond 64 bits, is no value either."""
    huge = on_the_wire("f64", "ABCD", 1e308)
    assert decode([register(0, "f64", scale=1000)], huge) == ([None], {0: Reason.decode})
    assert decode([register(0, "s64", scale=1000)], on_the_wire("s64", "ABCD", 1 << 60)) == ([None], {0: Reason.decode})


def test_registers_that_overlap() -> None:
    """A status word, its bits and a 32-bit view of the same words are all decoded."""
    rows = [register(0, "u32"), register(0), register(0, "bit", bit=0), register(0, "bit", bit=15), register(1)]
    values, faults = decode(rows, [0x8000, 0x0007])
    assert values == [0x80000007, 0x8000, False, True, 7]
    assert not faults


def test_a_fault_in_an_overlapping_layer() -> None:
    """Faults keep their place where overlapping registers are decoded one layer after the other."""
    rows = [register(0, "f32"), register(0), register(1, invalid=(0,))]
    assert decode(rows, [0x7F80, 0])[1] == {0: Reason.decode, 2: Reason.sentinel}


def test_coils() -> None:
    """Functions 1 and 2 give booleans, picked by address."""
    rows = [register(10, "bit", fc=1), register(13, "bit", fc=1)]
    assert decode(rows, [1, 0, 0, 0, 1], start=10, fc=1) == ([True, False], {})


def test_text() -> None:
    """Two characters a register, up to the first zero; what is not ASCII is no value."""
    words = [0x4144, 0x414D, 0x2000, 0x0000]
    assert decode([register(0, "str", words=4)], words) == (["ADAM"], {})
    assert decode([register(0, "str", words=1)], [0xFF41]) == ([None], {0: Reason.decode})
