"""What a profile would read: its points, the requests that bring them, and the time of a poll at each speed. No I/O.

For the person who writes a profile, and for lists of models. Where a device must be asked first (its unit, its byte
order) the first choice stands for the others, and is named.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from drivers.bus_plan import one_each
from drivers.frames import Outcome, Request, crc, judge
from drivers.planner import Line, cost, plan, serial_line, tcp_line
from drivers.profile import Profile, UnknownVariant
from drivers.profile_form import Setting
from drivers.reading import Reason, Value
from drivers.register import Block, Decoder, Register

BAUDS = (2400, 4800, 9600, 19200, 38400, 57600, 115200)
"""Speeds that RS-485 devices have."""
MOST_QUESTIONS = 8
"""Choices that one profile can leave open, with room."""


class WrongFrame(ValueError):
    """The two frames are no question and its answer; `what` is a text key under `profile.`."""

    def __init__(self, what: str, **facts: str) -> None:
        """`facts` fill the sentence's placeholders."""
        super().__init__(f"{what} {facts}")
        self.what, self.facts = what, facts


class PointView(msgspec.Struct, frozen=True):
    """A register that is polled."""

    key: str
    point: str
    """`measurement.field`"""
    unit: str
    fc: int
    addr: int
    words: int
    type: str
    order: str
    scale: float


class BlockView(msgspec.Struct, frozen=True):
    """A request."""

    fc: int
    start: int
    count: int
    points: int


class PollTime(msgspec.Struct, frozen=True):
    """The time that one poll takes the bus."""

    baud: int
    """0: Modbus TCP."""
    requests: int
    ms: float
    singles_ms: float
    """The same with a request for each register."""


class ProfileView(msgspec.Struct, frozen=True):
    """One model (`edge profile check --json`)."""

    id: str
    maker: str
    model: str
    kind: str
    confidence: str
    framing: str
    baud: int
    """As the device leaves the factory; 0: not told."""
    variants: list[str]
    open: list[list[str]]
    """Questions that a device's `variant` must answer, each with its answers."""
    assumed: list[str]
    """The variants of this view."""
    points: list[PointView]
    blocks: list[BlockView]
    times: list[PollTime]
    writable: list[str]
    traps: list[str]


def view(profile: Profile, variant: Iterable[str] = (), language: str = "en") -> ProfileView:
    """What `profile` would read. Raises UnknownVariant where `variant` itself cannot be."""
    chosen, questions = settle(profile, variant)
    registers = profile.points(chosen)
    serial = profile.serial
    framing, baud = (serial.framing, serial.baud) if serial else ("8N1", 0)
    line = serial_line(baud or 9600, framing)
    blocks = plan(registers, line, profile.request_limits())
    return ProfileView(
        id=profile.id,
        maker=profile.vendor,
        model=profile.model,
        kind=profile.kind,
        confidence=profile.confidence,
        framing=framing,
        baud=baud,
        variants=profile.choices(),
        open=questions,
        assumed=chosen,
        points=[_point(register) for register in registers],
        blocks=[BlockView(block.fc, block.start, block.count, len(block.registers)) for block in blocks],
        times=_times(profile, registers, framing),
        writable=[_writable(setting, language) for setting in profile.writable],
        traps=[trap.said(language) for trap in profile.traps],
    )


def settle(profile: Profile, variant: Iterable[str] = ()) -> tuple[list[str], list[list[str]]]:
    """The variants with the first answer to each open question added, and the questions. Raises UnknownVariant."""
    chosen, questions = list(variant), list[list[str]]()
    for _ in range(MOST_QUESTIONS):
        try:
            profile.points(chosen)
        except UnknownVariant as unclear:
            if unclear.what not in ("choose_variant", "choose_service"):
                raise
            answers = unclear.facts["choices"].split(", ")
            if answers[0] in chosen:
                raise
            questions.append(answers)
            chosen.append(answers[0])
        else:
            break
    return chosen, questions


def _point(register: Register) -> PointView:
    return PointView(
        key=register.key,
        point=str(register.canonical),
        unit=register.unit,
        fc=register.fc,
        addr=register.addr,
        words=register.words,
        type=register.type,
        order=register.order,
        scale=register.scale,
    )


def _times(profile: Profile, registers: list[Register], framing: str) -> list[PollTime]:
    if not registers:
        return []
    lines: list[tuple[int, Line]] = []
    if "tcp" in profile.transport:
        lines.append((0, tcp_line()))
    if profile.serial:
        lines += [(baud, serial_line(baud, framing)) for baud in sorted({*BAUDS, profile.serial.baud})]
    return [_time(profile, registers, baud, line) for baud, line in lines]


def _time(profile: Profile, registers: list[Register], baud: int, line: Line) -> PollTime:
    blocks = plan(registers, line, profile.request_limits())
    singles = cost(one_each(registers), line)
    return PollTime(baud, len(blocks), round(cost(blocks, line) * 1000, 1), round(singles * 1000, 1))


def _writable(setting: Setting, language: str) -> str:
    return f"{setting.key}: {setting.what.said(language)} (fc{setting.fc} {setting.addr})"


# --- frames that were captured ----------------------------------------------------------------------------------------


class Decoded(msgspec.Struct, frozen=True):
    """One value of a captured answer."""

    point: str
    value: Value | None
    unit: str
    reason: str
    """`ok`, or why it is not good."""


def decoded(profile: Profile, variant: Iterable[str], ask: str, answer: str) -> list[Decoded]:
    """What the profile makes of two captured RTU frames (hex). Raises WrongFrame and UnknownVariant."""
    question, reply = _bare(ask), _bare(answer)
    if len(question) != 6 or question[1] not in (1, 2, 3, 4):
        raise WrongFrame("frame_no_request", frame=ask)
    fc, start, count = question[1], int.from_bytes(question[2:4], "big"), int.from_bytes(question[4:6], "big")
    outcome, body, code = judge(Request(question[0], fc, start, count), reply)
    if outcome is not Outcome.ok:
        raise WrongFrame("frame_exception" if code else "frame_other", frame=answer, code=str(code))
    rows = tuple(r for r in profile.points(variant) if r.fc == fc and start <= r.addr and r.end <= start + count)
    if not rows:
        raise WrongFrame("frame_no_point", first=str(start), last=str(start + count - 1))
    values, faults = Decoder(Block(fc, start, count, rows)).decode_bytes(body)
    return [
        Decoded(str(row.canonical), value, row.unit, faults.get(i, Reason.ok).name)
        for i, (row, value) in enumerate(zip(rows, values, strict=True))
    ]


def _bare(frame: str) -> bytes:
    """A frame without its check sum."""
    try:
        raw = bytes.fromhex(frame)
    except ValueError:
        raise WrongFrame("frame_no_hex", frame=frame) from None
    if len(raw) < 5 or crc(raw[:-2]) != raw[-2:]:
        raise WrongFrame("frame_crc", frame=frame)
    return raw[:-2]
