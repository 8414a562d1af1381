"""YAML that people and programs get wrong: every fault has its line and column, none costs more than a second."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from drivers.marked import Problem, Problems, Secret, SecretMissing, Tree, load
from drivers.settings import Bus, Part


class Shelf(Part):
    """A model with one of each kind of value."""

    name: str = ""
    on: bool = False
    count: int = 0
    weight: float = 0.0
    words: tuple[str, ...] = ()
    secret: Secret | None = None
    inner: Shelf | None = None
    numbers: dict[int, str] = Field(default_factory=dict)


def read(folder: Path, text: str | bytes, model: type[Part] = Shelf) -> Part:
    """What the file holds."""
    file = folder / "file.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, model)


def faults(folder: Path, text: str | bytes, model: type[Part] = Shelf) -> list[tuple[int, int, str, str]]:
    """Line, column, path and kind of every problem."""
    with pytest.raises(Problems) as refused:
        read(folder, text, model)
    return [(p.line, p.column, p.path, p.what) for p in refused.value.problems]


def test_all_faults_of_a_file(tmp_path: Path) -> None:
    """One reading of a file says everything that is wrong with it, in the order of its lines."""
    text = """\
id: line-1
tcp: 10.0.0.5
baud: "9600"
tiemout: 3s
devices:
  - {id: a, profile: x, unit: 012, every: 12:30:45, limits: {water.level_m: {low: no}}}
  - {id: a, id: 3, unit: on, every: 10}
