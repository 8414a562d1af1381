"""Which model is a device? By the registers that profiles name for it, else by how well each profile's values fit."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from drivers.decodings import weigh
from drivers.frames import Outcome, Request
from drivers.modbus import ModbusBus
from drivers.planner import Limits, Line, plan
from drivers.profile import Profile, UnknownVariant
from drivers.reading import Value, quantities
from drivers.register import Block, Decoder, Register

MOST_BLOCKS = 2
"""Requests that are spent on one model without ident registers."""
LIKELY = math.log(12.0)
"""Evidence from which on a model is worth naming."""
NAMED = 3
"""Likely models that are named at most."""
_LINE = Line(request=0.05, register=0.002)


class Model(msgspec.Struct, frozen=True):
    """A model that a device may be."""

    profile: str
    name: str
    """Maker and model, for people."""
    certain: bool
    """By its ident registers; else its values only look like it."""


class Reader:
    """Reads blocks of one unit, each once."""

    def __init__(
        self,
        bus: ModbusBus,
        unit: int,
        timeout: float,
        tuned: tuple[int, str] | None = None,
        *,
        polled: bool = False,
    ) -> None:
        """`tuned`: baud and framing, where they are not the bus's. `polled`: other polls wait while it is silent.

        Such a unit is left alone after the first question that it ignores.
        """
        self._bus, self._unit, self._timeout = bus, unit, timeout
        self._baud = tuned[0] if tuned else None
        self._framing = tuned[1] if tuned else None
        self._known: dict[tuple[int, int, int], bytes | None] = {}
        self._polled, self._ignores = polled, False

    async def read(self, fc: int, start: int, count: int) -> bytes | None:
        """Data of the block. Raises guests.BusAway."""
        key = fc, start, count
        if key not in self._known and not self._ignores:
            request = Request(self._unit, fc, start, count)
            answer = await self._bus.guest(request, self._timeout, self._baud, self._framing)
            self._known[key] = answer.data if answer.outcome is Outcome.ok else None
            self._ignores = self._polled and answer.outcome is Outcome.timeout
        return self._known.get(key)


async def recognise(reader: Reader, profiles: Iterable[Profile]) -> list[Model]:
    """The models that the unit may be: those whose ident registers say so, else the likeliest. Raises BusAway."""
    profiles = list(profiles)
    if certain := [profile for profile in profiles if await _identified(reader, profile)]:
        return [Model(profile.id, _name(profile), certain=True) for profile in certain]
    weights = {profile.id: await _weight(reader, profile) for profile in profiles if not told_by_ident(profile)}
    likely = [profile for profile in profiles if weights.get(profile.id, 0.0) > LIKELY]
    likely.sort(key=lambda profile: -weights[profile.id])
    return [Model(profile.id, _name(profile), certain=False) for profile in likely[:NAMED]]


def told_by_ident(profile: Profile) -> bool:
    """Some register has the same content on every device of the model, and only there."""
    return any(each.equals for each in profile.identities())


async def _identified(reader: Reader, profile: Profile) -> bool:
    marks = [each for each in profile.identities() if each.equals]
    for mark in marks:
        block = mark.block()
        body = await reader.read(block.fc, block.start, block.count)
        value = decoded(block.registers, body, block)[0] if body else None
        if value is None or not mark.matches(value):
            return False
    return bool(marks)


async def _weight(reader: Reader, profile: Profile) -> float:
    """Evidence that the unit is of this model, as a logarithm; none where it refuses a block."""
    blocks = blocks_of(profile)[:MOST_BLOCKS]
    weight = 0.0
    for block in blocks:
        body = await reader.read(block.fc, block.start, block.count)
        if body is None:
            return 0.0
        values = decoded(block.registers, body, block)
        weight += sum(evidence(register, value) for register, value in zip(block.registers, values, strict=True))
    return weight


def blocks_of(profile: Profile) -> list[Block]:
    """What is read of a device of this model; where it leaves a choice open, by the first that makes sense."""
    for variant in ([], *([name] for name in profile.choices())):
        try:
            limits = profile.request_limits()
            points = [register for register in profile.points(variant) if not register.once]
            taken = frozenset(profile.taken_by_reading())
            return plan(points, _LINE, Limits(limits.registers, limits.bits, taken, whole=limits.whole))
        except UnknownVariant:
            continue
    return []


def decoded(registers: Iterable[Register], body: bytes, block: Block | None = None) -> list[Value | None]:
    """Values of the registers; without `block` they are one run."""
    rows = tuple(registers)
    first = rows[0]
    values, faults = Decoder(block or Block(first.fc, first.addr, first.words, rows)).decode_bytes(body)
    return [None if i in faults else value for i, value in enumerate(values)]


def evidence(register: Register, value: Value | None) -> float:
    """How much one value speaks for its register; below 0: against it."""
    quantity = quantities().get(register.canonical or "")
    if not quantity or quantity.low is None or quantity.high is None:
        return 0.0
    if isinstance(value, bool | str):
        return 0.0
    if value is None:
        return -1.0  # an error code of the sensor, or bits that are no number
    return weigh(float(value), register.type, register.scale, (quantity.low, quantity.high))


def _name(profile: Profile) -> str:
    return f"{profile.vendor} {profile.model}".replace("(generic) ", "")
