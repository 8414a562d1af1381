"""Wrong arguments are told in the terminal's language: every kind that a person at a shell can produce."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.arguments import SENTENCES
from edge_agent.text import texts

WRONG = {
    "status --nonsense": ("không hiểu tham số: --nonsense", "not understood: --nonsense"),
    "nonsense": ("tham số LỆNH: không có “nonsense”; chọn một trong: 'run'", "there is no “nonsense”; choose one of"),
    "log --level x": ("tham số --level: không có “x”; chọn một trong: 'info'", "argument --level: there is no “x”"),
    "log -n abc": ("tham số -n: “abc” không dùng được ở đây, cần một số", "a number is needed"),
    "point": ("còn thiếu: ID", "missing: ID"),
    "ledger --since": ("tham số --since: cần một giá trị", "argument --since: needs a value"),
    "status --json=3": ("tham số --json: không nhận giá trị “3”", "argument --json: takes no value “3”"),
    "ticket issue --code --device": ("--device: không dùng chung với --code", "--device: does not go with --code"),
    "ticket issue --r x": ("--r có thể là --role, --room, xin viết đủ", "--r may be --role, --room"),
    "ticket revoke": ("còn thiếu: ID", "missing: ID"),
    "journal": ("còn thiếu: LỆNH", "missing: COMMAND"),
}


@pytest.mark.parametrize("language", [0, 1], ids=["vi", "en"])
@pytest.mark.parametrize("words", WRONG)
def test_wrong_arguments_are_told_in_the_language(
    words: str, language: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The usage and what is wrong, exit code 2; no English sentence in Vietnamese."""
    monkeypatch.setenv("LC_ALL", ("vi_VN.UTF-8", "C.UTF-8")[language])
    with pytest.raises(SystemExit) as left:
        main(words.split())
    told = capsys.readouterr().err
    assert left.value.code == 2
    assert WRONG[words][language] in told
    assert told.startswith(("Cách dùng: edge", "usage: edge")[language])
    assert language or not re.search(r"\b(error:|argument|invalid|expected|required|usage)\b", told)


@pytest.mark.parametrize(
    "words",
    [
        "journal {} stat",
        "journal {} verify",
        "journal quarantine {} list",
        "journal {} quarantine list",
        "config {} show",
        "ticket {} list",
        "modbus {} scan bus-1",
        "status {}",
    ],
)
@pytest.mark.parametrize("option", ["-c {}", "--config {}", "--config={}", "-c{}"])
def test_configuration_before_and_behind_a_sub_command(
    words: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file that is named is read, wherever it is named; of two the one behind counts."""
    said = option.format(tmp_path / "here.yaml")
    assert main(words.format(said).split()) == 2
    assert main(f"{words.replace('{} ', '')} {said}".replace("{} ", "").replace(" {}", "").split()) == 2
    assert main(f"{words.format('-c nowhere.yaml')} {said}".split()) == 2
    told = capsys.readouterr().err
    assert told.count(f"{tmp_path / 'here.yaml'}:1:1") == 3, told


def test_file_that_is_called_like_a_sub_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`stat` behind an option is a name like any other."""
    assert main(["journal", "export", "--to", "stat", "-c", str(tmp_path / "agent.yaml")]) == 2
    assert "agent.yaml:1:1" in capsys.readouterr().err


def test_help_is_told_in_the_language(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its headings too."""
    monkeypatch.setenv("LC_ALL", "vi_VN.UTF-8")
    with pytest.raises(SystemExit) as left:
        main(["point", "--help"])
    told = capsys.readouterr().out
    assert left.value.code == 0
    assert not re.search(r"\b(options|arguments|show)\b", told)


def test_sentences_are_those_of_this_python() -> None:
    """Every one in the table is known to argparse, so that a new version of Python shows what it words anew."""
    parsed = ast.walk(ast.parse(Path(argparse.__file__).read_text(encoding="utf-8")))
    known = {node.value for node in parsed if isinstance(node, ast.Constant)}
    assert set(SENTENCES) <= known


def test_argument_with_a_placeholder_sign_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """What a person typed is never taken for a part of a sentence."""
    with pytest.raises(SystemExit):
        main(["status", "{it}%s"])
    assert "{it}%s" in capsys.readouterr().err
    assert texts("vi")("arguments.unrecognized", it="%s") == "không hiểu tham số: %s"


def test_ctrl_c_while_the_commands_are_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said, and the code is a shell's own for it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge_agent.__main__._parser", interrupted)
    assert main(["status"]) == 130
    assert capsys.readouterr() == ("", "")
