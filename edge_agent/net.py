"""`edge net`: can this box reach its brokers and sinks, and do they keep what it gives them? One ladder for each.

Works without the running agent and beside it: brokers are visited under names of our own, since the agent's would throw
it out, and databases get one test reading, `edge_probe`. Each rung is printed as soon as it is known.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from drivers.marked import Problems, Secret, SecretMissing
from drivers.settings import Broker
from edge_agent import config as configuration
from edge_agent.commands import Wrong
from edge_agent.config import HTTP_PORTS, Config, Influx, MqttUplink
from edge_agent.ladder import Fact, Facts, Red, Rung, State, Step, Way, climb
from edge_agent.rungs import BrokerRungs, Consent, DatabaseRungs
from edge_agent.show import mark, painted, width
from edge_agent.text import Text, texts

YES = {"y", "yes", "c", "co", "có"}
LABEL, MOST_COLUMNS = 15, 110
"""Columns."""
INDENT = "      "
NO_BREAK = "\N{NO-BREAK SPACE}"

Kind = Literal["broker", "sink"]
Verdict = Literal["ok", "attention", "failed"]


class Target(msgspec.Struct, frozen=True):
    """One broker or sink."""

    id: str
    kind: Kind
    where: str
    steps: tuple[Step, ...]
    facts: Facts
    """For every sentence."""
    username: str
    secrets: tuple[Secret, ...]


class Told(msgspec.Struct, frozen=True):
    """A rung as it is printed."""

    rung: str
    state: State
    ms: int
    what: str
    text: str


class Report(msgspec.Struct, frozen=True):
    """What became of one target."""

    id: str
    kind: Kind
    where: str
    state: Verdict
    rungs: list[Told]


class Answer(msgspec.Struct, frozen=True):
    """Everything, for `--json`."""

    verdict: Verdict
    targets: list[Report]


def main(arguments: argparse.Namespace) -> int:
    """0 all well, 1 something needs attention, 2 no target can be used."""
    try:
        config = configuration.load(arguments.config)
    except Problems as problems:
        raise Wrong("\n".join(configuration.render(problems.problems, texts(arguments.language)))) from None
    text = texts(config.language)
    # Libraries warn of what a rung says better.
    logging.getLogger().addHandler(logging.NullHandler())
    screen = Screen(text, quiet=arguments.json)
    consent = _consent(arguments, screen, text) if arguments.create else None
    try:
        reports = asyncio.run(_climb_all(targets(config, consent), screen))
    except KeyboardInterrupt:
        # aiomqtt, stopped while it connects, complains from its destructor that the loop is gone.
        sys.unraisablehook = lambda _: None
        raise
    finally:
        screen.wipe()
    answer = Answer(verdict([report.state for report in reports]), reports)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(answer), indent=1).decode())
    else:
        screen.end(answer)
    return ("ok", "attention", "failed").index(answer.verdict)


async def _climb_all(wanted: Sequence[Target], screen: Screen) -> list[Report]:
    """One after the other, so that what is printed belongs together."""
    reports = []
    for target in wanted:
        screen.begin(target)
        rungs = await climb(target.steps, screen)
        screen.left(rungs)
        reports.append(_report(target, rungs, screen.told_of))
    return reports


def _report(target: Target, rungs: Sequence[Rung], told_of: Callable[[Rung], Told]) -> Report:
    state = worst([rung.state for rung in rungs])
    return Report(target.id, target.kind, target.where, state, [told_of(rung) for rung in rungs])


def worst(states: Sequence[State]) -> Verdict:
    """Of the rungs of a ladder."""
    if "failed" in states:
        return "failed"
    return "attention" if "attention" in states else "ok"


def verdict(states: Sequence[Verdict]) -> Verdict:
    """Of all ladders: failed only where none leads up."""
    if states and all(state == "failed" for state in states):
        return "failed"
    return "ok" if all(state == "ok" for state in states) else "attention"


# --- targets ----------------------------------------------------------------------------------------------------------


def targets(config: Config, consent: Consent | None) -> list[Target]:
    """The ladders of a configuration, brokers first."""
    found = [_broker_target(broker, "broker", BrokerRungs(broker)) for broker in config.mqtt]
    for sink in config.sinks:
        if sink.influxdb:
            rungs = DatabaseRungs(sink.id, sink.influxdb, config.site, consent)
            found.append(_influx_target(sink.id, sink.influxdb, rungs))
        elif sink.mqtt:
            broker = _as_broker(sink.id, sink.mqtt)
            found.append(_broker_target(broker, "sink", BrokerRungs(broker, uplink=True)))
    return found


def _broker_target(broker: Broker, kind: Kind, rungs: BrokerRungs) -> Target:
    way = Way(broker.host, broker.port, rungs.tls if broker.tls else None)
    facts = {"broker": broker.id, "where": broker.broker}
    known = tuple(secret for secret in (broker.password,) if secret)
    return Target(broker.id, kind, broker.broker, (*way.steps(), *rungs.steps()), facts, broker.username or "", known)


def _influx_target(id_: str, influx: Influx, rungs: DatabaseRungs) -> Target:
    parts = urlsplit(influx.url)
    tls = rungs.tls if parts.scheme == "https" else None
    way = Way(parts.hostname or "", parts.port or HTTP_PORTS[parts.scheme], tls)
    facts = {"sink": id_, "where": influx.url, "database": influx.database or influx.bucket or ""}
    known = tuple(secret for secret in (influx.password, influx.token) if secret)
    return Target(id_, "sink", influx.url, (*way.steps(), *rungs.steps()), facts, influx.username or "", known)


def _as_broker(id_: str, uplink: MqttUplink) -> Broker:
    """An uplink's broker is reached as any other."""
    return Broker.model_construct(
        id=id_,
        broker=uplink.broker,
        username=uplink.username,
        password=uplink.password,
        ca=uplink.ca,
        cert=uplink.cert,
        key=uplink.key,
    )


