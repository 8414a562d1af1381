"""The parts of a device profile as its YAML file writes them: rows, limits, counters, settings, texts.

Only the form: what one part may hold. How the parts make points stands in `profile.py`, what they cannot be together
in `profile_check.py`. The docstring under a field is what an editor shows (`edge profile schema`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema

from drivers.marked import fault
from drivers.register import MAX_BITS, MAX_REGISTERS, ORDERS

Kind = Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bit", "str"]
Address = Annotated[int, Field(ge=0, le=65535)]


class Part(BaseModel):
    """A block of the file: unknown keys are refused, and nothing is changed after reading."""

    # `defer_build`: see `settings.Part`
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


def _order(value: str) -> str:
    """A byte order, or words that say which register tells it."""
    if value not in ORDERS and not value.startswith(("per ", "see ")):
        raise fault("want_one_of", value=value, choices=", ".join(ORDERS))
    return value


Order = Annotated[str, AfterValidator(_order)]


class Words(Part):
    """A text for the technician: `{vi: …, en: …}`, or one text for both languages."""

    en: str
    vi: str

    @model_validator(mode="before")
    @classmethod
    def _one_for_both(cls, value: Any) -> Any:
        return {"en": value, "vi": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """An editor offers both forms."""
        both = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"type": "string"}, both], "description": str(cls.__doc__)}

    def said(self, language: str) -> str:
        """In `vi` or `en`."""
        return self.vi if language == "vi" else self.en


class Counter(Part):
    """A register that only rises, until it wraps or is set back."""

    wraps_at: Annotated[int, Field(ge=1)]
    """Greatest raw number; after it comes 0."""
    resettable: bool = False
    """A command sets it back."""
    biggest_step: Annotated[int, Field(ge=1)] | None = None
    """Most raw counts between two polls. A fall that would be a larger step is a reset and no wrap."""
    total: bool = False
    """Report a total that goes on rising through wraps and resets, instead of the number as read."""


class Row(Part):
    """One register."""

    key: str
    """Its name within the profile."""
    addr: Address
    """0-based address as it goes on the wire: often the manual's number less 1, 30001 or 40001."""
    unit: str
    """UCUM code of the scaled value; `see …` or `per …` where a setting of the instrument decides it."""
    fc: Literal[1, 2, 3, 4] | None = None
    """Function that reads it: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers."""
    type: Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bit", "str", "str4"] | None = None
    order: Order | None = None
    """Bytes of the big-endian value in wire order: ABCD high word first, CDAB low word first."""
    words: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] | None = None
    """Registers it takes, where the type does not say."""
    scale: float = 1.0
    """value = (raw + offset_raw) * scale"""
    offset_raw: int = 0
    canonical: str | None = None
    """`measurement.field` of the naming table: a point. Without it the register is not polled."""
    bit: Annotated[int, Field(ge=0, le=15)] = 0
    """For type `bit` in a register: which, 0 the lowest."""
    range: tuple[float, float] | None = None
    """What the device can give, in `unit`."""
    enum: Mapping[int, str] | None = None
    bits: Mapping[Any, str] | None = None
    counter: Counter | None = None
    warmup_s: Annotated[float, Field(ge=0)] | None = None
    """Seconds after power-on in which this value is not yet right; else `timing.warmup_s`."""
    followed_by: tuple[str, ...] | None = None
    """The next registers hold these statistics of the same quantity."""
    once: bool = False
    """Reading it takes its content away (an amount since the last read): never read twice nor by the way."""
    alarm: bool = False
    """An alarm hangs on it: it is asked for by itself, before what else is due on the line."""
    service: str | None = None
    """Where the unit number selects a service: which one has this register."""
    addr_is_literal: bool = False
    doc: str | None = None
    """The number as the manual prints it."""
    note: str | None = None
    confidence: str | None = None


class Defaults(Part):
    """What a register has where it says nothing."""

    fc: Literal[1, 2, 3, 4] = 3
    type: Kind = "u16"
    order: Order = "ABCD"


class Forbidden(Part):
    """Addresses that no request may read over."""

    fc: Literal[1, 2, 3, 4]
    first: Address
    last: Address
    why: str | None = None


class Allowed(Part):
    """Limits of one request."""

    max_registers: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] = MAX_REGISTERS
    max_bits: Annotated[int, Field(ge=1, le=MAX_BITS)] = MAX_BITS
    read_as_one_block: tuple[int, int] | None = None
    """[first, count]: these registers answer only all together."""
    forbidden: tuple[Forbidden, ...] = ()
    note: str | None = None


class Variant(Part):
    """A named difference: `change` maps `register.attribute` to its other value; any other change is only a note."""

    name: str
    change: Mapping[str, Any] = {}
    match: str | None = None
    """How a technician tells it."""
    confidence: str | None = None


class Timing(Part):
    """How fast the device is."""

    warmup_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds after power-on in which its values are not yet right: they are marked uncertain."""
    update_s: float | Mapping[str, float] | None = None
    """Seconds between two new values inside the device."""
    min_poll_s: Annotated[float, Field(ge=0)] | None = None
    recommended_poll_s: Annotated[float, Field(ge=0)] | None = None
    reply_delay_ms: Annotated[float, Field(ge=0)] | None = None
    first_query_may_fail: bool = False
    note: str | None = None


class Ident(Part):
    """A register that tells the model, or this very device."""

    key: str
    """The register, by its key."""
    equals: tuple[int | str, ...] = ()
    """What it has on this model, unscaled; empty: a serial number, each device its own."""
    mask: Annotated[int, Field(ge=1)] | None = None
    """Only these bits are compared."""
    read: tuple[Address, Annotated[int, Field(ge=1, le=MAX_REGISTERS)]] | None = None
    """[first, count]: the block that the register must be asked in, where it does not answer by itself."""


class Setting(Part):
    """A register that a technician may write; nothing else is ever written."""

    key: str
    addr: Address
    what: Words
    fc: Literal[6, 16] = 6
    """Function that writes it; function 3 reads it back."""
    type: Literal["u16", "s16", "u32", "s32", "f32"] = "u16"
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    scale: float = 1.0
    """value = raw * scale"""
    unit: str = "1"
    range: tuple[float, float] | None = None
    """Lowest and highest value that may be written."""
    enum: Mapping[int, str] | None = None
    """The only raw numbers that may be written, and what each means."""
    role: Literal["address", "baud", "framing"] | None = None
    """What the bus must know of it: after it the device answers elsewhere."""


def _framing(value: Any) -> Any:
    """YAML takes 8E1 for the number 80."""
    return {f: f"{f:.0e}".replace("e+0", "E") for f in (70.0, 80.0, 700.0, 800.0)}.get(value, value)


def _framing_form(value: str) -> str:
    if not re.fullmatch("[78][NEO][12]", value):
        raise fault("framing", value=value)
    return value


class Serial(Part):
    """The line as the device leaves the factory."""

    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600
    framing: Annotated[
        str,
        BeforeValidator(_framing),
        AfterValidator(_framing_form),
        WithJsonSchema({"type": ["string", "number"], "examples": ["8N1", "8E1"]}),  # to an editor too 8E1 is a number
    ] = "8N1"
    """Bits, parity, stop bits: 8N1."""
    confidence: str | None = None
    others: tuple[Any, ...] = ()


class UnitNumber(Part):
    """The unit number (address) as the device leaves the factory."""

    default: int | Mapping[str, int] | None = None
    range: tuple[int, int] | None = None
    max_on_line: int | None = None
    note: str | None = None
