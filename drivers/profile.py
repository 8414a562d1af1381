"""Device profiles: the register table of a model, read from YAML (`drivers/devices/`, then folders of the site).

The form is that of the field's collected facts: a profile may leave a choice open (a unit or byte order that another
register tells, a lot with another scale). Such a choice is a *variant*, and the device's configuration names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, ValidationError

from drivers.marked import load
from drivers.planner import Limits
from drivers.profile_form import (
    Allowed,
    Counter,
    Defaults,
    Ident,
    Part,
    Row,
    Serial,
    Setting,
    Timing,
    UnitNumber,
    Variant,
    Words,
)
from drivers.reading import Value, quantities
from drivers.register import ORDERS, Block, Register

__all__ = ["Profile", "Row", "UnknownVariant", "Words", "library", "read_profile"]

LENGTHS = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "f32": 2, "u64": 4, "s64": 4, "f64": 4, "bit": 1}
IN_METRES = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}
"""Units that a level instrument may be set to."""
DECIMALS = {f"{n} decimals": 10.0**-n for n in range(5)}
"""Where another register says by which power of ten the value is to be divided."""


class UnknownVariant(ValueError):
    """The configuration names a variant that the profile does not have, or none where one is needed."""

    def __init__(self, what: str, **facts: str) -> None:
        """`what` is a text key under `profile.`; `facts` fill its placeholders."""
        super().__init__(f"{what} {facts}")
        self.what = what
        self.facts = facts


class Identity(msgspec.Struct, frozen=True):
    """A register by which a device is recognised."""

    register: Register
    equals: frozenset[int | str]
    """What this model has there; empty: a number of the device's own, which must only stay the same."""
    mask: int = -1
    read: tuple[int, int] | None = None
    """First address and count of the block that it is asked in; None: by itself."""

    def block(self) -> Block:
        """The request that brings it."""
        start, count = self.read or (self.register.addr, self.register.words)
        return Block(self.register.fc, start, count, (self.register,))

    def matches(self, value: Value) -> bool:
        """True where `value`, as read, is this model's."""
        return not self.equals or self.seen(value) in self.equals

    def seen(self, value: Value) -> int | str:
        """What of a value is compared."""
        return value if isinstance(value, str) else int(value) & self.mask


class PointRule(msgspec.Struct, frozen=True):
    """What is peculiar to a point: a counter, or a value that needs time after power-on."""

    scale: float
    """Unit of the point per raw count."""
    counter: Counter | None
    warmup: float
    """Seconds."""


