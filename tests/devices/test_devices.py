"""Every model against frames of its wire: one folder a model, one file a case, and this one runner for all.

A case holds whole RTU frames as hex, what is asked and what the device answers, and the values that must come of it.
`docs/add-a-device.md` tells how to write one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from drivers.frames import Outcome, Request, crc, judge
from drivers.profile import Profile, library, read_profile
from drivers.reading import Reason, Value
from drivers.register import BIT_FUNCTIONS, Block, Decoder, Register
from drivers.sim.unit import point_names

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*.yaml"))
WITHOUT_CASES = {"icpdas-cl211"}
"""Its value registers are not known."""


class Frames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request and its answer, whole RTU frames as hex."""

    ask: str
    answer: str


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one file says."""

    unit: int
    frames: list[Frames]
    values: dict[str, Value] | None = None
    """Good values by `measurement.field`, with `[src=key]` where the device gives the same field again."""
    faults: dict[str, str] = {}
    """Values that are not good, and why."""
    variant: tuple[str, ...] = ()


def read(path: Path) -> Case:
    """One case; the profile is that of its folder."""
    return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Case)


def bare(frame: str) -> bytes:
    """A frame without its check sum, which must be right."""
    raw = bytes.fromhex(frame)
    assert crc(raw[:-2]) == raw[-2:], f"check sum {crc(raw[:-2]).hex(' ')} expected: {frame}"
    return raw[:-2]


def decoded(case: Case, registers: list[Register]) -> Iterator[tuple[Register, Value | None, Reason]]:
    """The value of every register that the case's answers bring."""
    for frames in case.frames:
        ask = bare(frames.ask)
        fc, start, count = ask[1], int.from_bytes(ask[2:4], "big"), int.from_bytes(ask[4:6], "big")
        outcome, body, _ = judge(Request(case.unit, fc, start, count), bare(frames.answer))
        assert (ask[0], outcome) == (case.unit, Outcome.ok)
        rows = tuple(r for r in registers if r.fc == fc and start <= r.addr and r.end <= start + count)
        values, faults = Decoder(Block(fc, start, count, rows)).decode_bytes(body)
        yield from ((row, values[i], faults.get(i, Reason.ok)) for i, row in enumerate(rows))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_frames_of_a_device(path: Path) -> None:
    """The frames of the wire become exactly the values that the case expects: none missing, none besides."""
    case = read(path)
    profile = read_profile(library()[path.parent.name])
    registers = profile.points(case.variant)
    names = dict(zip((register.key for register in registers), point_names(registers), strict=True))
    found = {names[row.key]: (value, reason) for row, value, reason in decoded(case, registers)}
    good = {name: value for name, (value, reason) in found.items() if reason is Reason.ok}
    assert good == (case.values or {})
    assert {name: reason.name for name, (_, reason) in found.items() if reason is not Reason.ok} == case.faults
    assert set(found) == set(names.values()), "every point of the profile is in one of the frames"


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_requests_within_the_limits_of_a_device(path: Path) -> None:
    """What a case asks is what the profile allows to ask."""
    limits = read_profile(library()[path.parent.name]).request_limits()
    for frames in read(path).frames:
        ask = bare(frames.ask)
        start, count = int.from_bytes(ask[2:4], "big"), int.from_bytes(ask[4:6], "big")
        assert count <= (limits.bits if ask[1] in BIT_FUNCTIONS else limits.registers)
        if limits.whole and start < sum(limits.whole) and limits.whole[0] < start + count:
            assert (start, count) == limits.whole


def _choices_tried(model: str, profile: Profile) -> set[str]:
    chosen = {name for path in CASES if path.parent.name == model for name in read(path).variant}
    return {variant.name for variant in profile.variants if profile.changed(variant)} - chosen


@pytest.mark.parametrize("model", sorted(library()))
def test_cases_of_a_model(model: str) -> None:
    """Every model that ships has cases, and every variant of a model is in one of them."""
    profile = read_profile(library()[model])
    assert any(path.parent.name == model for path in CASES) is (model not in WITHOUT_CASES)
    assert _choices_tried(model, profile) == set()