# --- asking and telling -----------------------------------------------------------------------------------------------


def _consent(arguments: argparse.Namespace, screen: Screen, text: Text) -> Consent:
    """`--yes`, or a question on the terminal."""

    async def ask(database: str) -> bool:
        if arguments.yes:
            return True
        if not sys.stdin.isatty():
            raise Red("create_unasked")
        screen.wipe()
        print(text("net.create", database=database), end=" ", file=sys.stderr, flush=True)
        return (await _typed_line()).strip().lower() in YES

    return ask


async def _typed_line() -> str:
    """A line from the terminal; the loop waits for it, so that Ctrl-C still works."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()
    typed = sys.stdin.fileno()

    def readable() -> None:
        if not line.done():
            line.set_result(os.read(typed, 1000).decode(errors="replace"))

    loop.add_reader(typed, readable)
    try:
        return await line
    finally:
        loop.remove_reader(typed)


class Screen:
    """Prints rungs as they become known; on a terminal also the one that is being tried."""

    def __init__(self, text: Text, *, quiet: bool) -> None:
        """`quiet`: print nothing."""
        self._text, self._quiet = text, quiet
        self._target: Target | None = None
        self._live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not quiet
        self._columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS)

    def begin(self, target: Target) -> None:
        """A new ladder."""
        self._target = target
        self._print(f"{target.id}  {target.where}")

    def asking(self, name: str) -> None:
        """A line that the answer will take the place of."""
        if self._live:
            print(f"  … {self._text(f'net.rung.{name}')}", end="", flush=True)

    def told(self, rung: Rung) -> None:
        """The rung, and beside or below it what there is to say."""
        self.wipe()
        label = self._text(f"net.rung.{rung.name}")
        sign = painted(mark(rung.state) or "-", rung.state)
        took = self._text("net.ms", ms=self._text.number(rung.ms)) if rung.state != "left_out" else ""
        bare = f"{label}{' ' * max(0, LABEL - width(label))} {took:>9}"
        says = self.told_of(rung).text
        if len(says) + width(bare) + 6 <= self._columns:
            self._print(f"  {sign} {bare}  {says}".rstrip())
            return
        self._print(f"  {sign} {bare}".rstrip())
        self._print(paragraph(says, self._columns))

    def left(self, rungs: Sequence[Rung]) -> None:
        """What was not tried because of a red rung, and an empty line below the ladder."""
        untried = [rung.name for rung in rungs if rung.state == "left_out" and not rung.what]
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

    def told_of(self, rung: Rung) -> Told:
        """The rung with its sentence."""
        target = self._target
        if target is None or not rung.what:
            return Told(rung.name, rung.state, rung.ms, rung.what, "")
        facts = {name: _veiled(fact, target) if name == "error" else fact for name, fact in rung.facts.items()}
        sentence = self._text(f"net.{rung.what}", **{**target.facts, **facts})
        return Told(rung.name, rung.state, rung.ms, rung.what, sentence)

    def _print(self, line: str) -> None:
        if not self._quiet:
            print(line, flush=True)


def paragraph(sentence: str, columns: int) -> str:
    """Indented lines of at most so many columns; a number such as `1 500` stays whole."""
    glued = re.sub(r"(?<=\d) (?=\d{3}\b)", NO_BREAK, sentence)
    filled = textwrap.fill(glued, columns, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)
    return filled.replace(NO_BREAK, " ")


def _veiled(words: Fact, target: Target) -> Fact:
    """Without secrets: a server may repeat in its answer what we sent."""
    shown = str(words)
    for secret in target.secrets:
        try:
            value = secret.reveal()
        except SecretMissing:
            continue
        signed = base64.b64encode(f"{target.username}:{value}".encode()).decode()
        for hidden in filter(None, (signed, value)):
            shown = shown.replace(hidden, "•••")
    return shown
