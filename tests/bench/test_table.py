"""The benchmarks' table and list. Nothing is measured here: a figure taken beside other tests means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import BENCHMARKS
from bench.backlog import polls
from bench.table import Result, number, render
from bench.ward import IMAGES, PROFILE, Ward, buses, configuration, device_name, sinks, write_profile
from edge_agent import config
from edge_agent.checks import Checks

ROOT = Path(__file__).parent.parent.parent


def test_a_budget_of_at_most() -> None:
    """The median counts, and may reach the budget but not pass it."""
    kept, missed = Result("x", (9.0, 1.0, 5.0), budget=5.0), Result("x", (9.0, 6.0, 5.0), budget=5.0)
    assert (kept.measured, kept.ratio, kept.verdict) == (5.0, 1.0, "ok")
    assert (missed.measured, missed.ratio, missed.verdict) == (6.0, 1.2, "MISSED")


def test_a_budget_of_at_least() -> None:
    """Less than the budget misses it; where the servers themselves do not reach it, that is said instead."""
    assert Result("x", (5.0,), budget=4.0, at_least=True).verdict == "ok"
    assert Result("x", (3.0,), budget=4.0, at_least=True).verdict == "MISSED"
    assert Result("x", (3.0,), budget=4.0, at_least=True, limit=4.5).verdict == "MISSED"
    assert Result("x", (3.0,), budget=4.0, at_least=True, limit=3.5).verdict == "server"


def test_a_figure_without_a_budget() -> None:
    """It is shown for comparison and judged by nobody."""
    assert (Result("x", (3.0,)).ratio, Result("x", (3.0,)).verdict) == (None, "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0312, "0.031"),
        (0.75, "0.750"),
        (4.713, "4.71"),
        (38.17, "38.2"),
        (617.4, "617"),
        (412_345, "412,000"),
        (1e6, "1,000,000"),
    ],
)
def test_a_number(value: float, shown: str) -> None:
    """Three digits count, whatever the size."""
    assert number(value) == shown


def test_the_table() -> None:
    """Columns are aligned, and every result has its line."""
    table = render([Result("memory", (41.0, 43.0, 42.0), "MB", 50), Result("  readings/s", (412_345.0,))])
    assert table.splitlines() == [
        "    what          measured        spread  n      budget  ratio",
        "--  ------------  --------  ------------  -  ----------  -----",
        "ok  memory         42.0 MB  41.0 .. 43.0  3  <= 50.0 MB   0.84",
        "      readings/s   412,000                1",
    ]


def test_the_list_of_benchmarks_is_complete() -> None:
    """Every module with a `benchmark` is among those that `python -m bench` runs, once."""
    modules = [benchmark.__module__ for benchmark in BENCHMARKS]
    found = [f"bench.{file.stem}" for file in (ROOT / "bench").glob("*.py") if "\ndef benchmark(" in file.read_text()]
    assert sorted(modules) == sorted(found)


def test_the_ward_is_a_configuration_of_the_agent(tmp_path: Path) -> None:
    """`edge run` accepts it; each device gives as many readings as asked for, and all are in the range of good ones."""
    ward = Ward(devices=3)
    profile = write_profile(tmp_path / "devices", ward.registers)
    path = configuration(tmp_path, (buses([4001, 4002, 4003], ward.every), sinks({"http://127.0.0.1:9": 1})))
    loaded = config.load(path)
    assert [device.id for bus in loaded.buses for device in bus.devices] == [device_name(i) for i in range(3)]
    assert loaded.used_profiles.keys() == {PROFILE}
    assert len(profile.points()) == ward.registers
    checks = Checks(lambda _: {})
    readings = [some for poll in polls(ward, profile, 3 * IMAGES) for some in poll]
    assert sum(len(some.values) for some in readings) == 3 * IMAGES * ward.registers
    assert not any(checks(some).faults for some in readings)
