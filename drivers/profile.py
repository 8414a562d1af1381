"""Device profiles: the register table of a model, read from YAML (`drivers/devices/`, then folders of the site).

The form is that of the field's collected facts: a profile may leave a choice open (a unit or byte order that another
register tells, a lot with another scale). Such a choice is a *variant*, and the device's configuration names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from drivers.marked import Loc, Problem, Tree, fault, load
from drivers.reading import quantities
from drivers.register import BIT_FUNCTIONS, MAX_REGISTERS, ORDERS, Limits, Register

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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _order(value: str) -> str:
    """A byte order, or words that say which register tells it."""
    if value not in ORDERS and not value.startswith(("per ", "see ")):
        raise fault("want_one_of", value=value, choices=", ".join(ORDERS))
    return value


Order = Annotated[str, AfterValidator(_order)]


class Row(_Part):
    """One register as the file writes it."""

    key: str
    addr: Annotated[int, Field(ge=0, le=65535)]
    unit: str
    fc: Literal[1, 2, 3, 4] | None = None
    type: Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bit", "str", "str4"] | None = None
    order: Order | None = None
    words: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] | None = None
    scale: float = 1.0
    offset_raw: int = 0
    canonical: str | None = None
    bit: Annotated[int, Field(ge=0, le=15)] = 0
    range: tuple[float, ...] | None = None
    enum: Mapping[int, str] | None = None
    bits: Mapping[Any, str] | None = None
    counter: Mapping[str, Any] | None = None
    followed_by: tuple[str, ...] | None = None
    service: str | None = None
    addr_is_literal: bool = False
    doc: str | None = None
    note: str | None = None
    confidence: str | None = None


class Defaults(_Part):
    """What a register has where it says nothing."""

    fc: Literal[1, 2, 3, 4] = 3
    type: Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bit", "str"] = "u16"
    order: Order = "ABCD"


class Allowed(_Part):
    """Limits of one request."""

    max_registers: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] = MAX_REGISTERS
    read_as_one_block: tuple[int, int] | None = None
    note: str | None = None


class Variant(_Part):
    """A named difference: `change` maps `register.attribute` to its other value; any other change is only a note."""

    name: str
    change: Mapping[str, Any] = {}
    match: str | None = None
    confidence: str | None = None


class Profile(_Part):
    """One model of device."""

    schema_: Annotated[Literal["chilinh.device-profile/0.1-draft"], Field(alias="schema")]
    id: str
    vendor: str
    model: str
    kind: str
    confidence: str
    registers: tuple[Row, ...]
    transport: str
    unit_id: Mapping[str, Any]
    defaults: Defaults = Defaults()
    limits: Allowed = Allowed()
    invalid: Mapping[str, int | tuple[int, ...]] = {}
    timing: Mapping[str, Any] = {}
    serial: Mapping[str, Any] | None = None
    tcp: Mapping[str, Any] | None = None
    variants: tuple[Variant, ...] = ()
    settings: tuple[Mapping[str, Any], ...] = ()
    sources: tuple[str, ...] = ()
    traps: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    note: str | None = None
    supply_v: tuple[float, ...] | None = None

    def request_limits(self) -> Limits:
        """What the planner must keep to."""
        return Limits(registers=self.limits.max_registers, whole=self.limits.read_as_one_block)

    def choices(self) -> list[str]:
        """Names that a device's `variant` may have."""
        rows = self._polled()
        named = [variant.name for variant in self.variants if self._changed(variant)]
        opened = [name for row in rows for names in self._open(row) for name in names]
        services = [row.service for row in rows if row.service]
        return list(dict.fromkeys([*named, *opened, *services]))

    def points(self, variant: Iterable[str] = ()) -> list[Register]:
        """The registers that are polled: those with a canonical name, with every open choice made.

        Raises UnknownVariant where `variant` names something that is not there, or leaves out what is needed.
        """
        chosen = list(variant)
        self._refuse_unknown(chosen)
        rows = [self._varied(row, chosen) for row in self._served(chosen)]
        needs = [[names for names in self._open(row) if not set(names) & set(chosen)] for row in rows]
        registers = [self._settled(row, chosen) for row, need in zip(rows, needs, strict=True) if not need]
        given = {register.canonical for register in registers}
        for row, need in zip(rows, needs, strict=True):
            if need and row.canonical not in given:
                raise UnknownVariant("choose_variant", profile=self.id, register=row.key, choices=", ".join(need[0]))
        return registers

    def _polled(self) -> list[Row]:
        return [row for row in self.registers if row.canonical]

    def _refuse_unknown(self, chosen: list[str]) -> None:
        choices = self.choices()
        for name in chosen:
            if name not in choices:
                note = any(variant.name == name for variant in self.variants)
                what = "variant_is_note" if note else "unknown_variant" if choices else "no_variants"
                raise UnknownVariant(what, profile=self.id, variant=name, choices=", ".join(choices))

    def _served(self, chosen: list[str]) -> list[Row]:
        """The rows of the one service that stands behind the device's unit number, all where there are no services."""
        services = sorted({row.service for row in self._polled() if row.service})
        mine = [name for name in services if name in chosen]
        if services and len(mine) != 1:
            raise UnknownVariant("choose_service", profile=self.id, choices=", ".join(services))
        return [row for row in self._polled() if row.service in (None, *mine)]

    def _open(self, row: Row) -> list[tuple[str, ...]]:
        """What the row leaves open: sets of names, of each of which one must be chosen."""
        order = (row.order or self.defaults.order) not in ORDERS
        decimals = row.unit.startswith("per ") and any(other.key == "decimals" for other in self.registers)
        sets = (tuple(_open_units(row)), ORDERS if order else (), tuple(DECIMALS) if decimals else ())
        return [names for names in sets if names]

    def _changed(self, variant: Variant) -> dict[str, Row]:
        """The rows that the variant changes, by key; empty where it cannot be applied."""
        rows = {row.key: row for row in self.registers}
        try:
            for name, value in variant.change.items():
                key, attribute = name.split(".")
                rows[key] = Row.model_validate(
                    rows[key].model_dump(exclude_unset=True) | {attribute: value}, strict=True
                )
        except (KeyError, ValueError, ValidationError):
            return {}
        return {name.split(".")[0]: rows[name.split(".")[0]] for name in variant.change}

    def _varied(self, row: Row, chosen: list[str]) -> Row:
        for variant in self.variants:
            if variant.name in chosen:
                row = self._changed(variant).get(row.key, row)
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
                canonical, factor = _open_units(row)[name]
                scale *= factor
        return self._register(row, order, scale, canonical)

    def _register(self, row: Row, order: str, scale: float, canonical: str | None) -> Register:
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
            valid=(valid[0], valid[1]) if isinstance(valid, tuple) else None,
            bit=row.bit,
        )


