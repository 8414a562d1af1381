"""What `edge net` prints: rungs as they become known, with what to do, and the verdict."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from typing import Literal

import msgspec

from edge_agent.show import mark, painted, width
from edge_agent.text import Text

LABEL, MOST_COLUMNS = 15, 110
"""Columns."""
INDENT = "      "
NO_BREAK = "\N{NO-BREAK SPACE}"

Kind = Literal["box", "broker", "sink"]
Verdict = Literal["ok", "attention", "failed"]
State = Literal["ok", "attention", "failed", "left_out"]


class Told(msgspec.Struct, frozen=True):
    """A rung as it is printed."""

    rung: str
    state: State
    ms: int
    what: str
    text: str


class Report(msgspec.Struct, frozen=True):
    """What became of one target; of kind `box`: of the rungs that all of them stand on."""

    id: str
    kind: Kind
    where: str
    state: Verdict
    rungs: list[Told]


class Answer(msgspec.Struct, frozen=True):
    """Everything, for `--json`."""

    verdict: Verdict
    targets: list[Report]
    by: Literal["agent", "command"] = "command"
    """Who climbed: the running agent, with its rights and secrets, or this command with those of its user."""


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """GET /net: a ladder begins."""

    id: str
    where: str


class Asking(msgspec.Struct, frozen=True, tag="asking"):
    """A rung is being tried."""

    rung: str


class Known(msgspec.Struct, frozen=True, tag="known"):
    """A rung is known."""

    told: Told


class Climbed(msgspec.Struct, frozen=True, tag="climbed"):
    """A ladder as far as it went."""

    report: Report


Event = Begun | Asking | Known | Climbed


class Screen:
    """Prints rungs as they become known; on a terminal also the one that is being tried."""

    def __init__(self, text: Text, *, quiet: bool) -> None:
        """`quiet`: print nothing."""
        self._text, self._quiet = text, quiet
        self._live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not quiet
        self._columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS)

    def show(self, event: Event) -> None:
        """Whatever happens next."""
        if isinstance(event, Begun):
            self._print(f"{event.id}  {event.where}")
        elif isinstance(event, Asking):
            self._asking(event.rung)
        elif isinstance(event, Known):
            self._told(event.told)
        else:
            self._left(event.report)

    def say(self, words: str) -> None:
        """A paragraph before the ladders."""
        self._print(textwrap.fill(words, self._columns) + "\n")

    def _asking(self, name: str) -> None:
        """A line that the answer will take the place of."""
        if self._live:
            print(f"  … {self._text(f'net.rung.{name}')}", end="", flush=True)

    def _told(self, rung: Told) -> None:
        """The rung, and beside or below it what there is to say."""
        self.wipe()
        label = self._text(f"net.rung.{rung.rung}")
        sign = painted(mark(rung.state) or "-", rung.state)
        took = self._text("net.ms", ms=self._text.number(rung.ms)) if rung.state != "left_out" else ""
        bare = f"{label}{' ' * max(0, LABEL - width(label))} {took:>9}"
        says = rung.text
        if len(says) + width(bare) + 6 <= self._columns:
            self._print(f"  {sign} {bare}  {says}".rstrip())
            return
        self._print(f"  {sign} {bare}".rstrip())
        self._print(paragraph(says, self._columns))

    def _left(self, report: Report) -> None:
        """What was not tried because of a red rung, and an empty line below the ladder."""
        rungs = report.rungs
        if all(rung.state == "left_out" and not rung.what for rung in rungs):  # It was never begun.
            self._print(f"{report.id}  {report.where}")
        untried = [rung.rung for rung in rungs if rung.state == "left_out" and not rung.what]
        if untried:
            names = ", ".join(self._text(f"net.rung.{name}") for name in untried)
            self._print(f"  - {self._text('net.left_out', rungs=names)}")
        self._print("")

    def end(self, answer: Answer) -> None:
        """The verdict."""
        if not answer.targets:
            self._print(self._text("net.nothing"))
            return
        count = sum(rung.state in ("attention", "failed") for each in answer.targets for rung in each.rungs)
        words = self._text(f"verdict.{answer.verdict}", count=count)
        self._print(painted(f"{mark(answer.verdict)} {words}", answer.verdict))

    def wipe(self) -> None:
        """Take the line of the rung that was being tried away."""
        if self._live:
            print("\r\x1b[K", end="", flush=True)

    def _print(self, line: str) -> None:
        if not self._quiet:
            print(line, flush=True)


def paragraph(sentence: str, columns: int) -> str:
    """Indented lines of at most so many columns; a number such as `1 500` stays whole."""
    glued = re.sub(r"(?<=\d) (?=\d{3}\b)", NO_BREAK, sentence)
    filled = textwrap.fill(glued, columns, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)
    return filled.replace(NO_BREAK, " ")
