"""Profiles: all that are shipped load, open choices must be named, and what cannot be is refused with its line."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from drivers.marked import Problems
from drivers.planner import plan, tcp_line
from drivers.profile import IN_METRES, Profile, UnknownVariant, library, read_profile
from drivers.reading import quantities
from drivers.register import CODES, ORDERS, Decoder

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "drivers/devices").glob("*.yaml"))
WITHOUT_POINTS = ("icpdas-cl211",)
"""Its manual was seen without the value registers; `edge check` refuses it for a device."""
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
    assert usable or path.stem in WITHOUT_POINTS


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
    assert profile.choices() == ["wind x0.01", "CO2 instead of PM"]
    scales = [
        next(r.scale for r in profile.points(variant) if r.key == "wind_speed") for variant in ((), ("wind x0.01",))
    ]
    assert scales == [0.1, 0.01]
    with pytest.raises(UnknownVariant) as note:
        profile.points(["0-based map (W2 models)"])
    assert note.value.what == "variant_is_note"


def test_variant_that_takes_points_away() -> None:
    """The station with CO2 has neither PM2.5 nor PM10, and CO2 at the register of PM2.5."""
    profile = read_profile(ROOT / "drivers/devices/renke-01f4-station.yaml")
    air = {r.addr: r.canonical for r in profile.points(["CO2 instead of PM"]) if str(r.canonical).startswith("air.")}
    assert air == {507: "air.co2_ppm"}


def test_two_variants_of_one_register() -> None:
    """Variants add up where they change different attributes of one register."""
    profile = read_profile(ROOT / "drivers/devices/advantech-adam-4150.yaml")
    chosen = ["high word first", "rain 0.2 mm", "keep rising"]
    first = profile.points(chosen)[0]
    assert (first.order, first.canonical, first.scale) == ("ABCD", "weather.rain_total_mm", 0.2)
    rule = profile.rules(chosen)["weather.rain_total_mm", ""]
    assert rule.counter
    assert rule.counter.total
    assert set(profile.rules(chosen)) >= {("counter.count", ""), ("counter.count", "counter_2")}


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
        (["key: a, addr: 1, unit: m, canonical: water.levl_m"], (10, "registers[0].canonical", "unknown_point_near")),
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


@pytest.mark.parametrize(
    ("row", "rest", "expected"),
    [
        ("", "invalid: {u16: 65536}\n", ("invalid.u16", "profile.not_in_type")),
        ("", "invalid: {s16: 65535}\n", ("invalid.s16", "profile.not_in_type")),
        ("", "invalid: {f32: -1}\n", ("invalid.f32", "profile.not_in_type")),
        ("", "invalid: {u17: 1}\n", ("invalid.u17", "profile.invalid_type")),
        ("", "invalid: {valid_u16: [5, 1]}\n", ("invalid.valid_u16", "profile.valid_pair")),
        ("", "invalid: {valid_u32: []}\n", ("invalid.valid_u32", "profile.valid_pair")),
        ("", "invalid: {valid_u16: 5}\n", ("invalid.valid_u16", "profile.valid_pair")),
        ("", "limits: {read_as_one_block: [65500, 80]}\n", ("limits.read_as_one_block", "profile.block")),
        (
            "",
            "limits: {max_registers: 8, read_as_one_block: [0, 9]}\n",
            ("limits.read_as_one_block", "profile.block"),
        ),
        ("", "limits: {read_as_one_block: [0, 2]}\n", ("registers[0].addr", "profile.across_block")),
        ("", "limits: {max_registers: 1}\n", ("registers[0].addr", "profile.too_long")),
        (", range: [9, 1]", "", ("registers[0].range", "profile.range_order")),
        (", scale: 0", "", ("registers[0].scale", "profile.scale")),
        (", scale: 1.0e+300", "", ("registers[0].scale", "profile.scale")),
        (", counter: {wraps_at: 4294967296}", "", ("registers[0].counter.wraps_at", "profile.not_in_type")),
        ("", "ident: [{key: b}]\n", ("ident[0].key", "profile.no_register")),
        ("", "ident: [{key: a, equals: [x]}]\n", ("ident[0].equals", "profile.ident_kind")),
        ("", "ident: [{key: a, equals: [-1]}]\n", ("ident[0].equals", "profile.not_in_type")),
        ("", "variants: [{name: v, change: {b.scale: 1}}]\n", ("variants[0].change", "profile.variant_change")),
        ("", "variants: [{name: v, change: {a.scale: 0}}]\n", ("variants[0].change", "profile.scale")),
        ("", "writable: [{key: w, addr: 1, fc: 6, type: u32, what: x}]\n", ("writable[0].fc", "profile.write_one")),
        ("", "writable: [{key: w, addr: 1, range: [0, 70000], what: x}]\n", ("writable[0]", "profile.not_in_type")),
        ("", "writable: [{key: address, addr: 1, what: x}]\n", ("writable[0]", "profile.address_role")),
        ("", "writable: [{key: w, addr: 1, what: {en: x, vi: địa chỉ}}]\n", ("writable[0]", "profile.address_role")),
        (
            "",
            "writable: [{key: a, addr: 1, range: [1, 254], role: address, what: x}]\n",
            ("writable[0]", "profile.address_range"),
        ),
        (
            "",
            "writable: [{key: a, addr: 2, range: [1, 9], role: address, what: x},"
            " {key: b, addr: 1, fc: 16, type: u32, what: x}]\n",
            ("writable[1]", "profile.address_role"),
        ),
        ("", "writable: [{key: w, addr: 1, what: 5}]\n", ("writable[0].what", "want_mapping")),
        ("", "timing: {warm_up: 5}\n", ("timing.warm_up", "unknown_key_near")),
        ("", "serial: {framing: 9N1}\n", ("serial.framing", "framing")),
    ],
)
def test_part_that_cannot_be(tmp_path: Path, row: str, rest: str, expected: tuple[str, str]) -> None:
    """What would be a fault of the program at work is a fault of the file before: codes, blocks, scales, settings."""
    with pytest.raises(Problems) as refused:
        made(tmp_path, f"key: a, addr: 1, type: u32, unit: m, canonical: water.level_m{row}", rest=rest)
    assert [(p.path, p.what) for p in refused.value.problems] == [expected]


def test_framing_that_looks_like_a_number(tmp_path: Path) -> None:
    """YAML reads 8E1 as the number 80; the line is 8E1 all the same."""
    profile = made(tmp_path, "key: a, addr: 1, unit: m", rest="serial: {framing: 8E1}\n")
    assert profile.serial
    assert profile.serial.framing == "8E1"


def test_identity_registers() -> None:
    """A model is told by the masked number of its register; a serial number only has to stay the same."""
    (wxt,) = read_profile(ROOT / "drivers/devices/vaisala-wxt530.yaml").identities()
    assert (wxt.register.fc, wxt.register.addr) == (4, 0)
    assert [wxt.matches(number) for number in (0x0112, 0x0601, 0x0712, 0)] == [True, True, False, False]
    model, serial = read_profile(ROOT / "drivers/devices/ecowitt-wn90lp.yaml").identities()
    assert (model.matches(0x90), model.matches(0x24), serial.matches(7)) == (True, False, True)
    assert (serial.register.type, serial.seen(123456)) == ("u32", 123456)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_texts_of_a_shipped_profile(path: Path) -> None:
    """What a technician is shown stands in both languages, Vietnamese with its marks."""
    profile = read_profile(path)
    for words in [*profile.traps, *(setting.what for setting in profile.writable)]:
        assert words.en != words.vi
        assert words.vi == normalize("NFC", words.vi)
        assert any(ord(letter) > 127 for letter in words.vi)


SCALES = st.sampled_from([1.0, 0.1, 0.001, 10.0, 1e-5, 100.0, -0.5, 1e12, 1e300])
NUMBERS = st.one_of(st.integers(-2, 70_000), st.integers(-(1 << 33), 1 << 33), st.integers(0, 1 << 64))
ROW = st.fixed_dictionaries(
    {"addr": st.one_of(st.integers(0, 40), st.integers(65530, 65535))},
    optional={
        "type": st.sampled_from([*CODES, "bit", "str", "str4"]),
        "fc": st.sampled_from([1, 2, 3, 4]),
        "order": st.sampled_from([*ORDERS, "per register 9"]),
        "words": st.integers(1, 6),
        "scale": SCALES,
        "offset_raw": NUMBERS,
        "bit": st.integers(0, 15),
        "range": st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
        "counter": st.fixed_dictionaries({"wraps_at": NUMBERS}, optional={"biggest_step": NUMBERS}),
        "warmup_s": st.floats(0, 100),
    },
)
PROFILE = st.fixed_dictionaries(
    {"registers": st.lists(ROW, min_size=1, max_size=6)},
    optional={
        "invalid": st.dictionaries(
            st.sampled_from([*CODES, "f32_raw", "valid_u16", "valid_s32"]),
            st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3)),
            max_size=3,
        ),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "max_registers": st.integers(1, 8),
                "read_as_one_block": st.tuples(st.integers(-1, 40), st.integers(0, 9)),
            },
        ),
    },
)


def _tidy(row: dict[str, Any], i: int) -> dict[str, Any]:
    """The row without what contradicts its type or the rows before."""
    row = {key: part for key, part in row.items() if key not in ("range", "words", "counter")}
    kind = "bit" if row.get("fc", 3) < 3 else row.get("type", "u16")
    return row | {"type": kind, "addr": 6 * i + row["addr"] % 3}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(told=PROFILE, tidy=st.booleans(), noise=st.binary(min_size=2 * 125, max_size=2 * 125))
def test_whatever_passes_the_check_can_be_polled(told: dict[str, Any], tidy: bool, noise: bytes) -> None:
    """A profile is refused with its place, or planned and decoded without a fault whatever the device answers."""
    rows = [
        row | {"key": f"k{i}", "unit": "m", "canonical": "water.level_m"} for i, row in enumerate(told["registers"])
    ]
    if tidy:  # else most are refused for a trifle
        rows = [_tidy(row, i) for i, row in enumerate(rows)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "probe.yaml"
        head = HEAD.replace("registers:\n", "")
        file.write_text(
            head + "".join(f"{key}: {json.dumps(part)}\n" for key, part in (told | {"registers": rows}).items())
        )
        try:
            profile = read_profile(file)
        except Problems:
            event("refused")
            return
    event("polled")
    with suppress(UnknownVariant):
        registers = profile.points([name for name in profile.choices() if name == "CDAB"])
        profile.rules([name for name in profile.choices() if name == "CDAB"])
        for block in plan(registers, tcp_line(), profile.request_limits()):
            assert block.start + block.count <= 65536
            values, _ = Decoder(block).decode_bytes(noise[: 2 * block.count])
            assert all(isinstance(v, str | bool | float | None) or -(1 << 63) <= v < 1 << 63 for v in values)