class Profile(Part):
    """One model of device."""

    schema_: Annotated[Literal["chilinh.device-profile/0.1-draft"], Field(alias="schema")]
    id: str
    """The file's name without `.yaml`; devices in the configuration name it."""
    vendor: str
    model: str
    kind: str
    """weather, air, wind, power, water_level, supply, counter …"""
    confidence: str
    """high: from the maker's manual or working code; medium: inferred; low: check on the device first."""
    registers: tuple[Row, ...]
    transport: str
    unit_id: UnitNumber
    defaults: Defaults = Defaults()
    limits: Allowed = Allowed()
    invalid: Mapping[str, int | tuple[int, ...]] = {}
    """Raw numbers that mean "no reading", by type; `f32_raw` bit patterns; `valid_u16: [low, high]` what is valid."""
    timing: Timing = Timing()
    serial: Serial | None = None
    tcp: Mapping[str, Any] | None = None
    ident: tuple[Ident, ...] = ()
    """Registers by which the device is recognised."""
    variants: tuple[Variant, ...] = ()
    writable: tuple[Setting, ...] = ()
    """Registers that a technician may write."""
    settings: tuple[Mapping[str, Any], ...] = ()
    """Further settings that the manual names, for people."""
    sources: tuple[str, ...] = ()
    """Where the table comes from."""
    traps: tuple[Words, ...] = ()
    """What bites on site; shown to the technician."""
    use: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    note: str | None = None
    supply_v: tuple[float, ...] | None = None

    def request_limits(self) -> Limits:
        """What the planner must keep to."""
        limits = self.limits
        spared = [(each.fc, each.first, each.last + 1) for each in limits.forbidden]
        forbidden = frozenset([*spared, *self.taken_by_reading()])
        return Limits(limits.max_registers, limits.max_bits, forbidden, whole=limits.read_as_one_block)

    def taken_by_reading(self) -> list[tuple[int, int, int]]:
        """(function, first address, first after it) of each register whose content a read takes away."""
        registers = [self.as_read(row) for row in self.registers if row.once]
        return [(register.fc, register.addr, register.end) for register in registers]

    def identities(self) -> list[Identity]:
        """The registers by which a device of this model is recognised, read by themselves."""
        rows = {row.key: row for row in self.registers}
        return [
            Identity(
                self.as_read(row),
                frozenset(each.equals),
                -1 if each.mask is None else each.mask,
                each.read,
            )
            for each in self.ident
            if (row := rows.get(each.key))
        ]

    def rules(self, variant: Iterable[str] = ()) -> dict[tuple[str, str], PointRule]:
        """The points that count or warm up, by canonical name and tag `src` (empty: the first of that name)."""
        rows = {row.key: self._varied(row, list(variant)) for row in self.registers}
        found: dict[tuple[str, str], PointRule] = {}
        seen: set[str] = set()
        for register in self.points(variant):
            name, row = str(register.canonical), rows[register.key]
            warmup = self.timing.warmup_s if row.warmup_s is None else row.warmup_s
            if row.counter or warmup:
                rule = PointRule(register.scale, row.counter, warmup)
                found[name, register.key if name in seen else ""] = rule
            seen.add(name)
        return found

    def choices(self) -> list[str]:
        """Names that a device's `variant` may have."""
        rows = self._polled()
        named = [variant.name for variant in self.variants if self.changed(variant)]
        opened = [name for row in rows for names in self._open(row) for name in names]
        services = [row.service for row in rows if row.service]
        return list(dict.fromkeys([*named, *opened, *services]))

    def points(self, variant: Iterable[str] = (), alarms: Iterable[str] = ()) -> list[Register]:
        """The registers that are polled: those with a canonical name, with every open choice made.

        `alarms`: canonical names on which alarms hang, beside those of the profile. Raises UnknownVariant where
        `variant` names something that is not there, or leaves out what is needed.
        """
        chosen = list(variant)
        self._refuse_unknown(chosen)
        rows = self._served([self._varied(row, chosen) for row in self.registers], chosen)
        needs = [[names for names in self._open(row) if not set(names) & set(chosen)] for row in rows]
        registers = [self._settled(row, chosen) for row, need in zip(rows, needs, strict=True) if not need]
        given = {register.canonical for register in registers}
        for row, need in zip(rows, needs, strict=True):
            if need and row.canonical not in given:
                raise UnknownVariant("choose_variant", profile=self.id, register=row.key, choices=", ".join(need[0]))
        return self._marked(registers, set(alarms))

    def _marked(self, registers: list[Register], alarms: set[str]) -> list[Register]:
        """With those on which alarms hang, and what answers only together with them."""
        if not alarms and not any(row.alarm for row in self.registers):
            return registers
        marked = {register.key for register in registers if register.alarm or register.canonical in alarms}
        if self.limits.read_as_one_block:
            first, count = self.limits.read_as_one_block
            inside = {register.key for register in registers if first <= register.addr < first + count}
            marked |= inside if inside & marked else set()
        return [msgspec.structs.replace(register, alarm=register.key in marked) for register in registers]

    def _polled(self) -> list[Row]:
        return [row for row in self.registers if row.canonical]

    def _refuse_unknown(self, chosen: list[str]) -> None:
        choices = self.choices()
        for name in chosen:
            if name not in choices:
                note = any(variant.name == name for variant in self.variants)
                what = "variant_is_note" if note else "unknown_variant" if choices else "no_variants"
                raise UnknownVariant(what, profile=self.id, variant=name, choices=", ".join(choices))

    def _served(self, rows: list[Row], chosen: list[str]) -> list[Row]:
        """The polled rows of the one service behind the device's unit number, all where there are no services."""
        polled = [row for row in rows if row.canonical]
        services = sorted({row.service for row in polled if row.service})
        mine = [name for name in services if name in chosen]
        if services and len(mine) != 1:
            raise UnknownVariant("choose_service", profile=self.id, choices=", ".join(services))
        return [row for row in polled if row.service in (None, *mine)]

    def _open(self, row: Row) -> list[tuple[str, ...]]:
        """What the row leaves open: sets of names, of each of which one must be chosen."""
        order = (row.order or self.defaults.order) not in ORDERS
        decimals = row.unit.startswith("per ") and any(other.key == "decimals" for other in self.registers)
        sets = (tuple(open_units(row)), ORDERS if order else (), tuple(DECIMALS) if decimals else ())
        return [names for names in sets if names]

    def changed(self, variant: Variant) -> dict[str, Row]:
        """The rows that the variant changes, by key; empty where it cannot be applied."""
        rows = {row.key: row for row in self.registers}
        try:
            return {key: _apply(rows[key], variant) for key in dict.fromkeys(_key(name) for name in variant.change)}
        except (KeyError, ValueError, ValidationError):
            return {}

    def _varied(self, row: Row, chosen: list[str]) -> Row:
        for variant in self.variants:
            if variant.name in chosen and row.key in self.changed(variant):
                row = _apply(row, variant)
        return row

    def _settled(self, row: Row, chosen: list[str]) -> Register:
        """The register with its choices made. Raises UnknownVariant where two names answer one question."""
        picks = [[name for name in chosen if name in names] for names in self._open(row)]
        for pick in picks:
            if len(set(pick)) > 1:
                raise UnknownVariant("choose_one", profile=self.id, register=row.key, choices=", ".join(pick))
        order, scale, canonical = row.order or self.defaults.order, row.scale, row.canonical
        for name in (pick[0] for pick in picks):
            if name in ORDERS:
                order = name
            elif name in DECIMALS:
                scale *= DECIMALS[name]
            else:
                canonical, factor = open_units(row)[name]
                scale *= factor
        return self.register(row, order, scale, canonical)

    def as_read(self, row: Row) -> Register:
        """A row with its content as it is, by the usual order where a setting decides it."""
        return self.register(row, _known(row.order or self.defaults.order), 1, None)

    def register(self, row: Row, order: str, scale: float, canonical: str | None) -> Register:
        """A row as the bus reads it, with these choices made."""
        kind = row.type or self.defaults.type
        words = row.words or (2 if kind == "str4" else LENGTHS.get(kind, 1))
        codes = self.invalid.get(kind, self.invalid.get(f"{kind}_raw", ()))
        valid = self.invalid.get(f"valid_{kind}")
        quantity = quantities().get(canonical or "")
        return Register(
            key=row.key,
            addr=row.addr,
            fc=row.fc or self.defaults.fc,
            type="str" if kind == "str4" else kind,
            order=order,
            words=words,
            scale=float(f"{scale:.12g}"),
            offset_raw=row.offset_raw,
            unit=quantity.unit if quantity else row.unit,
            canonical=canonical,
            invalid=(codes,) if isinstance(codes, int) else codes,
            valid=(valid[0], valid[1]) if isinstance(valid, tuple) and len(valid) == 2 else None,
            bit=row.bit,
            once=row.once,
            alarm=row.alarm,
        )


