"""From facts to findings: what is wrong, since when, what still works, what to try in order. Pure: no I/O, no clock.

The rules stand in `findings.yaml`, from the most telling to the most general of each kind: the first that holds for a
thing is its finding. A rule that `covers` others hides their findings while it holds, so that one cause is told once.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from edge_agent.facts import KINDS, Device, Facts, Other
from edge_agent.text import Text

Severity = Literal["failed", "attention", "info"]
Screen = Literal["overview", "points", "modbus", "uplink", "network", "meeting", "log", "box"]
Scalar = str | int | float | bool
SEVERITIES = ("failed", "attention", "info")
"""Worst first."""
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Finding(msgspec.Struct, frozen=True):
    """One thing to be dealt with (GET /findings)."""

    key: str
    severity: Severity
    subject: str
    since: float
    """Unix seconds."""
    sentence: str
    """What is wrong."""
    works: str
    """What goes on all the same."""
    steps: list[str]
    """What to try, in order."""
    screen: Screen
    """Where to look further, and what to select there."""
    item: str
    of: str
    """Kind of thing: bus, device, points, broker, sink, clock …"""
    bus: str = ""
    """The bus of a device."""


class Findings(msgspec.Struct, frozen=True):
    """All of them, worst first."""

    verdict: str
    """ok, attention, failed."""
    sentence: str
    """The verdict in words."""
    findings: list[Finding]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of `findings.yaml`."""

    key: str
    of: str
    """A kind of facts (`facts.KINDS`)."""
    when: Mapping[str, Scalar | list[Scalar]]
    """Field -> value, list of values, or a comparison such as `">= 5"`; all must hold."""
    severity: Severity
    screen: Screen
    works: str
    """Word of the sentence `finding.works.<word>`."""
    example: Mapping[str, Scalar]
    """Facts for which it holds and no rule before it: its case in the tests."""
    covers: tuple[str, ...] = ()
    """Kinds whose findings on the same bus say nothing more while this one holds."""
    covers_state: str = ""
    """Of the devices only those in this state, and their points; empty: all."""
    why: str = ""
    """Where the rule comes from."""

    def holds(self, facts: Facts) -> bool:
        """True where every condition does."""
        return all(_holds(getattr(facts, field), wanted) for field, wanted in self.when.items())


@cache
def rules() -> tuple[Rule, ...]:
    """The table. Raises msgspec.ValidationError or AttributeError where a row is not well formed."""
    import yaml  # not for the terminal, which wants this module's Structs alone

    raw = resources.files("edge_agent").joinpath("findings.yaml").read_bytes()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may be without libyaml
    table = tuple([msgspec.convert(row, Rule) for row in yaml.load_all(raw, loader)])
    for rule in table:
        unknown = [field for field in (*rule.when, *rule.example) if field not in KINDS[rule.of].__struct_fields__]
        if unknown:
            raise AttributeError(f"findings.yaml: {rule.key}: {rule.of} has no {', '.join(unknown)}")
    return table


def rule_for(facts: Facts) -> Rule | None:
    """The first rule that holds."""
    return next((rule for rule in rules() if KINDS[rule.of] is type(facts) and rule.holds(facts)), None)


def judge(known: Iterable[Facts], text: Text, now: float) -> list[Finding]:
    """All findings, worst first, then the oldest first. `now`: Unix seconds."""
    told = [(rule, facts) for facts in known if (rule := rule_for(facts))]
    hidden = set(_covered(told))
    found = [_finding(rule, facts, text, now) for rule, facts in told if (rule.of, facts.subject) not in hidden]
    return sorted(found, key=lambda each: (SEVERITIES.index(each.severity), each.since))


def _covered(told: Sequence[tuple[Rule, Facts]]) -> Iterator[tuple[str, str]]:
    """Kind and subject of what another finding explains."""
    states = {facts.subject: facts.state for _, facts in told if isinstance(facts, Device)}
    for rule, bus in told:
        for each, facts in told:
            mine = each.of in rule.covers and getattr(facts, "bus", "") == bus.subject
            if mine and rule.covers_state in ("", states.get(facts.subject)):
                yield each.of, facts.subject


def verdict_of(findings: Sequence[Finding]) -> str:
    """attention where there is anything to do; that nothing works at all is for `status.verdict` to say."""
    return "attention" if any(each.severity != "info" for each in findings) else "ok"


def _finding(rule: Rule, facts: Facts, text: Text, now: float) -> Finding:
    since = facts.since or now
    told = {field: getattr(facts, field) for field in facts.__struct_fields__} | {"ago": now - since}
    other = isinstance(facts, Other)
    return Finding(
        key=rule.key,
        severity="failed" if other and told["failed"] else rule.severity,
        subject=facts.subject,
        since=since,
        sentence=told["sentence"] if other else text(f"finding.{rule.key}.what", **told),
        works=text(f"finding.works.{_works(rule, told)}", **told),
        steps=text(f"finding.{rule.key}.try", **told).split("\n"),
        screen=rule.screen,
        item=facts.subject,
        of=rule.of,
        bus=told.get("bus", ""),
    )


def _works(rule: Rule, told: Mapping[str, object]) -> str:
    """What goes on all the same; of other devices on the line only where there are any."""
    return "all_else" if rule.works == "others" and not told["others"] else rule.works


def _holds(value: object, wanted: Scalar | list[Scalar]) -> bool:
    if isinstance(wanted, list):
        return value in wanted
    if isinstance(wanted, str) and (found := re.fullmatch(r"(>=|<=|>|<) *(-?[0-9.]+)", wanted)):
        return isinstance(value, int | float) and COMPARISONS[found[1]](value, float(found[2]))
    return type(value) is type(wanted) and value == wanted
