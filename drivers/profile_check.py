"""What fits no device: the checks across the parts of a profile, each fault at its place in the file.

Whatever passes here can be planned, decoded and written to without a fault of the program later: a profile that is
wrong costs a sentence at `edge check`, never a bus that stands still.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from drivers.marked import Loc, Problem, Tree
from drivers.marked_words import nearest
from drivers.profile import LENGTHS, Profile, open_units
from drivers.profile_form import Row, Setting, Variant
from drivers.reading import quantities
from drivers.register import BIT_FUNCTIONS, CODES, Register
from drivers.settings import LINE_UNITS

FLOATS = ("f32", "f64")
LAST = 65536
"""First address that does not exist."""
ADDRESS = re.compile(r"(?<!IP )\b(address|addr|slave|unit id)\b|(?<!IP )\bđịa chỉ\b(?! IP)", re.IGNORECASE)
"""How the unit number is called among a device's settings."""
MOST = float(1 << 63)
"""Numbers are kept in 64 bits."""


def incoherent(profile: Profile, tree: Tree, stem: str) -> Iterator[Problem]:
    """Every fault; `stem` is the file's name, by which devices name the profile."""
    if profile.id != stem:
        yield tree.problem(("id",), "profile.file_name", id=profile.id, name=stem)
    yield from _rows(profile, tree)
    yield from _codes(profile, tree)
    yield from _limits(profile, tree)
    yield from _idents(profile, tree)
    yield from _variants(profile, tree)
    for i, setting in enumerate(profile.writable):
        yield from _setting(profile, setting, ("writable", i), tree)


# --- registers --------------------------------------------------------------------------------------------------------


def _rows(profile: Profile, tree: Tree) -> Iterator[Problem]:
    """Names twice, two points in one register, and what no register can be."""
    keys: dict[str, int] = {}
    places: dict[tuple[object, ...], int] = {}
    for i, row in enumerate(profile.registers):
        loc: Loc = ("registers", i)
        if (first := keys.setdefault(row.key, i)) != i:
            line = tree(("registers", first))[0]
            yield tree.problem((*loc, "key"), "profile.key_twice", key=row.key, first_line=line)
        if not row.canonical:
            continue
        register = profile.register(row, "ABCD", row.scale, row.canonical)
        place = (row.service, register.fc, register.addr, register.bit, register.type)
        if (first := places.setdefault(place, i)) != i:
            line = tree(("registers", first))[0]
            yield tree.problem((*loc, "addr"), "profile.register_twice", addr=row.addr, first_line=line)
        yield from _impossible(profile, row, loc, tree)


def _impossible(profile: Profile, row: Row, loc: Loc, tree: Tree) -> Iterator[Problem]:
    """Faults of one polled register."""
    register = profile.register(row, "ABCD", row.scale, row.canonical)
    quantity = quantities().get(row.canonical or "")
    if quantity is None:
        near = nearest(row.canonical or "", quantities())
        what = "unknown_point_near" if near else "unknown_point"
        yield tree.problem((*loc, "canonical"), what, value=row.canonical or "", near=near or "")
    elif row.unit != quantity.unit and not open_units(row):
        facts = {"unit": row.unit, "point": row.canonical or "", "wanted": quantity.unit}
        yield tree.problem((*loc, "unit"), "profile.unit", **facts)
    if register.type in LENGTHS and register.words != LENGTHS[register.type]:
        yield tree.problem((*loc, "words"), "profile.words", words=register.words, wanted=LENGTHS[register.type])
    if register.fc in BIT_FUNCTIONS and register.type != "bit":
        yield tree.problem((*loc, "type"), "profile.bit_function", fc=register.fc, type=register.type)
    if register.end > LAST:
        yield tree.problem((*loc, "addr"), "profile.past_end", addr=row.addr)
    if row.range and row.range[0] >= row.range[1]:
        yield tree.problem((*loc, "range"), "profile.range_order", low=row.range[0], high=row.range[1])
    yield from _unreadable(profile, register, loc, tree)
    yield from _scale(row, register, loc, tree)
    yield from _counter(row, register, loc, tree)


