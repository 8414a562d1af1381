"""One simulated Modbus unit, made from the profile that the driver reads it with. No I/O: a request in, a reply out.

A *sample* is one instant of the device: all its values and a number, which one point carries (`SequencePoint`). A
reader that needs several requests for one poll gets them from one sample; it gets the next sample when it asks for
something that the present one has already given. Asked for again at once, a sample is given again (`repeat`).
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterable, Mapping

import msgspec

from drivers.profile import LENGTHS, Identity, Profile, Row
from drivers.reading import Value, quantities
from drivers.register import BIT_FUNCTIONS, READ_FUNCTIONS, Block, Decoder, Register
from drivers.sim.encoding import (
    SequencePoint,
    beyond,
    carrier,
    encoder,
    ladder,
    packer,
    sentinel,
)
from drivers.sim.fault import Fault, Troubled
from drivers.sim.ledger import Answer
from drivers.sim.values import Walk

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE = 1, 2, 3, 4
"""Exception codes (Modbus application protocol 1.1b3, 7)."""

SPOILING_ANSWERS = ("exception", "wrong-unit", "garbled")
VALUE_FAULTS = ("sentinel", "out-of-range", "nan")


class Request(msgspec.Struct, frozen=True):
    """What a reader asked for."""

    unit: int
    fc: int
    start: int
    count: int
    tag: bytes = b""
    """TCP: transaction identifier."""


class Reply(msgspec.Struct, frozen=True):
    """What goes back, and the ledger's line for it."""

    pdu: bytes
    unit: int
    delay: float = 0.0
    """Seconds to wait before sending."""
    garbled: bool = False
    answer: Answer | None = None
    """Its time is that of sending. None: an exception for a wrong request."""


class Sample:
    """One instant of a unit."""

    def __init__(self, n: int, images: Mapping[int, bytes], fault: str, struck: str) -> None:
        """`images`: bytes of each function's addresses; `struck`: the point that `fault` hit."""
        self.n, self.images, self.fault, self.struck = n, images, fault, struck
        self.taken = self.used = time.monotonic()
        self.over = False
        """An answer did not arrive whole: the reader begins anew."""
        self.doubted = False
        """No answer was given since the one before was over, or since the reader came back on a new connection."""
        self.asked: set[tuple[int, int, int]] = set()
        """Requests (function, start, count) that it was given for, or would have been."""
        self.answered: set[tuple[int, int, int]] = set()
        """Those of them that got a good answer."""
        self.decoded: dict[tuple[int, int, int], Mapping[str, Value | None]] = {}
        """What their answers say."""

    def continues(self, fc: int, start: int, count: int, last: float) -> bool:
        """True where the request goes on with the poll that the sample was taken for, last used at `last` or later."""
        if self.over or self.used < last:
            return False
        return not any(f == fc and start < s + c and s < start + count for f, s, c in self.asked)


Session = dict[int, Sample]
"""The present sample of each unit number, for one reader: a TCP connection or the serial line."""


class UnitOptions(msgspec.Struct, frozen=True):
    """What is the same for all units of a ward."""

    seed: int = 1
    faults: tuple[Fault, ...] = ()
    strict: bool = False
    """Refuse requests that touch addresses which the profile does not name."""
    static: bool = False
    """One sample for ever: the fastest answers, for benchmarks."""
    fresh: float = 0.05
    """Seconds within which the same request again is a repeated read."""
    gap: float = 0.5
    """Seconds without a request after which another poll has begun."""


class _Cell:
    """One polled register: where its bytes lie, how its value goes there, and what faults can put there instead."""

    def __init__(self, register: Register, name: str, at: int, seed: int, device: str) -> None:
        rungs = ladder(register)
        self.name, self.fc, self.at = name, register.fc, at
        self.walk = Walk(seed, device, name, *(rungs.span if rungs else (0.0, 1.0)))
        self.encode = encoder(register)
        self.two_state = rungs is None and register.type != "str"
        self.text = register.type == "str"
        self.shared = register.type == "bit" and register.fc not in BIT_FUNCTIONS
        self.spoilt = {kind: wire for kind in VALUE_FAULTS if (wire := _spoilt(register, kind)) is not None}

    def wire(self) -> bytes:
        """Bytes of the next value."""
        value = self.walk.step()
        if self.text:
            return self.encode(self.name[-2:])
        return self.encode(value > 0.5 if self.two_state else value)