"""
    assert faults(tmp_path, text, Bus) == [
        (3, 7, "baud", "in_quotes"),
        (4, 1, "tiemout", "unknown_key_near"),
        (6, 31, "devices[0].unit", "leading_zero"),
        (6, 43, "devices[0].every", "sexagesimal"),
        (6, 83, "devices[0].limits.water.level_m.low", "want_number"),
        (7, 5, "devices[1].profile", "missing_key"),
        (7, 13, "devices[1].id", "duplicate_key"),
        (7, 26, "devices[1].unit", "want_whole_number"),
        (7, 37, "devices[1].every", "duration"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on: no", (1, 5, "on", "yes_no")),
        ("on: Yes", (1, 5, "on", "yes_no")),
        ("on: off", (1, 5, "on", "yes_no")),
        ('on: "true"', (1, 5, "on", "in_quotes")),
        ("on: 1", (1, 5, "on", "want_boolean")),
        ("count: 012", (1, 8, "count", "leading_zero")),
        ("count: 12:30:45", (1, 8, "count", "sexagesimal")),
        ("weight: 12:30", (1, 9, "weight", "sexagesimal")),
        ("weight: 007.5", (1, 9, "weight", "leading_zero")),
        ('count: "12"', (1, 8, "count", "in_quotes")),
        ("count: 1.0", (1, 8, "count", "want_whole_number")),
        ("count: 1_000", (1, 8, "count", "want_whole_number")),
        ("count: true", (1, 8, "count", "want_whole_number")),
        ("count:", (1, 7, "count", "empty_value")),
        ("weight: .nan", (1, 9, "weight", "not_finite")),
        ("weight: 1e999", (1, 9, "weight", "not_finite")),
        ("weight: -.inf", (1, 9, "weight", "not_finite")),
        ("name: 101", (1, 7, "name", "want_text")),
        ("name: true", (1, 7, "name", "want_text")),
        ("name: [a]", (1, 7, "name", "want_text")),
        ("name: !secret x", (1, 7, "name", "secret_not_here")),
        ("words: a", (1, 8, "words", "want_list")),
        ("words: {a: 1}", (1, 8, "words", "want_list")),
        ("inner: [1]", (1, 8, "inner", "want_mapping")),
        ("secret: hunter2", (1, 9, "secret", "plain_secret")),
        ("secret: !secret a b", (1, 9, "secret", "secret_name")),
        ("name: !!python/object:os.system x", (1, 7, "name", "unknown_tag")),
        ("name: &a x\nwords: [*a]", (1, 7, "name", "anchor")),
        ("12: x", (1, 1, "12", "unknown_key")),
        ("numbers: {a: b}", (1, 11, "numbers.a", "want_whole_number")),
        ("- a", (1, 1, "", "want_mapping")),
        ("just words", (1, 1, "", "want_mapping")),
    ],
)
def test_one_value_of_the_wrong_kind(tmp_path: Path, text: str, expected: tuple[int, int, str, str]) -> None:
    """A value that is not what the key wants is refused where it stands, with a sentence of its own."""
    assert faults(tmp_path, text)[0] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: no", "no"),
        ("name: 012", "012"),
        ("name: 12:30:45", "12:30:45"),
        ("name: 2026-11-23", "2026-11-23"),
        ('name: "101"', "101"),
        ("name: 1_0", "1_0"),
    ],
)
def test_trap_where_text_is_wanted(tmp_path: Path, text: str, expected: str) -> None:
    """What bites nowhere is left alone: a word, a time or a date is text where text is wanted."""
    assert getattr(read(tmp_path, text), "name") == expected  # noqa: B009  # Part has no such field


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("a:\n\t- b\n", 2, 1, "bad_character"),
        ("name: @x\n", 1, 7, "bad_character"),
        ("name: a: b\n", 1, 8, "colon_in_text"),
        ("words: [a, b\nname: x\n", 2, 5, "bracket_open"),
        ('name: "abc\n', 2, 1, "quote_open"),
        ("inner:\n  name: a\n count: 1\n", 3, 2, "indent"),
        ("name: a\n---\nname: b\n", 2, 1, "several_documents"),
        ("? [a]\n: b\n", 1, 3, "key_not_text"),
        ("", 1, 1, "empty_file"),
        ("# nothing\n", 1, 1, "empty_file"),
        ("name: a\x07b\n", 1, 8, "control_character"),
    ],
)
def test_text_that_is_no_yaml(tmp_path: Path, text: str, line: int, column: int, what: str) -> None:
    """Broken syntax is said in plain words where it was found."""
    found = faults(tmp_path, text)
    assert [(found[-1][0], found[-1][1], found[-1][3])] == [(line, column, what)]


def test_not_utf8(tmp_path: Path) -> None:
    """Text in another encoding is refused at the first byte that is not UTF-8."""
    assert faults(tmp_path, "name: a\nwords: [x, Đỏ]\n".encode("utf-16"))[0][3] == "not_utf8"
    assert faults(tmp_path, b"name: a\nwords: [\xd0\xff]\n") == [(2, 9, "", "not_utf8")]


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    """A file saved on Windows loads, and its lines are still counted right."""
    assert read(tmp_path, b"\xef\xbb\xbfname: a\r\ncount: 3\r\n") == Shelf(name="a", count=3)
    assert faults(tmp_path, b"\xef\xbb\xbfname: a\r\ncount: x\r\n") == [(2, 8, "count", "want_whole_number")]


def test_decomposed_vietnamese(tmp_path: Path) -> None:
    """Letters with separate marks become the composed letters, so that equal names are equal."""
    decomposed = unicodedata.normalize("NFD", "Phường Sao Đỏ")
    assert read(tmp_path, f"name: {decomposed}") == Shelf(name="Phường Sao Đỏ")


def test_duplicate_key(tmp_path: Path) -> None:
    """Both places of a key that stands twice are named, and the rest of the file is still checked."""
    with pytest.raises(Problems) as refused:
        read(tmp_path, "name: a\ncount: x\nname: b\n")
    first, second = refused.value.problems
    assert (first.line, first.what) == (2, "want_whole_number")
    assert (second.line, second.column, second.facts["first_line"], second.facts["first_column"]) == (3, 1, 1, 1)


def test_missing_key_of_a_block(tmp_path: Path) -> None:
    """A missing key is reported at its parent, with the path that it should have."""
    assert faults(tmp_path, "tcp: 10.0.0.5\ndevices:\n  - {id: a, profile: p, every: 1s}\n", Bus) == [
        (1, 1, "id", "missing_key"),
        (3, 5, "devices[0].unit", "missing_key"),
    ]


def test_fault_of_a_whole_block_beside_a_fault_inside(tmp_path: Path) -> None:
    """A rule over several keys is checked though another value of the block is wrong."""
    found = faults(tmp_path, "id: a\nserial: /dev/x\ntcp: 10.0.0.5\nbaud: fast\n", Bus)
    assert [what for *_, what in found] == ["serial_or_tcp", "want_whole_number"]


def test_fault_that_is_only_a_consequence(tmp_path: Path) -> None:
    """A wrong `tcp` is one fault, not also a missing one."""
    assert faults(tmp_path, "id: a\ntcp: 5020\n", Bus) == [(2, 6, "tcp", "want_text")]


def test_checks_across_a_file_with_faults(tmp_path: Path) -> None:
    """The checks across the parts see what is left when the faulty parts are set aside, at its own line."""

    def check(shelf: Shelf, tree: Tree) -> list[Problem]:
        return [tree.problem(("words", i), "topic", value=w) for i, w in enumerate(shelf.words) if w == "b"]

    file = tmp_path / "file.yaml"
    file.write_text("count: x\nwords:\n- 1\n- a\n- b\n")
    with pytest.raises(Problems) as refused:
        load(file, Shelf, check=check)
    assert [(p.line, p.path) for p in refused.value.problems] == [(1, "count"), (3, "words[0]"), (5, "words[2]")]


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file and a folder are problems like any other."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(Problems) as refused:
            load(path, Shelf)
        assert refused.value.problems[0].what == "unreadable"


def in_time(folder: Path, text: str) -> str:
    """The first problem's kind, found within a second."""
    began = time.perf_counter()
    what = faults(folder, text)[0][3]
    assert time.perf_counter() - began < 1
    return what


