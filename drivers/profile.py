"""Device profiles: the register table of a model, read from YAML (`drivers/devices/`, then folders of the site).

The form is that of the field's collected facts: a profile may leave a choice open (a unit or byte order that another
register tells, a lot with another scale). Such a choice is a *variant*, and the device's configuration names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from drivers.marked import load
from drivers.reading import quantities
from drivers.register import MAX_REGISTERS, ORDERS, Limits, Register

LENGTHS = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "f32": 2, "u64": 4, "s64": 4, "f64": 4, "bit": 1}
IN_METRES = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}
"""Units that a level instrument may be set to."""


class UnknownVariant(ValueError):
    """The configuration names a variant that the profile does not have, or none where one is needed."""

    def __init__(self, what: str, **facts: str) -> None:
        """`what` is a text key under `profile.`; `facts` fill its placeholders."""
        super().__init__(f"{what} {facts}")
        self.what = what
        self.facts = facts


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Part):
    """One register as the file writes it."""

    key: str
    addr: Annotated[int, Field(ge=0, le=65535)]
    unit: str
    fc: Literal[1, 2, 3, 4] | None = None
    type: Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bit", "str", "str4"] | None = None
    order: str | None = None
    words: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] | None = None
    scale: float = 1.0
    offset_raw: int = 0
    canonical: str | None = None
    bit: Annotated[int, Field(ge=0, le=15)] = 0
    range: list[float] | None = None
    enum: Mapping[int, str] | None = None
    bits: Mapping[Any, str] | None = None
    counter: Mapping[str, Any] | None = None
    followed_by: list[str] | None = None
    service: str | None = None
    addr_is_literal: bool = False
    doc: str | None = None
    note: str | None = None
    confidence: str | None = None


class Defaults(_Part):
    """What a register has where it says nothing."""

    fc: Literal[1, 2, 3, 4] = 3
    type: Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bit", "str"] = "u16"
    order: str = "ABCD"


class Allowed(_Part):
    """Limits of one request."""

    max_registers: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] = MAX_REGISTERS
    read_as_one_block: tuple[int, int] | None = None
    note: str | None = None


class Variant(_Part):
    """A named difference: `change` maps `register.attribute` to its other value."""

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
    registers: list[Row]
    transport: str
    unit_id: Mapping[str, Any]
    defaults: Defaults = Defaults()
    limits: Allowed = Allowed()
    invalid: Mapping[str, int | list[int]] = {}
    timing: Mapping[str, Any] = {}
    serial: Mapping[str, Any] | None = None
    tcp: Mapping[str, Any] | None = None
    variants: list[Variant] = []
    settings: list[Mapping[str, Any]] = []
    sources: list[str] = []
    traps: list[str] = []
    use: list[str] = []
    channels: list[str] = []
    note: str | None = None
    supply_v: list[float] | None = None

    def request_limits(self) -> Limits:
        """What the planner must keep to."""
        return Limits(registers=self.limits.max_registers, whole=self.limits.read_as_one_block)

    def choices(self) -> list[str]:
        """Names that a device's `variant` may have."""
        named = [variant.name for variant in self.variants]
        units = [unit for row in self.registers if row.canonical for unit in _open_units(row)]
        orders = [order for row in self.registers if row.canonical and _open_order(self, row) for order in ORDERS]
        services = [row.service for row in self.registers if row.service]
        return list(dict.fromkeys([*named, *units, *orders, *services]))

    def points(self, variant: Iterable[str] = ()) -> list[Register]:
        """The registers that are polled: those with a canonical name, with every open choice made.

        Raises UnknownVariant where `variant` names something that is not there, or leaves out what is needed.
        """
        chosen, choices = list(variant), self.choices()
        for name in chosen:
            if name not in choices:
                raise UnknownVariant(
                    "unknown_variant", profile=self.id, variant=name, choices=", ".join(self.choices())
                )
        rows = [row for row in self.registers if row.canonical]
        if services := {row.service for row in rows if row.service}:
            rows = [row for row in rows if row.service in chosen]
            if not rows:
                raise UnknownVariant("choose_service", profile=self.id, choices=", ".join(sorted(services)))
        settled = [self._settle(row, chosen) for row in rows]
        registers = [register for register in settled if register]
        given = {register.canonical for register in registers}
        for row, register in zip(rows, settled, strict=True):
            if register is None and row.canonical not in given:
                needed = ", ".join(_open_units(row) or ORDERS)
                raise UnknownVariant("choose_variant", profile=self.id, register=row.key, choices=needed)
        return registers

    def _settle(self, row: Row, chosen: list[str]) -> Register | None:
        """The register with its choices made, None where one is still open."""
        changes = {k: v for v_ in self.variants if v_.name in chosen for k, v in v_.change.items()}
        mine = {key.split(".", 1)[1]: value for key, value in changes.items() if key.split(".", 1)[0] == row.key}
        row = row.model_copy(update=mine)
        order = row.order or self.defaults.order
        if _open_order(self, row):
            order = next((name for name in chosen if name in ORDERS), "")
        scale, unit = row.scale, row.unit
        if units := _open_units(row):
            unit = next((name for name in chosen if name in units), "")
            scale = row.scale * IN_METRES.get(unit, 1.0)
        return self._register(row, order, scale, unit) if order and unit else None

    def _register(self, row: Row, order: str, scale: float, unit: str) -> Register:
        kind = row.type or self.defaults.type
        words = row.words or (2 if kind == "str4" else LENGTHS.get(kind, 1))
        codes = self.invalid.get(kind, self.invalid.get(f"{kind}_raw", ()))
        valid = self.invalid.get(f"valid_{kind}")
        return Register(
            key=row.key,
            addr=row.addr,
            fc=row.fc or self.defaults.fc,
            type="str" if kind == "str4" else kind,
            order=order,
            words=words,
            scale=scale,
            offset_raw=row.offset_raw,
            unit=unit,
            canonical=row.canonical,
            invalid=(codes,) if isinstance(codes, int) else tuple(codes),
            valid=(valid[0], valid[1]) if isinstance(valid, list) else None,
            bit=row.bit,
        )


def _open_order(profile: Profile, row: Row) -> bool:
    """True where the byte order is told by another register."""
    return (row.order or profile.defaults.order) not in ORDERS


def _open_units(row: Row) -> list[str]:
    """The units to choose from where the instrument's setting decides."""
    if " or " in row.unit:
        return row.unit.split(" or ")
    if row.unit.startswith(("see ", "per ")):
        unit = quantities()[row.canonical].unit if row.canonical in quantities() else ""
        return list(IN_METRES) if unit == "m" else [unit or "1"]
    return []


def library(folders: Iterable[Path] = ()) -> Mapping[str, Path]:
    """Profile files by id (the file's stem): the package's own, then each of `folders`; a later one wins."""
    own = Path(str(resources.files("drivers").joinpath("devices")))
    found: dict[str, Path] = {}
    for folder in (own, *folders):
        found.update({path.stem: path for path in sorted(folder.glob("*.yaml"))})
    return found


def read_profile(path: Path) -> Profile:
    """Load one profile. Raises drivers.marked.Problems with every fault of the file, by line and column."""
    return load(path, Profile)