def _mark(identity: Identity, device: str) -> bytes:
    """What an identity register answers: a number of the model, or one of the device's own."""
    register = identity.register
    if identity.equals:
        return encoder(register)(min(identity.equals, key=str))
    own = zlib.crc32(device.encode())
    return encoder(register)(f"{own:08x}" if register.type == "str" else own % 32768)


def _spoilt(register: Register, kind: str) -> bytes | None:
    """Bytes that a value fault puts in place of the value; None where the register cannot have it."""
    quantity = quantities().get(register.canonical or "")
    if kind == "sentinel":
        return sentinel(register)
    if kind == "nan":
        return packer(register)(float("nan")) if register.type in ("f32", "f64") else None
    value = beyond(register, quantity) if quantity and ladder(register) else None
    return encoder(register)(value) if value is not None else None


class Unit:
    """A simulated device on a bus."""

    def __init__(
        self,
        device: str,
        number: int,
        profile: Profile,
        variant: Iterable[str] = (),
        options: UnitOptions | None = None,
        *,
        first: int = 0,
    ) -> None:
        """`first`: the last sequence number of an earlier run. Raises drivers.profile.UnknownVariant."""
        self.device, self.number = device, number
        self.options = options or UnitOptions()
        self.troubles = Troubled(self.options.seed, device, self.options.faults)
        self._limits = profile.request_limits()
        self._registers = profile.points(variant)
        self._names = point_names(self._registers)
        self._known, self._areas = _addresses(profile, self._registers)
        self._cells = [
            _Cell(r, name, self._at(r), self.options.seed, device)
            for r, name in zip(self._registers, self._names, strict=True)
        ]
        self._marks = [
            (each.register.fc, self._at(each.register), _mark(each, device)) for each in profile.identities()
        ]
        self._readers: dict[tuple[int, int, int], tuple[list[str], Decoder] | None] = {}
        self._n = first
        self._carrier = carrier(self._registers)
        self._held: Sample | None = None

    @property
    def sequence(self) -> SequencePoint | None:
        """Which point carries the sample's number."""
        return self._carrier.point(self._names[self._carrier.index]) if self._carrier else None

    def _at(self, register: Register) -> int:
        """Offset of the register's bytes in its function's image."""
        width = 1 if register.fc in BIT_FUNCTIONS else 2
        return (register.addr - self._areas[register.fc][0]) * width

    # --- answering ---

    def answer(self, request: Request, session: Session, decode: bool = True) -> Reply | None:
        """The reply to one request; None: silence. With `decode` the ledger's line has the values."""
        if code := self._refusal(request):
            return Reply(bytes((request.fc | 0x80, code)), self.number)
        sample = self._sample(request, session)
        if self._too_narrow(request) or self.troubles.strikes("silent"):
            sample.over = True
            return None
        asked = (request.fc, request.start, request.count)
        line = self._line(sample, request, asked in sample.answered, decode)
        if self.troubles and (reply := self._troubled(sample, request, line)):
            return reply
        if sample.doubted:
            sample.doubted = False
            return Reply(self._pdu(sample, request), self.number, answer=msgspec.structs.replace(line, doubted=True))
        sample.answered.add(asked)
        return Reply(self._pdu(sample, request), self.number, answer=line)

    def _refusal(self, request: Request) -> int:
        """The exception code of a request that this device refuses, else 0."""
        fc, start, count = request.fc, request.start, request.count
        if fc not in READ_FUNCTIONS:
            return ILLEGAL_FUNCTION
        if not 1 <= count <= (self._limits.bits if fc in BIT_FUNCTIONS else self._limits.registers):
            return ILLEGAL_VALUE
        low, high = self._areas.get(fc, (0, 0))
        if start < low or start + count > high:
            return ILLEGAL_ADDRESS
        if self.options.strict and not self._known[fc].issuperset(range(start, start + count)):
            return ILLEGAL_ADDRESS
        return 0

    def _too_narrow(self, request: Request) -> bool:
        """True where a block that only answers whole is asked for in part: such devices keep silent."""
        if not self._limits.whole or request.fc in BIT_FUNCTIONS:
            return False
        first, count = self._limits.whole
        end = request.start + request.count
        touches = request.start < first + count and first < end
        return touches and not (request.start <= first and first + count <= end)

    def _sample(self, request: Request, session: Session) -> Sample:
        """The sample that answers the request: the present one while its poll lasts, else the next."""
        asked = (request.fc, request.start, request.count)
        sample, now = session.get(self.number), time.monotonic()
        again = sample and asked in sample.asked and now - sample.taken < self.options.fresh
        if sample is None or not (again or sample.continues(*asked, now - self.options.gap)):
            before, sample = sample, self._draw()
            sample.doubted = before.over or before.doubted if before else sample.n > 1
            session[self.number] = sample
        sample.asked.add(asked)
        sample.used = now
        return sample

    def _pdu(self, sample: Sample, request: Request) -> bytes:
        low = self._areas[request.fc][0]
        at = request.start - low
        if request.fc in BIT_FUNCTIONS:
            states = sample.images[request.fc][at : at + request.count]
            packed = bytes(
                sum(bit << i for i, bit in enumerate(states[byte : byte + 8])) for byte in range(0, len(states), 8)
            )
            return bytes((request.fc, len(packed))) + packed
        return bytes((request.fc, request.count * 2)) + sample.images[request.fc][at * 2 : (at + request.count) * 2]

    def _troubled(self, sample: Sample, request: Request, line: Answer) -> Reply | None:
        """The reply that a fault makes of a good one; None: none strikes."""
        late, slow = self.troubles.strikes("late"), self.troubles.strikes("slow")
        delay = max((fault.amount for fault in (late, slow) if fault), default=0.0) / 1000
        name = next((name for name in SPOILING_ANSWERS if self.troubles.strikes(name)), "")
        if not (delay or name):
            return None
        line = msgspec.structs.replace(line, fault=name or ("late" if late else "slow"))
        sample.over = sample.over or bool(late) or name in ("garbled", "wrong-unit")
        if name == "exception":
            line = msgspec.structs.replace(line, values={})
            return Reply(bytes((request.fc | 0x80, DEVICE_FAILURE)), self.number, delay, answer=line)
        number = (self.number + (name == "wrong-unit")) % 256
        return Reply(self._pdu(sample, request), number, delay, name == "garbled", line)

    # --- the ledger's line ---

    def _line(self, sample: Sample, request: Request, repeat: bool, decode: bool) -> Answer:
        fc, start, count = request.fc, request.start, request.count
        values: Mapping[str, Value | None] = {}
        if decode:
            if (fc, start, count) not in sample.decoded:
                sample.decoded[fc, start, count] = self._decoded(sample, fc, start, count)
            values = sample.decoded[fc, start, count]
        fault = sample.fault if sample.struck in values else ""
        return Answer(sample.n, self.device, 0, values, {}, repeat, False, fault, fc, start, count)

    def _decoded(self, sample: Sample, fc: int, start: int, count: int) -> Mapping[str, Value | None]:
        """What a perfect reader makes of the answer, by the driver's own decoder."""
        key = (fc, start, count)
        if key not in self._readers:
            self._readers[key] = self._reader(*key)
        reader = self._readers[key]
        if reader is None:
            return {}
        names, decoder = reader
        at = start - self._areas[fc][0]
        image = sample.images[fc]
        words = image[at : at + count] if fc in BIT_FUNCTIONS else struct.unpack_from(f">{count}H", image, at * 2)
        values, _ = decoder.decode(words)
        return {name: _kept(name, value) for name, value in zip(names, values, strict=True)}

    def _reader(self, fc: int, start: int, count: int) -> tuple[list[str], Decoder] | None:
        inside = [
            (register, name)
            for register, name in zip(self._registers, self._names, strict=True)
            if register.fc == fc and start <= register.addr and register.end <= start + count
        ]
        inside.sort(key=lambda pair: (pair[0].addr, -pair[0].words))
        if not inside:
            return None
        return [name for _, name in inside], Decoder(Block(fc, start, count, tuple(r for r, _ in inside)))

    # --- samples ---

    def _draw(self) -> Sample:
        """The next instant of the device."""
        if self._held:
            return self._held
        self._n += 1
        images = {
            fc: bytearray((high - low) * (1 if fc in BIT_FUNCTIONS else 2)) for fc, (low, high) in self._areas.items()
        }
        for fc, at, wire in self._marks:
            images[fc][at : at + len(wire)] = wire
        for cell in self._cells:
            self._put(images, cell, cell.wire())
        if self._carrier:
            cell = self._cells[self._carrier.index]
            self._put(images, cell, cell.encode(self._carrier.value(self._n)))
        fault, struck = self._spoil(images)
        sample = Sample(self._n, {fc: bytes(image) for fc, image in images.items()}, fault, struck)
        if self.options.static:
            self._held = sample
        return sample

    def _put(self, images: Mapping[int, bytearray], cell: _Cell, wire: bytes) -> None:
        image = images[cell.fc]
        if cell.shared:  # Several bits of one register.
            wire = bytes(old | new for old, new in zip(image[cell.at : cell.at + 2], wire, strict=True))
        image[cell.at : cell.at + len(wire)] = wire

    def _spoil(self, images: Mapping[int, bytearray]) -> tuple[str, str]:
        """Let a value fault hit one point, never the one that carries the number. Returns the fault and the point."""
        carries = self._carrier.index if self._carrier else -1
        for kind in VALUE_FAULTS:
            if not self.troubles.strikes(kind):
                continue
            able = [cell for i, cell in enumerate(self._cells) if i != carries and kind in cell.spoilt]
            if able:
                cell = able[self.troubles.choose(kind, len(able))]
                self._put(images, cell, cell.spoilt[kind])
                return kind, cell.name
        return "", ""


