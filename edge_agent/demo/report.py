"""The account as the demonstration prints it: a table by device, the equation, and what is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.sim.compare import Found
from edge_agent.demo.account import Account
from edge_agent.show import mark, painted, shown, table
from edge_agent.text import Text

NAMED = 10
"""Differences that are named; of the others only the number."""


def lines(account: Account, text: Text) -> Iterator[str]:
    """The report, line by line."""
    yield text("demo.count.head")
    yield ""
    yield _table(account, text)
    yield ""
    yield _equation(account, text)
    yield text("demo.count.exact" if account.exact else "demo.count.inexact")
    notes = {"bad": account.bad, "rejected": account.total("rejected"), "malformed": account.malformed}
    notes |= {"optional": account.total("optional"), "unheard": account.unheard, "besides": account.besides}
    yield from (f"  {text(f'demo.note.{name}', count=count)}" for name, count in notes.items() if count)
    yield from _differences(account, text)


def _table(account: Account, text: Text) -> str:
    names = ("device", "kind", "generated", "delivered", "bad", "rejected")
    rows = [
        [one.device, text(f"demo.device.{one.device}"), *_numbers(text, r.generated, r.delivered, one.bad, r.rejected)]
        for one in account.devices
        for r in (one.result,)
    ]
    total = (account.total("generated"), account.total("delivered"), account.bad, account.total("rejected"))
    rows.append([text("demo.count.total"), "", *_numbers(text, *total)])
    return table([text(f"demo.count.{name}") for name in names], rows, right=(2, 3, 4, 5))


def _numbers(text: Text, *numbers: int) -> list[str]:
    return [text.number(number) for number in numbers]


def _equation(account: Account, text: Text) -> str:
    facts = {name: account.total(name) for name in ("generated", "delivered", "rejected")}
    equal = facts["generated"] == facts["delivered"] + facts["rejected"]
    state = "ok" if account.exact else "failed"
    return painted(f"{mark(state)} {text('demo.count.equation', sign='=' if equal else '≠', **facts)}", state)


def _differences(account: Account, text: Text) -> Iterator[str]:
    found = account.differences()
    for kind, one in found[:NAMED]:
        yield f"  {text(f'demo.found.{kind}', **_facts(one, text))}"
    if len(found) > NAMED:
        yield f"  {text('demo.found.more', count=len(found) - NAMED)}"


def _facts(one: Found, text: Text) -> dict[str, str | int]:
    values = {"expected": shown(one.expected, text), "got": shown(one.got, text)}
    return {"device": one.device, "point": one.point, "n": one.n, **values}
