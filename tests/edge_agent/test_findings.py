"""The table of findings: one case for each row, and what holds for all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from edge_agent.facts import KINDS, Bus, Clock, Device, Facts, Heat, Other, Points
from edge_agent.findings import Rule, judge, rule_for, rules, verdict_of
from edge_agent.text import Text, texts

ROOT = Path(__file__).parents[2]
TEXTS = {name: Text(name, texts(name).sentences, strict=True) for name in ("vi", "en")}
NOW = 1_795_000_000.0


def example(rule: Rule) -> Facts:
    """The facts of the rule's own example."""
    return msgspec.convert(dict(rule.example), KINDS[rule.of])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.key)
@pytest.mark.parametrize("language", ["vi", "en"])
def test_case_of_a_rule(rule: Rule, language: str) -> None:
    """Its example leads to it and to no rule before it, and it says what is wrong, what works and what to try."""
    facts = example(rule)
    assert rule_for(facts) is rule
    (found,) = judge([facts], TEXTS[language], NOW)
    assert (found.key, found.screen, found.item) == (rule.key, rule.screen, facts.subject)
    assert found.sentence
    assert found.works
    assert 1 <= len(found.steps) <= 4
    assert all(step.strip() == step and step for step in found.steps)
    assert "…" not in found.sentence + found.works + "".join(found.steps)


def test_table_covers_the_field() -> None:
    """There are at least forty findings, each with a key of its own."""
    keys = [rule.key for rule in rules()]
    assert len(keys) == len(set(keys)) >= 40


def test_rules_ask_for_values_that_exist() -> None:
    """A trouble that a rule asks for is one that some part of the program raises."""
    known = {key.removeprefix("trouble.") for key in json.loads((ROOT / "edge_agent/text/en.json").read_text("utf-8"))}
    known |= {f"{word.removeprefix('sink_')}" for word in known}
    known |= {"trial", "returned", ""}
    wanted = {str(value) for rule in rules() for value in _listed(rule.when.get("what")) if value is not None}
    assert wanted <= known


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def test_sentences_without_a_rule() -> None:
    """No sentence is kept for a finding that the table no longer has."""
    keys = {rule.key for rule in rules()} | {"works"}
    told = {key.split(".")[1] for key in TEXTS["en"].sentences if key.startswith("finding.")}
    assert told == keys


def test_worst_comes_first_then_the_oldest() -> None:
    """What has failed stands before what only needs a look, and of two alike the older one."""
    known = [
        Heat(subject="heat", celsius=77.0, since=NOW - 900),
        Device(subject="b", bus="line-1", state="silent", ever=True, since=NOW - 10),
        Device(subject="a", bus="line-1", state="silent", ever=True, since=NOW - 60),
    ]
    assert [each.item for each in judge(known, TEXTS["en"], NOW)] == ["a", "b", "heat"]


def test_finding_tells_for_how_long() -> None:
    """Counted from the trouble's beginning to the moment of the question."""
    silent = Device(subject="met-1", bus="line-1", state="silent", ever=True, since=NOW - 90)
    (found,) = judge([silent], TEXTS["en"], NOW)
    assert f"no answer for {TEXTS['en'].duration(90)} " in found.sentence


def test_bus_that_is_gone_hides_its_devices() -> None:
    """One cause is one finding: the missing port, not each of its devices and points."""
    known = [
        Bus(subject="line-1", what="port_missing", where="/dev/ttyUSB0"),
        Device(subject="met-1", bus="line-1", state="silent", ever=True),
        Points(subject="met-1", bus="line-1", reason="stale", count=3),
        Device(subject="power-1", bus="meters", state="silent", ever=True),
    ]
    assert [each.item for each in judge(known, TEXTS["en"], NOW)] == ["line-1", "power-1"]


def test_every_cause_on_a_line_is_told() -> None:
    """Garbled devices beside others are their own matter while one answers; else the line's, hiding no other."""
    garbled = [Device(subject=name, bus="line-1", state="garbled", ever=True) for name in ("g1", "g2")]
    known = [
        *garbled,
        Device(subject="late", bus="line-1", state="late", ever=True, asked=9, late=9, missed_pct=100.0),
        Device(subject="refuses", bus="line-1", state="exception", code=2),
        Points(subject="g1", bus="line-1", reason="stale", count=3),
    ]
    bus = Bus(subject="line-1", where="/dev/ttyUSB0", devices=5, garbled=2, answering=1)
    assert {"g1", "g2", "late", "refuses"} == {each.item for each in judge([bus, *known], TEXTS["en"], NOW)} - {
        "line-1"
    }
    nobody = msgspec.structs.replace(bus, answering=0)
    assert {each.item for each in judge([nobody, *known], TEXTS["en"], NOW)} == {"line-1", "late", "refuses"}


def test_trouble_of_no_kind_keeps_its_own_sentence() -> None:
    """A new kind of trouble is told before anyone has written a rule for it."""
    known = [Other(subject="x", what="new_thing", failed=True, sentence="Something new.")]
    (found,) = judge(known, TEXTS["en"], NOW)
    assert (found.key, found.severity, found.sentence) == ("other", "failed", "Something new.")


def test_hint_alone_is_no_reason_for_attention() -> None:
    """What is only good to know leaves the verdict well."""
    hint = judge([Clock(subject="clock", state="waiting", up_s=60.0)], TEXTS["en"], NOW)
    assert [each.severity for each in hint] == ["info"]
    assert verdict_of(hint) == "ok"


def test_steps_name_commands_that_exist() -> None:
    """`edge X` in a step is a command of this program."""
    help_keys = {key.split(".")[1] for key in TEXTS["en"].sentences if key.startswith("help.")}
    steps = [text for key, text in TEXTS["en"].sentences.items() if re.fullmatch(r"finding\.\w+\.try", key)]
    named = {word for step in steps for word in re.findall(r": edge ([a-z]+)", step)}
    assert named <= help_keys


def test_device_alone_on_its_line_is_not_compared_with_others() -> None:
    """Of other devices only where there are any."""
    alone = Device(subject="met-1", bus="line-1", unit=1, state="silent", ever=True)
    (found,) = judge([alone], texts("en"), 0.0)
    assert found.works == "All other parts run normally."
    (found,) = judge([msgspec.structs.replace(alone, others=2, others_ok=2)], texts("en"), 0.0)
    assert found.works.startswith("2 of 2 other devices")