def point_names(registers: Iterable[Register]) -> list[str]:
    """Names of the points: canonical, with `[src=key]` for each further register that gives the same."""
    seen: set[str] = set()
    names = []
    for register in registers:
        name = register.canonical or register.key
        names.append(f"{name}[src={register.key}]" if name in seen else name)
        seen.add(name)
    return names


def _kept(name: str, value: Value | None) -> Value | None:
    """The value in the kind that the naming table wants: whole numbers stay whole."""
    quantity = quantities().get(name.partition("[")[0])
    return round(value) if quantity and quantity.kind == "int" and isinstance(value, float) else value


def _addresses(profile: Profile, points: Iterable[Register]) -> tuple[dict[int, set[int]], dict[int, tuple[int, int]]]:
    """Addresses that the profile names, by function, and the range (first, after last) that they span."""
    known: dict[int, set[int]] = {}
    for row in profile.registers:
        known.setdefault(row.fc or profile.defaults.fc, set()).update(range(row.addr, row.addr + _length(profile, row)))
    for register in points:
        known.setdefault(register.fc, set()).update(range(register.addr, register.end))
    for told in profile.identities():
        block = told.block()
        known.setdefault(block.fc, set()).update(range(block.start, block.start + block.count))
    if whole := profile.request_limits().whole:
        known.setdefault(profile.defaults.fc, set()).update(range(whole[0], whole[0] + whole[1]))
    return known, {fc: (min(found), max(found) + 1) for fc, found in known.items()}


def _length(profile: Profile, row: Row) -> int:
    """Registers of a row, with the minimum, maximum and mean that may follow it."""
    kind = row.type or profile.defaults.type
    words = row.words or (2 if kind == "str4" else LENGTHS.get(kind, 1))
    return words * (1 + len(row.followed_by or ()))
