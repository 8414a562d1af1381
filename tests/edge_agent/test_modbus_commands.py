"""`edge modbus` as it is typed: what needs no running agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from drivers.line_findings import LineCounts, UnitCounts, find
from drivers.line_test import Examined
from drivers.settings import Bus
from edge_agent import bench_show
from edge_agent.__main__ import main
from edge_agent.bench_routes import scan_wanted
from edge_agent.text import texts

CONFIG = """
site: cl-02
language: en
state: ./state
buses:
  - id: line-1
    serial: /dev/ttyUSB0
    devices:
      - {id: cab-1, profile: xy-md02, unit: 2, every: EVERY}
  - id: spare
    tcp: 127.0.0.1:502
"""


def written(folder: Path, every: str = "10s") -> str:
    """A configuration file."""
    file = folder / "agent.yaml"
    file.write_text(CONFIG.replace("EVERY", every), encoding="utf-8")
    return str(file)


def test_plan_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every bus with its requests, its load and the comparison."""
    assert main(["modbus", "plan", "-c", written(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "line-1: /dev/ttyUSB0, 9600 8N1" in said
    assert "fc4 1..2" in said
    assert "Load 0.5 %: 1 requests a round." in said
    assert "No device on this bus yet." in said


def test_plan_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bus as JSON; a line with more to do than it can needs attention."""
    assert main(["modbus", "plan", "line-1", "--json", "-c", written(tmp_path, "100ms")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(bus["bus"], bus["devices"][0]["blocks"][0]["count"]) for bus in found] == [("line-1", 2)]
    crowded = written(tmp_path, "100ms").replace("agent.yaml", "slow.yaml")
    text = (tmp_path / "agent.yaml").read_text(encoding="utf-8").replace("ttyUSB0", "ttyUSB0\n    baud: 600")
    Path(crowded).write_text(text, encoding="utf-8")
    assert main(["modbus", "plan", "line-1", "-c", crowded]) == 1
    assert "more to do than it can" in capsys.readouterr().out


def test_plan_of_an_unknown_bus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence that names the buses that there are."""
    assert main(["modbus", "plan", "line-9", "-c", written(tmp_path)]) == 2
    assert capsys.readouterr().err == "There is no Modbus bus named line-9. There are: line-1, spare.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scan", "line-1", "--wait", "nan"], "--wait is a number from 1 to 5,000."),
        (["scan", "line-1", "--wait", "-5"], "--wait is a number from 1 to 5,000."),
        (["scan", "line-1", "--wait", "0"], "--wait is a number from 1 to 5,000."),
        (["scan", "line-1", "--units", "1,253"], "A unit number is 1 to 252."),
        (["read", "line-1", "253", "3", "0"], "A unit number is 1 to 252."),
        (["line", "line-1", "--rounds", "0"], "--rounds is a number from 1 to 1,000."),
        (["watch", "line-1", "--seconds", "nan"], "--seconds is a number from 0.1 to 1,000,000."),
        (["write", "line-1", "1", "--device-address", "300"], "A unit number is 1 to 252."),
        (["write", "line-1", "1", "--device-address", "9", "--wait", "inf"], "--wait is a number from 1 to 5,000."),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_numbers_out_of_range(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """They are refused by the command itself, in one sentence, before the agent is asked."""
    assert main(["modbus", *words, "-c", written(tmp_path)]) == 2
    assert capsys.readouterr().err == said + "\n"


@pytest.mark.parametrize("query", ["wait=nan", "wait=-5", "wait=0", "wait=9", "units=253", "units=-1", "functions=6"])
def test_scan_that_the_agent_is_asked_for(query: str) -> None:
    """Whoever asks the agent without the command gets 400 for the same."""
    told = Bus.model_validate({"id": "line-1", "serial": "/dev/null"})
    with pytest.raises(web.HTTPBadRequest):
        scan_wanted(make_mocked_request("GET", f"/modbus/scan?{query}"), told)


def test_line_with_spoilt_answers_and_echo() -> None:
    """The share of spoilt frames stands beside their number; echo has a column where there is any."""
    units = [UnitCounts(1, "met-1", ok=30, garbled=10, echo=4), UnitCounts(2, ok=40)]
    finding = find(LineCounts(True, 300, units))
    told = bench_show.examined(Examined("line-1", "/dev/ttyUSB0", True, 300, units, 0, finding), texts("en"))
    rows = [line.split() for line in told.splitlines()]
    assert [row[-1] for row in rows if row[:1] in (["unit"], ["1"], ["2"])][:3] == ["echo", "4", "0"]
    assert "10 (25" in told
