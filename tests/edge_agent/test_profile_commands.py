"""`edge profile`: all errors of a file at once with their places, what a good one reads, the list, the schema."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from drivers.profile_schema import schema_text
from edge_agent.__main__ import main
from tests.drivers.test_profile import HEAD

ROOT = Path(__file__).parents[2]
DEVICES = ROOT / "drivers/devices"
FAULTY = (
    HEAD.replace("registers:\n", "invalid: {u16: 70000}\nregisters:\n")
    + """\
  - {key: level, adr: 1, unit: m, canonical: water.level_m}
  - {key: temp, addr: 2, unit: m, canonical: water.temp_c}
"""
)


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def test_every_error_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each fault is one line `file:line:column: path: sentence`, all of them in one run."""
    file = tmp_path / "probe.yaml"
    file.write_text(FAULTY, encoding="utf-8")
    assert main(["profile", "check", str(file), str(DEVICES / "xy-md02.yaml")]) == 2
    said = capsys.readouterr()
    lines = [line.removeprefix(str(file)) for line in said.err.splitlines() if line.startswith(f"{file}:")]
    assert [line.split(": ")[:2] for line in lines] == [
        [":9:16", "invalid.u16"],
        [":11:5", "registers[0].addr"],
        [":11:18", "registers[0].adr"],
        [":12:32", "registers[1].unit"],
    ]
    assert "XY-MD02" in said.out


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one error and no trace."""
    assert main(["profile", "check", str(tmp_path / "nothing.yaml")]) == 2
    assert "nothing.yaml" in capsys.readouterr().err


def test_what_a_profile_would_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Its points, its requests, and the bus time at every speed, its own among them."""
    assert main(["profile", "check", "--json", str(DEVICES / "eastron-sdm630.yaml")]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    profile = found["profile"]
    assert (len(profile["points"]), found["problems"]) == (23, [])
    assert sum(block["points"] for block in profile["blocks"]) == 23
    times = {time["baud"]: time for time in profile["times"]}
    assert {2400, 9600, 115200} <= set(times)
    assert times[9600]["ms"] < times[2400]["ms"] < times[2400]["singles_ms"]


def test_a_profile_that_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the device must be looked at first, the question and the answer assumed are shown."""
    file = str(DEVICES / "siemens-lr120.yaml")
    assert main(["profile", "check", file]) == 0
    said = capsys.readouterr().out
    assert "ABCD, CDAB, BADC, DCBA" in said
    assert main(["profile", "check", file, "--variant", "mm", "--variant", "DCBA", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["profile"]["open"], found["profile"]["assumed"]) == ([], ["mm", "DCBA"])
    assert main(["profile", "check", file, "--variant", "furlong"]) == 2


def test_a_profile_without_points(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no error and needs attention."""
    assert main(["profile", "check", str(DEVICES / "icpdas-cl211.yaml")]) == 1
    assert "canonical" in capsys.readouterr().out


def test_captured_frames(capsys: pytest.CaptureFixture[str]) -> None:
    """Two frames from the line become values; frames that do not belong together are told so."""
    check = ["profile", "check", str(DEVICES / "xy-md02.yaml"), "--json", "--frames"]
    ask, answer = "01 04 00 01 00 02 20 0B", "01 04 04 01 07 03 11 8B 45"
    assert main([*check, ask, answer]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert [(row["point"], row["value"], row["reason"]) for row in found["frame"]] == [
        ("weather.temp_c", 26.3, "ok"),
        ("weather.rh_pct", 78.5, "ok"),
    ]
    for wrong in ((ask, ask), (answer, answer), (ask, answer[:-1] + "F"), ("xx", answer)):
        assert main([*check, *wrong]) == 2


def test_list_with_a_folder_of_the_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every model, the site's own too; a file of the site with errors is named and needs attention."""
    shutil.copy(DEVICES / "xy-md02.yaml", tmp_path)
    assert main(["profile", "list", "--json", "--profiles", str(tmp_path)]) == 0
    listed = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(listed) == len(list(DEVICES.glob("*.yaml")))
    assert listed["xy-md02"]["file"] == str(tmp_path / "xy-md02.yaml")
    (tmp_path / "probe.yaml").write_text(FAULTY, encoding="utf-8")
    assert main(["profile", "list", "--profiles", str(tmp_path)]) == 1
    assert "probe" in capsys.readouterr().out


def test_schema_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema beside the profiles is what `edge profile schema` prints now; every profile names it."""
    assert main(["profile", "schema"]) == 0
    assert capsys.readouterr().out == (DEVICES / "schema.json").read_text(encoding="utf-8")
    assert capsys.readouterr().out == ""
    known = json.loads(schema_text())
    assert set(known["required"]) >= {"schema", "id", "registers"}
    row = known["$defs"]["Row"]["properties"]
    assert all(row[key]["description"] for key in ("key", "addr", "unit", "fc", "order", "canonical"))
    first = {file.stem: file.read_text(encoding="utf-8").splitlines()[0] for file in DEVICES.glob("*.yaml")}
    assert set(first.values()) == {"# yaml-language-server: $schema=schema.json"}
