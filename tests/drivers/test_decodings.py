"""Which decoding of a few registers comes first."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping

import pytest

from drivers.decodings import USUAL_SCALE, WORDS, UnknownUnit, decodings, span, units
from drivers.profile import library, read_profile
from drivers.reading import quantities
from drivers.recognise import blocks_of
from drivers.register import CODES, Register

NEIGHBOURS = {98: 0, 99: 512, 102: 31, 103: 7, 104: 60021}
"""Registers of something else around addresses 100 and 101."""


def registers(code: str, value: float, order: str = "ABCD", at: int = 100) -> Mapping[int, int]:
    """A value laid into registers, strangers around it."""
    body = struct.pack(">" + code, value)
    words = list(struct.unpack(f">{len(body) // 2}H", body))
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [(word & 0xFF) << 8 | word >> 8 for word in words]
    return {**NEIGHBOURS, **{at + i: word for i, word in enumerate(words)}}


@pytest.mark.parametrize("order", ["ABCD", "CDAB", "BADC", "DCBA"])
@pytest.mark.parametrize(("value", "unit"), [(27.9, "degC"), (231.4, "V"), (1008.25, "hPa"), (49.98, "Hz")])
def test_float_of_any_order_comes_first(order: str, value: float, unit: str) -> None:
    """The order of bytes of a float is found from its value and unit."""
    best = decodings(registers("f", value, order), 100, 2, unit)[0]
    assert (best.type, best.order, best.addr, best.value) == ("f32", order, 100, value)


@pytest.mark.parametrize(("raw", "scale", "unit"), [(279, 0.1, "degC"), (2314, 0.1, "V"), (10083, 0.1, "hPa")])
def test_scaled_integer_comes_first(raw: int, scale: float, unit: str) -> None:
    """A 16-bit number with its scale is found from its unit."""
    best = decodings({**NEIGHBOURS, 100: raw, 101: 655}, 100, 1, unit)[0]
    assert (best.type, best.scale, best.addr) == ("u16", scale, 100)


def test_negative_temperature_is_signed() -> None:
    """A number just below 65,536 is a small negative one where the unit allows it."""
    best = decodings({**NEIGHBOURS, 100: 0x10000 - 35, 101: 0}, 100, 1, "degC")[0]
    assert (best.type, best.value) == ("s16", -3.5)


def test_address_off_by_one_is_found() -> None:
    """The manual counts from 1: the value lies one register before the one asked for."""
    best = decodings({**registers("f", 231.4, at=99), 101: 9, 102: 40000}, 100, 2, "V")[0]
    assert (best.addr, best.type, best.value) == (99, "f32", 231.4)


def registers_of_all_profiles() -> Iterator[tuple[Register, float]]:
    """Every polled register with a usual scale, and a value that it can have, drawn from a seed."""
    draw = random.Random(1)
    for path in library().values():
        for register in (row for block in blocks_of(read_profile(path)) for row in block.registers):
            quantity = quantities().get(register.canonical or "")
            usual = register.scale == 1 or (register.scale in USUAL_SCALE and register.type[0] in "us")
            if register.type not in WORDS or not usual or quantity is None or quantity.unit == "1":
                continue
            if quantity.low is not None and quantity.high is not None:
                raw = draw.uniform(quantity.low, quantity.high) / register.scale
                yield register, float(f"{raw:.6g}") if register.type[0] == "f" else round(raw)


def test_right_decoding_is_among_the_first() -> None:
    """Of the registers of all device profiles, the right decoding is among the first three, mostly."""
    tried, right = 0, 0
    for register, raw in registers_of_all_profiles():
        try:
            words = registers(CODES[register.type], raw, register.order)
        except struct.error:
            continue  # the register cannot hold the whole gross range
        value = raw * register.scale
        best = decodings(words, 100, register.words, register.unit)[:3]
        tried += 1
        right += any(each.addr == 100 and each.value == pytest.approx(value, rel=1e-6) for each in best)
    assert tried > 100
    assert right / tried >= 0.85, f"{right} of {tried}"


def test_shares_add_up_to_one() -> None:
    """Every decoding has its part of the evidence, and all of them are there: types, orders, addresses."""
    found = decodings(registers("f", 27.9), 100, 2)
    assert sum(each.share for each in found) == pytest.approx(1)
    assert {each.addr for each in found} == {99, 100, 101}
    assert {(each.type, each.order) for each in found} >= {("f32", "CDAB"), ("s32", "DCBA"), ("u16", "BADC")}
    assert found[0].value == 27.9


def test_not_a_number_is_no_decoding() -> None:
    """Bits that are no number are left out."""
    found = decodings({0: 0x7FC0, 1: 0}, 0, 2)
    assert not [each for each in found if each.type == "f32" and each.order == "ABCD"]


def test_unknown_unit_is_refused() -> None:
    """A unit without any quantity has no span, and the known ones are named."""
    with pytest.raises(UnknownUnit):
        span("furlong")
    assert {"degC", "cm", "V", "kPa"} <= set(units())
    assert all(span(unit)[0] < span(unit)[1] for unit in units())
    assert span("cm") == pytest.approx((-500, 4000))
