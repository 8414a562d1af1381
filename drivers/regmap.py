"""The register map of one Modbus device at work: the blocks to ask for, and their answers as readings. No I/O.

Made once per device: everything that a poll needs is compiled beforehand. Each registered block is a `Step`, which
keeps what became of it in the poll under way; `readings` then takes one `Readings` per source from all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter

import msgspec

from drivers.frames import Outcome, Request
from drivers.planner import Limits, Line, plan
from drivers.reading import NO_FAULTS, Readings, Reason, Source, Value, quantities
from drivers.register import BIT_FUNCTIONS, Block, Decoder, Register

Values = Sequence[Value | None]


class Step:
    """One block, ready to be asked for and decoded, and what became of it."""

    def __init__(self, unit: int, block: Block) -> None:
        """`unit`: the device's number on its bus."""
        self.block = block
        self.alarm = block.registers[0].alarm
        """Its points are alarm points."""
        self.once = block.registers[0].once
        """Reading it takes its content away."""
        self.size = block.count / 16 if block.fc in BIT_FUNCTIONS else float(block.count)
        """Registers on the line."""
        self.outcome, self.code = Outcome.ok, 0
        """The last one, and its exception code."""
        self.patience, self.learned = 0.0, -1
        """Seconds to wait for its answer while all is well, and as of when."""
        self.missed = 0
        """Polls in a row in which it held the line up in vain."""
        self.rests_until = 0.0
        """`time.monotonic()` before which it is left out, for it does not answer while others of its device do."""
        self.request = Request(unit, block.fc, block.start, block.count)
        self._decode = Decoder(block).decode_bytes
        self.values: Values = (None,) * len(block.registers)
        """In the order of the block's registers."""
        self.faults: Mapping[int, Reason] = NO_FAULTS
        self.read = False
        self.body = b""
        """Data bytes of its last good answer."""

    def take(self, body: bytes) -> None:
        """The answer's data have come."""
        self.values, self.faults = self._decode(body)
        self.read, self.body = True, body
        self.missed = 0

    def miss(self, reason: Reason) -> None:
        """No answer, or never asked."""
        count = len(self.block.registers)
        self.values, self.faults = (None,) * count, dict.fromkeys(range(count), reason)
        self.read = False


class _Shape(msgspec.Struct, frozen=True):
    """How the readings of one source are taken from the values of all steps."""

    source: Source
    pick: Callable[[Values], tuple[Value | None, ...]]
    place: Mapping[int, int]
    """Index within the source by index among all values."""
    alarm: bool


class Raw(msgspec.Struct, frozen=True):
    """A point's register and what the device last said there."""

    register: Register
    block: Block
    """The request that reads it."""
    content: bytes
    """Its registers' bytes as they came; empty: none yet."""