def _open_units(row: Row) -> Mapping[str, tuple[str, float]]:
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
    return load(path, Profile, check=lambda profile, tree: list(_incoherent(profile, tree, path.stem)))


def _incoherent(profile: Profile, tree: Tree, stem: str) -> Iterator[Problem]:
    """What fits no device: names twice, two points in one register, lengths and units that cannot be."""
    if profile.id != stem:
        yield tree.problem(("id",), "profile.file_name", id=profile.id, name=stem)
    keys: dict[str, int] = {}
    places: dict[tuple[object, ...], int] = {}
    for i, row in enumerate(profile.registers):
        loc: Loc = ("registers", i)
        if (first := keys.setdefault(row.key, i)) != i:
            yield tree.problem(
                (*loc, "key"), "profile.key_twice", key=row.key, first_line=tree(("registers", first))[0]
            )
        if not row.canonical:
            continue
        register = profile._register(row, "ABCD", row.scale, row.canonical)
        place = (row.service, register.fc, register.addr, register.bit, register.type)
        if (first := places.setdefault(place, i)) != i:
            line = tree(("registers", first))[0]
            yield tree.problem((*loc, "addr"), "profile.register_twice", addr=row.addr, first_line=line)
        yield from _impossible(row, register, loc, tree)


def _impossible(row: Row, register: Register, loc: Loc, tree: Tree) -> Iterator[Problem]:
    """Faults of one polled register."""
    quantity = quantities().get(row.canonical or "")
    if quantity is None:
        yield tree.problem((*loc, "canonical"), "unknown_point", value=row.canonical or "")
    elif row.unit != quantity.unit and not _open_units(row):
        yield tree.problem(
            (*loc, "unit"), "profile.unit", unit=row.unit, point=row.canonical or "", wanted=quantity.unit
        )
    if register.type in LENGTHS and register.words != LENGTHS[register.type]:
        yield tree.problem((*loc, "words"), "profile.words", words=register.words, wanted=LENGTHS[register.type])
    if register.fc in BIT_FUNCTIONS and register.type != "bit":
        yield tree.problem((*loc, "type"), "profile.bit_function", fc=register.fc, type=register.type)
    if register.end > 65536:
        yield tree.problem((*loc, "addr"), "profile.past_end", addr=row.addr)