def test_hostile_files(tmp_path: Path) -> None:
    """Bombs, depth, width and size are each refused within a second."""
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    assert in_time(tmp_path, bomb) in ("anchor", "unknown_key")
    assert in_time(tmp_path, "x: " + "[" * 30_000) == "too_deep"
    assert in_time(tmp_path, "- " * 30_000) == "too_deep"
    assert in_time(tmp_path, "{a: " * 30_000) == "too_deep"
    assert in_time(tmp_path, "words: [" + "a," * 100_000 + "a]") == "too_many_values"
    assert in_time(tmp_path, "- x\n" * 500_000) == "too_big"
    assert in_time(tmp_path, "".join(f"k{i}: 1\n" for i in range(19_000))) == "unknown_key"
    assert in_time(tmp_path, "a: 1\n" * 19_000) == "duplicate_key"
    assert in_time(tmp_path, f"count: {'9' * 250_000}") == "want_whole_number"
    assert in_time(tmp_path, f"{'k' * 1_000}: [{'[1],' * 10_000}]") == "unknown_key"
    assert in_time(tmp_path, "words: [" + "1," * 35_000 + "1]") == "want_text"


@settings(max_examples=300, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.text("ab:-[]{}#&*!|>'\"%@`,?~ \n\t0123.", max_size=120).map(str.encode))
def test_random_bytes(tmp_path: Path, raw: bytes) -> None:
    """Whatever a file holds, it loads or is refused with problems, never anything else."""
    problems: list[Problem] | None = None
    try:
        read(tmp_path, raw)
    except Problems as refused:
        problems = refused.problems
    assert problems is None or (problems and all(p.line >= 1 and p.column >= 1 for p in problems))


def test_secret_from_the_credentials_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's credential comes first, then the environment; a secret that is nowhere is named."""
    shelf = read(tmp_path, "secret: !secret mqtt-field")
    secret = Secret("mqtt-field")
    assert shelf == Shelf(secret=secret)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("EDGE_SECRET_MQTT_FIELD", raising=False)
    with pytest.raises(SecretMissing) as missing:
        secret.reveal()
    assert (missing.value.name, missing.value.variable) == ("mqtt-field", "EDGE_SECRET_MQTT_FIELD")
    monkeypatch.setenv("EDGE_SECRET_MQTT_FIELD", "from the environment")
    assert secret.reveal() == "from the environment"
    (tmp_path / "mqtt-field").write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret.reveal() == "from systemd"


def test_secret_in_print_and_in_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a secret's value nor a password that stands in the file is ever shown."""
    monkeypatch.setenv("EDGE_SECRET_A", "hunter2")
    assert "hunter2" not in repr(read(tmp_path, "secret: !secret a"))
    with pytest.raises(Problems) as refused:
        read(tmp_path, "secret: hunter2")
    assert refused.value.problems[0].what == "plain_secret"
    assert "hunter2" not in str(refused.value)
