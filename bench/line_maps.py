"""Register maps that the emulated line is measured with, and how other programs would group them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import cycle

from drivers.profile import Profile, library, read_profile
from drivers.reading import quantities
from drivers.register import MAX_REGISTERS, Block, Register

TURNAROUND = {9600: 0.020, 19200: 0.010, 115200: 0.005}
"""Seconds that the device takes at each speed."""
FILL = 50
"""Registers that Telegraf's max_insert reads over at most, by default (plugins/inputs/modbus, request.go)."""

_FLOATS = [name for name, row in quantities().items() if row.kind == "float"]


def _sparse(count: int, among: int, seed: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(among), count))


MAPS: dict[str, list[int]] = {
    "sdm630": [],
    # An air station's map as they are: a few values together, then a hole, then a few more.
    "sparse-air-station": [
        0,
        1,
        2,
        10,
        11,
        30,
        31,
        32,
        33,
        64,
        80,
        81,
        100,
        101,
        102,
        150,
        151,
        152,
        200,
        230,
        231,
        300,
        301,
    ],
    "scattered-120": _sparse(120, 2000, seed=4),
}
"""Addresses of holding registers; empty: the profile of that name."""


def profile(name: str, addresses: Sequence[int]) -> Profile:
    """The device that has these registers."""
    if not addresses:
        return read_profile(library()[f"eastron-{name}"])
    pairs = zip(addresses, cycle(_FLOATS), strict=False)
    rows = [{"key": f"r{a}", "addr": a, "unit": quantities()[n].unit, "canonical": n} for a, n in pairs]
    about = dict.fromkeys(("vendor", "model", "kind", "confidence", "transport"), "bench")
    return Profile.model_validate(
        {"schema": "chilinh.device-profile/0.1-draft", "id": name, "unit_id": {}, "registers": rows, **about}
    )


def singly(registers: Iterable[Register]) -> list[Block]:
    """One request for each register."""
    return [Block(each.fc, each.addr, each.words, (each,)) for each in registers]


def grouped(registers: Iterable[Register], fill: int, widest: int = MAX_REGISTERS) -> list[Block]:
    """Greedily, over holes of up to `fill` registers: Telegraf's max_insert; with 0 its `none`, touching ones only."""
    blocks: list[Block] = []
    for each in sorted(registers, key=lambda register: (register.fc, register.addr)):
        last = blocks[-1] if blocks else None
        if last and last.fc == each.fc and each.addr - (last.start + last.count) <= fill:
            count = max(last.count, each.end - last.start)
            if count <= widest:
                blocks[-1] = Block(last.fc, last.start, count, (*last.registers, each))
                continue
        blocks.append(Block(each.fc, each.addr, each.words, (each,)))
    return blocks
