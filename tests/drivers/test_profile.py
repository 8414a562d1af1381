"""Profiles: all that are shipped load, open choices must be named, and what cannot be is refused with its line."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from drivers.marked import Problems
from drivers.profile import IN_METRES, Profile, UnknownVariant, library, read_profile
from drivers.reading import quantities
from drivers.register import ORDERS, Decoder, plan, tcp_line

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "drivers/devices").glob("*.yaml"))
HEAD = """\
schema: chilinh.device-profile/0.1-draft
id: probe
vendor: A
model: B
kind: water_level
confidence: high
transport: modbus-rtu
unit_id: {default: 1}
registers:
"""


def made(folder: Path, *registers: str, rest: str = "") -> Profile:
    """A profile of these registers."""
    file = folder / "probe.yaml"
    file.write_text(HEAD + "".join(f"  - {{{register}}}\n" for register in registers) + rest, encoding="utf-8")
    return read_profile(file)


def every_choice(profile: Profile) -> list[tuple[str, ...]]:
    """No variant, each by itself, and each pair."""
    names = profile.choices()
    return [(), *((name,) for name in names), *product(names, names)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_profile(path: Path) -> None:
    """It loads, and at least one choice gives registers with canonical points that can be planned and decoded."""
    profile = read_profile(path)
    usable = 0
    for variant in every_choice(profile):
        try:
            registers = profile.points(variant)
        except UnknownVariant:
            continue
        usable += bool(registers)
        for register in registers:
            assert quantities()[register.canonical or ""].unit == register.unit
        for block in plan(registers, tcp_line(), profile.request_limits()):
            Decoder(block).decode([0] * block.count)
    assert usable


def test_library(tmp_path: Path) -> None:
    """A folder of the site adds profiles and overrides those of the package."""
    (tmp_path / "xy-md02.yaml").write_text("x")
    (tmp_path / "our.yaml").write_text("x")
    found = library([tmp_path, tmp_path / "nowhere"])
    assert found["xy-md02"] == tmp_path / "xy-md02.yaml"
    assert {path.stem for path in SHIPPED} | {"our"} == set(found)


def test_unit_told_by_the_instrument(tmp_path: Path) -> None:
    """A level whose unit is set in the instrument is read in metres once the unit is named, and not before."""
    profile = made(tmp_path, "key: pv, addr: 1, type: f32, unit: see unit, canonical: water.level_m")
    assert profile.choices() == list(IN_METRES)
    with pytest.raises(UnknownVariant) as open_choice:
        profile.points()
    assert (open_choice.value.what, open_choice.value.facts["register"]) == ("choose_variant", "pv")
    (register,) = profile.points(["mm"])
    assert (register.unit, register.scale) == ("m", 0.001)


def test_unit_and_order_told_by_the_instrument(tmp_path: Path) -> None:
    """Each open question is asked until it is answered, and two answers to one question are refused."""
    row = "key: pv, addr: 1, type: f32, unit: see unit, order: per register 3000, canonical: water.level_m"
    profile = made(tmp_path, row)
    with pytest.raises(UnknownVariant) as open_choice:
        profile.points(["cm"])
    assert open_choice.value.facts["choices"] == ", ".join(ORDERS)
    (register,) = profile.points(["DCBA", "cm"])
    assert (register.order, register.scale) == ("DCBA", 0.01)
    with pytest.raises(UnknownVariant) as twice:
        profile.points(["cm", "mm", "ABCD"])
    assert twice.value.what == "choose_one"


def test_decimals_told_by_the_instrument(tmp_path: Path) -> None:
    """A value that another register divides by a power of ten needs that power as well."""
    rows = (
        "key: decimals, addr: 3, unit: '1'",
        "key: value, addr: 4, type: s16, unit: per unit_code, canonical: water.depth_m",
    )
    profile = made(tmp_path, *rows)
    with pytest.raises(UnknownVariant):
        profile.points(["cm"])
    (register,) = profile.points(["cm", "1 decimals"])
    assert (register.scale, register.unit) == (0.001, "m")


def test_register_of_two_quantities(tmp_path: Path) -> None:
    """A register in m/s or degrees is wind speed or wind direction, never degrees stored as a speed."""
    profile = made(tmp_path, "key: value, addr: 0, scale: 0.1, unit: m/s or deg, canonical: weather.wind_speed_ms")
    assert profile.choices() == ["m/s", "deg"]
    assert [r.canonical for r in profile.points(["m/s"])] == ["weather.wind_speed_ms"]
    assert [(r.canonical, r.unit) for r in profile.points(["deg"])] == [("weather.wind_dir_deg", "deg")]


def test_variant_that_is_only_a_note() -> None:
    """A variant that changes no register by name is not offered; one that does is applied."""
    profile = read_profile(ROOT / "drivers/devices/renke-01f4-station.yaml")
    assert profile.choices() == ["wind x0.01"]
    scales = [
        next(r.scale for r in profile.points(variant) if r.key == "wind_speed") for variant in ((), ("wind x0.01",))
    ]
    assert scales == [0.1, 0.01]
    with pytest.raises(UnknownVariant) as note:
        profile.points(["CO2 instead of PM"])
    assert note.value.what == "variant_is_note"


def test_services_behind_units(tmp_path: Path) -> None:
    """Where the unit number chooses a service, exactly one service is named."""
    rows = [f"key: {s}, addr: 1, unit: V, canonical: supply.battery_v, service: {s}" for s in ("system", "battery")]
    profile = made(tmp_path, *rows, "key: lat, addr: 9, unit: deg, service: gps")
    assert profile.choices() == ["system", "battery"]
    for variant in ([], ["system", "battery"]):
        with pytest.raises(UnknownVariant) as unclear:
            profile.points(variant)
        assert unclear.value.what == "choose_service"
    assert [r.key for r in profile.points(["battery"])] == ["battery"]


@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        (["key: a, addr: 1, unit: m, canonical: water.levl_m"], (10, "registers[0].canonical", "unknown_point")),
        (["key: a, addr: 1, unit: mm, canonical: water.level_m"], (10, "registers[0].unit", "profile.unit")),
        (["key: a, addr: 1, unit: m", "key: a, addr: 2, unit: m"], (11, "registers[1].key", "profile.key_twice")),
        (
            [
                "key: a, addr: 1, unit: m, canonical: water.level_m",
                "key: b, addr: 1, unit: m, canonical: water.depth_m",
            ],
            (11, "registers[1].addr", "profile.register_twice"),
        ),
        (
            ["key: a, addr: 1, type: f32, words: 1, unit: m, canonical: water.level_m"],
            (10, "registers[0].words", "profile.words"),
        ),
        (["key: a, addr: 1, fc: 2, unit: m, canonical: water.level_m"], (10, "registers[0]", "profile.bit_function")),
        (
            ["key: a, addr: 65535, type: u32, unit: m, canonical: water.level_m"],
            (10, "registers[0].addr", "profile.past_end"),
        ),
        (["key: a, addr: 1, unit: m, order: ABDC"], (10, "registers[0].order", "want_one_of")),
        (["key: a, addr: 012, unit: m"], (10, "registers[0].addr", "leading_zero")),
    ],
)
def test_register_that_cannot_be(tmp_path: Path, registers: list[str], expected: tuple[int, str, str]) -> None:
    """A register that no device can have is refused at its line."""
    with pytest.raises(Problems) as refused:
        made(tmp_path, *registers)
    assert [(p.line, p.path, p.what) for p in refused.value.problems] == [expected]


def test_file_name_of_a_profile(tmp_path: Path) -> None:
    """A profile is called what its file is called, since devices name it so."""
    (tmp_path / "other.yaml").write_text(HEAD + "  - {key: a, addr: 1, unit: m}\n")
    with pytest.raises(Problems) as refused:
        read_profile(tmp_path / "other.yaml")
    assert [p.what for p in refused.value.problems] == ["profile.file_name"]