def _unreadable(profile: Profile, register: Register, loc: Loc, tree: Tree) -> Iterator[Problem]:
    """A register that no allowed request can bring whole."""
    most = profile.limits.max_registers
    if register.fc not in BIT_FUNCTIONS and register.words > most:
        yield tree.problem((*loc, "addr"), "profile.too_long", words=register.words, most=most)
    if profile.limits.read_as_one_block and register.fc not in BIT_FUNCTIONS:
        first, count = profile.limits.read_as_one_block
        inside = first <= register.addr and register.end <= first + count
        outside = register.end <= first or first + count <= register.addr
        if not inside and not outside:
            yield tree.problem((*loc, "addr"), "profile.across_block", addr=register.addr, last=first + count - 1)


def _scale(row: Row, register: Register, loc: Loc, tree: Tree) -> Iterator[Problem]:
    """A scale that makes every value 0, or a number that nothing can hold."""
    if register.type not in CODES:
        return
    largest = 1 << 31 if register.type in FLOATS else max(abs(end) for end in _span(register.type))
    if row.scale == 0 or abs((largest + abs(row.offset_raw)) * row.scale) > MOST > largest * 2:
        yield tree.problem((*loc, "scale"), "profile.scale", scale=row.scale)


def _counter(row: Row, register: Register, loc: Loc, tree: Tree) -> Iterator[Problem]:
    if not row.counter:
        return
    if register.type not in CODES:
        yield tree.problem((*loc, "counter"), "profile.counter_type", type=register.type)
    elif register.type not in FLOATS and row.counter.wraps_at > (most := _span(register.type)[1]):
        at = (*loc, "counter", "wraps_at")
        yield tree.problem(at, "profile.not_in_type", value=row.counter.wraps_at, type=register.type, low=1, high=most)


def _span(kind: str) -> tuple[int, int]:
    """Lowest and highest raw number of a type; of a float, bit patterns."""
    bits = int(kind[1:])
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)


# --- the other parts --------------------------------------------------------------------------------------------------


def _codes(profile: Profile, tree: Tree) -> Iterator[Problem]:
    """`invalid`: known types, and numbers that a register of the type can hold."""
    for name, value in profile.invalid.items():
        loc: Loc = ("invalid", name)
        kind = re.sub(r"^valid_|_raw$", "", name)
        known = [*CODES, *(f"valid_{code}" for code in CODES if code not in FLOATS), "f32_raw", "f64_raw"]
        if name not in known and not (name.endswith("_raw") and kind in CODES):
            yield tree.key_problem(loc, "profile.invalid_type", type=name, choices=", ".join(known))
            continue
        codes = (value,) if isinstance(value, int) else value
        low, high = _span(kind)
        if any(not low <= code <= high for code in codes):
            wrong = next(code for code in codes if not low <= code <= high)
            yield tree.problem(loc, "profile.not_in_type", value=wrong, type=kind, low=low, high=high)
        elif name.startswith("valid_") and (len(codes) != 2 or codes[0] >= codes[1]):
            yield tree.problem(loc, "profile.valid_pair", type=name)


def _limits(profile: Profile, tree: Tree) -> Iterator[Problem]:
    if block := profile.limits.read_as_one_block:
        first, count = block
        if not (first >= 0 and 1 <= count <= profile.limits.max_registers and first + count <= LAST):
            facts = {"first": first, "count": count, "most": profile.limits.max_registers}
            yield tree.problem(("limits", "read_as_one_block"), "profile.block", **facts)
    for i, each in enumerate(profile.limits.forbidden):
        if each.last < each.first:
            yield tree.problem(
                ("limits", "forbidden", i, "last"), "profile.range_order", low=each.first, high=each.last
            )


def _idents(profile: Profile, tree: Tree) -> Iterator[Problem]:
    """Each names a register, and what it can hold."""
    rows = {row.key: row for row in profile.registers}
    for i, ident in enumerate(profile.ident):
        loc: Loc = ("ident", i)
        row = rows.get(ident.key)
        if row is None:
            yield tree.problem((*loc, "key"), "profile.no_register", key=ident.key, choices=", ".join(rows))
            continue
        kind = row.type or profile.defaults.type
        text = kind in ("str", "str4")
        if any(isinstance(value, str) != text for value in ident.equals):
            yield tree.problem((*loc, "equals"), "profile.ident_kind", key=ident.key, type=kind)
        elif kind in CODES and kind not in FLOATS:
            yield from _ident_numbers(ident.equals, kind, loc, tree)