class RegisterMap:
    """The registers of one device, planned into steps for its line."""

    def __init__(self, device: str, unit: int, origin: str, registers: Sequence[Register]) -> None:
        """`registers` all have a canonical name; `origin` as in Source. `arrange` completes it."""
        self.unit = unit
        self.registers = registers
        self.sources = list(_sources(device, origin, registers))
        self.apart = len({register.alarm for register in registers}) > 1
        """There are alarm points and others: they are polled each by themselves."""
        self.steps: list[Step] = []

    def arrange(self, line: Line, limits: Limits) -> None:
        """Plan the blocks anew and compile what a poll needs. The sources stay the same objects."""
        blocks = plan(self.registers, line, limits)
        if self.steps and blocks == [step.block for step in self.steps]:
            return
        self.steps = [Step(self.unit, block) for block in blocks]
        rows = [register for step in self.steps for register in step.block.registers]
        self._shapes = [_shape(source, mine, rows) for source, mine in self.sources]
        self._casts = [(i, cast) for i, row in enumerate(rows) if (cast := _cast(row))]

    def can_change(self) -> bool:
        """False where no cost of a request makes a better plan: one block for each function, without holes."""
        functions = {step.block.fc for step in self.steps}
        return len(functions) < len(self.steps) or any(step.block.holes() for step in self.steps)

    def readings(self, time: int, mono: int, polls: int = 1) -> tuple[Readings, ...]:
        """One instant of every source, from what the steps hold now."""
        values: list[Value | None] = []
        faults: dict[int, Reason] = {}
        for step in self.steps:
            for i, reason in step.faults.items():
                faults[len(values) + i] = reason
            values += step.values
        for i, cast in self._casts:
            if (value := values[i]) is not None:
                values[i] = cast(value)
        if not faults:
            return tuple([Readings(each.source, time, mono, each.pick(values), polls=polls) for each in self._shapes])
        return tuple(
            Readings(each.source, time, mono, each.pick(values), _own(faults, each.place), polls=polls)
            for each in self._shapes
        )

    def part(self, alarm: bool, time: int, mono: int, polls: int = 1) -> tuple[Readings, ...]:
        """The same of the alarm points alone, or of the others."""
        found = self.readings(time, mono, polls)
        return tuple(each for each, shape in zip(found, self._shapes, strict=True) if shape.alarm is alarm)

    def raw(self, source: Source, index: int) -> Raw | None:
        """What stands behind a point; None: it is not of this device."""
        mine = next((rows for each, rows in self.sources if each is source), None)
        if mine is None:
            return None
        register = mine[index]
        step = next(each for each in self.steps if register in each.block.registers)
        return Raw(register, step.block, _slice(step, register))

    def blank(self, why: Reason, time: int, mono: int, polls: int, alarm: bool | None = None) -> tuple[Readings, ...]:
        """Readings that say of every point, of the alarm points or of the others, why it was not read."""
        shapes = [shape for shape in self._shapes if alarm is None or shape.alarm is alarm]
        faults = [dict.fromkeys(each.place.values(), why) for each in shapes]
        return tuple(
            Readings(each.source, time, mono, (None,) * len(wrong), wrong, polls=polls)
            for each, wrong in zip(shapes, faults, strict=True)
        )


def _slice(step: Step, register: Register) -> bytes:
    at = register.addr - step.block.start
    if step.block.fc in BIT_FUNCTIONS:
        return bytes([step.body[at >> 3] >> (at & 7) & 1]) if step.body else b""
    return step.body[2 * at : 2 * (at + register.words)]


def _sources(device: str, origin: str, registers: Sequence[Register]) -> Iterator[tuple[Source, list[Register]]]:
    """Registers by measurement; where two give the same field, each further one is a source of its own, tagged src.

    Alarm points are sources of their own too: they are read at another time.
    """
    groups: dict[tuple[str, str, bool], list[Register]] = {}
    seen: set[str] = set()
    for register in registers:
        name = str(register.canonical)
        again = register.key if name in seen else ""
        groups.setdefault((name.split(".", 1)[0], again, register.alarm), []).append(register)
        seen.add(name)
    for (_, again, _), rows in groups.items():
        fields = tuple(quantities()[str(row.canonical)] for row in rows)
        yield Source(device, fields, (("src", again),) if again else (), origin), rows


def _shape(source: Source, mine: list[Register], rows: list[Register]) -> _Shape:
    at = [next(i for i, row in enumerate(rows) if row is register) for register in mine]
    place = {index: i for i, index in enumerate(at)}
    alarm = mine[0].alarm
    if at == list(range(len(rows))):
        return _Shape(source, tuple, place, alarm)
    if len(at) == 1:
        only = at[0]
        return _Shape(source, lambda values: (values[only],), place, alarm)
    return _Shape(source, itemgetter(*at), place, alarm)


def _own(faults: Mapping[int, Reason], place: Mapping[int, int]) -> Mapping[int, Reason]:
    """The faults of one source, by its own index."""
    return {place[i]: reason for i, reason in faults.items() if i in place} or NO_FAULTS


def _cast(register: Register) -> Callable[[Value], Value] | None:
    """From what the decoder gives to the kind that the naming table wants; None: it is that already."""
    kind = quantities()[str(register.canonical)].kind
    is_bit = register.type == "bit" or register.fc in BIT_FUNCTIONS
    if kind == "bool":
        return None if is_bit else bool
    if kind == "str":
        return None if register.type == "str" else str
    if is_bit:
        return int
    whole = register.type not in ("f32", "f64", "str") and float(register.scale).is_integer()
    return _nearest if kind == "int" and not whole else None


def _nearest(value: Value) -> Value:
    return value if isinstance(value, str) else round(value)
