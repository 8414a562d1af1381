"""What counts say about a line: each fault by its numbers, and what is tried first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drivers.line_findings import LineCounts, UnitCounts, find

TEXTS = Path(__file__).parents[2] / "edge_agent" / "text"


def line(*units: UnitCounts, serial: bool = True) -> LineCounts:
    """A line with a time-out of one second."""
    return LineCounts(serial, 1000.0, list(units))


def well(unit: int, ok: int = 20, ms: float = 40.0, **more: int) -> UnitCounts:
    """A unit that answers."""
    return UnitCounts(unit, f"d{unit}", ok=ok, answers_ms=[ms] * ok, **more)


def dead(unit: int) -> UnitCounts:
    """A unit that never answers."""
    return UnitCounts(unit, f"d{unit}", timeout=3)


CASES = {
    "well": (line(well(1), well(2)), "well", None),
    "nobody asked": (line(), "nothing_asked", "no_devices"),
    "nobody answers": (line(dead(1), dead(2)), "no_byte", "power"),
    "nobody answers behind a gateway": (line(dead(1), serial=False), "no_byte", "gateway_line"),
    "only noise": (line(UnitCounts(1, garbled=9, timeout=1), dead(2)), "no_frame", "settings"),
    "noise everywhere": (line(well(1, garbled=2), well(2, garbled=3)), "noise", "termination"),
    "one of three is dead": (line(well(1), dead(2), well(3)), "unit_silent", "unit_power"),
    "one is spoilt": (line(well(1), well(2, garbled=8)), "unit_garbled", "twins"),
    "own bytes come back": (line(well(1, echo=20)), "echo", "receiver"),
    "own bytes and nothing else": (line(UnitCounts(1, timeout=9, echo=9)), "echo", "receiver"),
    "late": (line(well(1), well(2, timeout=2, late=2)), "late", "timeout"),
    "slow": (line(well(1, ms=700)), "late", "timeout"),
    "illegal address": (line(well(1), UnitCounts(2, exception=9, code=2)), "illegal", "off_by_one"),
    "gateway reaches nobody": (line(UnitCounts(2, exception=9, code=11), serial=False), "gateway", "unit_power"),
    "no such function": (line(UnitCounts(2, exception=9, code=1)), "function", "function"),
    "busy": (line(UnitCounts(2, exception=9, code=6)), "refused", "busy_device"),
    "short": (line(well(1, short=1)), "short", "block_limit"),
    "gaps": (line(well(1), well(2, timeout=3)), "gaps", "timeout"),
    "another answers": (line(well(1), UnitCounts(2, garbled=9, foreign=9, other=3)), "another_unit", "address_other"),
    "alone and another answers": (line(UnitCounts(2, garbled=9, foreign=9, other=3)), "another_unit", "address_other"),
    "somebody talks": (LineCounts(True, 1000.0, [well(1), well(2)], 30_000), "babble", "master"),
    "a few glitches": (LineCounts(True, 1000.0, [well(1), well(2)], 40), "well", None),
    "one accident": (line(well(1, ok=99, timeout=1), well(2, ok=99, garbled=1)), "well", None),
}


@pytest.mark.parametrize(("counts", "what", "first"), CASES.values(), ids=CASES.keys())
def test_finding(counts: LineCounts, what: str, first: str | None) -> None:
    """The finding and the cause to try first."""
    finding = find(counts)
    assert (finding.what, finding.causes[0] if finding.causes else None) == (what, first)
    assert finding.well == (what == "well" or (what == "echo" and counts.units[0].ok > 0))


@pytest.mark.parametrize(
    ("counts", "figures"),
    [
        (CASES["well"][0], {"units": 2, "ms": 40.0}),
        (CASES["nobody answers"][0], {"asked": 6}),
        (CASES["only noise"][0], {"garbled": 9}),
        (line(well(1, garbled=2), UnitCounts(2, exception=10, short=10, garbled=3)), {"share": 11.1, "stray": 0}),
        (CASES["one of three is dead"][0], {"others": 2}),
        (CASES["gaps"][0], {"share": 13.0}),
        (CASES["busy"][0], {"code": 6}),
        (CASES["another answers"][0], {"other": 3}),
        (CASES["somebody talks"][0], {"stray": 30_000}),
    ],
)
def test_figures_of_a_finding(counts: LineCounts, figures: dict[str, object]) -> None:
    """What the sentence tells is what was counted; a share is one of all requests, whatever became of them."""
    facts = find(counts).facts
    assert {name: facts[name] for name in figures} == figures


def test_echo_of_a_line_that_only_refuses() -> None:
    """A refusal is an answer too: the line carries what it should, though the adapter hears itself."""
    assert find(line(UnitCounts(1, exception=9, echo=9))).well
    assert not find(line(UnitCounts(1, timeout=9, echo=9))).well


@pytest.mark.parametrize("language", ["vi", "en"])
def test_words_of_findings(language: str) -> None:
    """Every finding has its sentence with its facts, and every cause its own."""
    sentences = json.loads((TEXTS / f"{language}.json").read_text(encoding="utf-8"))
    for counts, _, _ in CASES.values():
        finding = find(counts)
        assert sentences[f"line.{finding.what}"].format(**finding.facts)
        for cause in finding.causes:
            assert sentences[f"cause.{cause}"].format(bus="line-1", **finding.facts)


def test_advice_about_a_gateway_only_where_there_may_be_one() -> None:
    """A serial bus has settings of its own."""
    other = UnitCounts(2, garbled=9, foreign=9, other=3)
    assert find(line(other)).causes == ("address_other", "master", "settings")
    assert find(line(other, serial=False)).causes == ("address_other", "master", "gateway_settings")


def test_late_answers_name_a_longer_timeout() -> None:
    """What to set is at least twice what is set, and three usual answers."""
    assert find(line(well(1, ms=900, timeout=2, late=2))).facts["wanted"] == "2700"
    assert find(line(well(1, ms=40, timeout=2, late=2))).facts["wanted"] == "2000"