def _ident_numbers(equals: tuple[int | str, ...], kind: str, loc: Loc, tree: Tree) -> Iterator[Problem]:
    low, high = _span(kind)
    for value in equals:
        if isinstance(value, int) and not low <= value <= high:
            yield tree.problem((*loc, "equals"), "profile.not_in_type", value=value, type=kind, low=low, high=high)


def _variants(profile: Profile, tree: Tree) -> Iterator[Problem]:
    """A change `register.attribute` must fit, and make no impossible register; any other change is a note."""
    names: dict[str, int] = {}
    for i, variant in enumerate(profile.variants):
        loc: Loc = ("variants", i)
        if (first := names.setdefault(variant.name, i)) != i:
            line = tree(("variants", first))[0]
            yield tree.problem((*loc, "name"), "profile.key_twice", key=variant.name, first_line=line)
        changed = profile.changed(variant)
        if not changed and any("." in str(name) for name in variant.change):
            yield tree.problem(
                (*loc, "change"), "profile.variant_change", variant=variant.name, why=_misfit(profile, variant)
            )
        for row in changed.values():
            if row.canonical:
                yield from _moved(profile, row, (*loc, "change"), tree)


def _misfit(profile: Profile, variant: Variant) -> str:
    """The first change that leads nowhere."""
    known = {f"{row.key}.{attribute}" for row in profile.registers for attribute in Row.model_fields}
    return next((str(name) for name in variant.change if name not in known), next(map(str, variant.change)))


def _moved(profile: Profile, row: Row, loc: Loc, tree: Tree) -> Iterator[Problem]:
    """The faults of a changed row, said at the variant that makes them."""
    for problem in _impossible(profile, row, (), tree):
        yield tree.problem(loc, problem.what, **problem.facts)


def _setting(profile: Profile, setting: Setting, loc: Loc, tree: Tree) -> Iterator[Problem]:
    """A register that may be written: where it lies, and what may be written."""
    words = LENGTHS[setting.type]
    if setting.addr + words > LAST:
        yield tree.problem((*loc, "addr"), "profile.past_end", addr=setting.addr)
    if setting.fc == 6 and words > 1:
        yield tree.problem((*loc, "fc"), "profile.write_one", type=setting.type)
    if any(other.key == setting.key for other in profile.writable[: int(loc[-1])]):
        line = tree(("writable", [other.key for other in profile.writable].index(setting.key)))[0]
        yield tree.problem((*loc, "key"), "profile.key_twice", key=setting.key, first_line=line)
    if setting.range and setting.range[0] >= setting.range[1]:
        yield tree.problem((*loc, "range"), "profile.range_order", low=setting.range[0], high=setting.range[1])
    low, high = _span(setting.type) if setting.type not in FLOATS else (-(1 << 31), 1 << 31)
    values = [*(setting.enum or ()), *(bound / (setting.scale or 1) for bound in setting.range or ())]
    if wrong := [value for value in values if not low <= value <= high]:
        yield tree.problem(loc, "profile.not_in_type", value=wrong[0], type=setting.type, low=low, high=high)
    if setting.scale == 0:
        yield tree.problem((*loc, "scale"), "profile.scale", scale=setting.scale)
    yield from _address(profile, setting, loc, tree)


def _address(profile: Profile, setting: Setting, loc: Loc, tree: Tree) -> Iterator[Problem]:
    """The device's own address is named as such, for it is written only where the device is alone."""
    least, most = LINE_UNITS[0], LINE_UNITS[-1]
    if setting.role != "address":
        if ADDRESS.search(f"{setting.key} {setting.what.en} {setting.what.vi}".replace("_", " ")) or any(
            other.role == "address" and _overlap(setting, other) for other in profile.writable
        ):
            yield tree.problem(loc, "profile.address_role", key=setting.key)
        return
    allowed = (min(setting.enum), max(setting.enum)) if setting.enum else setting.range
    if allowed is None or allowed[0] < least or allowed[1] > most:
        yield tree.problem(loc, "profile.address_range", least=least, most=most)


def _overlap(one: Setting, other: Setting) -> bool:
    return one.addr < other.addr + LENGTHS[other.type] and other.addr < one.addr + LENGTHS[one.type]