def _key(change: str) -> str:
    """The register of a change `register.attribute`. Raises ValueError where it is none."""
    key, attribute = change.split(".")
    if not attribute:
        raise ValueError(change)
    return key


def _apply(row: Row, variant: Variant) -> Row:
    """The row with what the variant changes of it. Raises ValidationError."""
    own = {name.split(".")[1]: value for name, value in variant.change.items() if _key(name) == row.key}
    return Row.model_validate(row.model_dump(exclude_unset=True) | own, strict=True)


def _known(order: str) -> str:
    """The order, or the usual one where a setting of the instrument decides it."""
    return order if order in ORDERS else ORDERS[0]


def open_units(row: Row) -> Mapping[str, tuple[str, float]]:
    """The units to choose from where the instrument's setting decides: unit -> quantity and factor to its unit."""
    quantity = quantities().get(row.canonical or "")
    if quantity is None or not row.canonical:
        return {}
    if row.unit.startswith(("see ", "per ")):
        names = list(IN_METRES) if quantity.unit == "m" else [quantity.unit or "1"]
    else:
        names = row.unit.split(" or ") if " or " in row.unit else []
    found: dict[str, tuple[str, float]] = {}
    for name in names:
        if name == quantity.unit or (quantity.unit == "m" and name in IN_METRES):
            found[name] = (row.canonical, IN_METRES.get(name, 1.0))
        elif len(others := _quantities_in(quantity.measurement, name)) == 1:
            found[name] = (others[0], 1.0)
    return found


def _quantities_in(measurement: str, unit: str) -> list[str]:
    """A register in m/s or degrees is two quantities: the one that the measurement has in that unit."""
    return [name for name, other in quantities().items() if other.measurement == measurement and other.unit == unit]


def library(folders: Iterable[Path] = ()) -> Mapping[str, Path]:
    """Profile files by id (the file's stem): the package's own, then each of `folders`; a later one wins."""
    own = Path(str(resources.files("drivers").joinpath("devices")))
    found: dict[str, Path] = {}
    for folder in (own, *folders):
        found.update({path.stem: path for path in sorted(folder.glob("*.yaml"))})
    return found


def read_profile(path: Path) -> Profile:
    """Load one profile. Raises drivers.marked.Problems with every fault of the file, by line and column."""
    from drivers.profile_check import incoherent

    return load(path, Profile, check=lambda profile, tree: list(incoherent(profile, tree, path.stem)))
