"""`edge net`: can this box reach its brokers and sinks, and do they keep what it gives them? One ladder for each.

The running agent climbs, for it alone has the service's rights and secrets; without it this command does. Brokers are
visited under names of our own, since the agent's would throw it out, and databases get one test reading, `edge_probe`.
Each rung is printed as soon as it is known.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import os
import sys
from collections.abc import Callable, Sequence
from urllib.parse import quote, urlsplit

import msgspec

from drivers.marked import Problems, Secret, SecretMissing
from drivers.settings import Broker, BrokerAccess
from edge_agent import config as configuration
from edge_agent.client import Failed, NotAllowed, NotRunning, Refused, follow
from edge_agent.commands import Wrong, wrong
from edge_agent.config import HTTP_PORTS, Config, Influx, MqttUplink
from edge_agent.ladder import Fact, Facts, Red, Rung, State, Step, Way, climb
from edge_agent.net_show import Answer, Asking, Begun, Climbed, Event, Kind, Known, Report, Screen, Told, Verdict
from edge_agent.own_rungs import OwnRungs, is_beyond
from edge_agent.rungs import BrokerRungs, Consent, DatabaseRungs
from edge_agent.text import Text, texts

YES = {"y", "yes", "c", "co", "có"}
PATIENCE = 60.0
"""Seconds for the agent's next rung: one is given up long before."""


class Target(msgspec.Struct, frozen=True):
    """One broker or sink, or the box itself, whose rungs all others stand on."""

    id: str
    kind: Kind
    where: str
    steps: tuple[Step, ...]
    facts: Facts
    """For every sentence."""
    username: str = ""
    secrets: tuple[Secret, ...] = ()
    host: str = ""
    """Which machine has to be reached; empty: the box itself."""


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
        answer = None if consent else _by_agent(config, screen, text)
        answer = answer or _by_ourselves(config, consent, screen, text)
    except KeyboardInterrupt:
        # aiomqtt, stopped while it connects, complains from its destructor that the loop is gone.
        sys.unraisablehook = lambda _: None
        raise
    finally:
        screen.wipe()
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(answer), indent=1).decode())
    else:
        screen.end(answer)
    return ("ok", "attention", "failed").index(answer.verdict)


def _by_agent(config: Config, screen: Screen, text: Text) -> Answer | None:
    """The running agent climbs, with its own rights and secrets; None where none does."""
    reports: list[Report] = []
    question = f"/net?language={text.language}&file={quote(str(config.file.resolve()), safe='')}"
    try:
        for event in follow(config.control, question, Event, timeout=PATIENCE):
            if isinstance(event, Climbed):
                reports.append(event.report)
            if event is not None:
                screen.show(event)
    except (NotRunning, NotAllowed, Failed) as error:
        if reports:
            raise wrong(error, config, text) from None
        if isinstance(error, Refused) and error.what == "file_changed":
            screen.say(error.sentence)
        return None
    return Answer(verdict_of(reports), reports, by="agent")


def _by_ourselves(config: Config, consent: Consent | None, screen: Screen, text: Text) -> Answer:
    """This command climbs; what needs a secret of the service may be out of its reach, and that is said first."""
    wanted = targets(config, consent)
    if unknown := sorted({secret.name for target in wanted for secret in target.secrets if not _known(secret)}):
        screen.say(text("net.by_ourselves", names=", ".join(unknown)))
    reports = asyncio.run(climb_all(wanted, text, screen.show))
    return Answer(verdict_of(reports), reports)


def _known(secret: Secret) -> bool:
    try:
        secret.reveal()
    except SecretMissing:
        return False
    return True


async def climb_all(wanted: Sequence[Target], text: Text, tell: Callable[[Event], None]) -> list[Report]:
    """One after the other, so that what is printed belongs together; a box without a network asks nobody."""
    reports = list[Report]()
    for target in wanted:
        if any(report.kind == "box" and report.state == "failed" for report in reports) and is_beyond(target.host):
            reports.append(_out_of_reach(target))
        else:
            tell(Begun(target.id, target.where))
            rungs = [told_of(rung, target, text) for rung in await climb(target.steps, _Watch(target, text, tell))]
            state = worst([rung.state for rung in rungs])
            reports.append(Report(target.id, target.kind, target.where, state, rungs))
        tell(Climbed(reports[-1]))
    return reports


def _out_of_reach(target: Target) -> Report:
    """Nothing was tried."""
    rungs = [Told(step.name, "left_out", 0, "", "") for step in target.steps]
    return Report(target.id, target.kind, target.where, "failed", rungs)


class _Watch:
    """Tells each rung of one ladder. Implements Watch."""

    def __init__(self, target: Target, text: Text, tell: Callable[[Event], None]) -> None:
        """Of this target."""
        self._target, self._text, self._tell = target, text, tell

    def asking(self, name: str) -> None:
        """See Watch."""
        self._tell(Asking(name))

    def told(self, rung: Rung) -> None:
        """See Watch."""
        self._tell(Known(told_of(rung, self._target, self._text)))


def told_of(rung: Rung, target: Target, text: Text) -> Told:
    """The rung with its sentence, and without secrets."""
    if not rung.what:
        return Told(rung.name, rung.state, rung.ms, rung.what, "")
    facts = {name: _veiled(fact, target) if name == "error" else fact for name, fact in rung.facts.items()}
    sentence = text(f"net.{rung.what}", **{**target.facts, **facts})
    return Told(rung.name, rung.state, rung.ms, rung.what, sentence)


def worst(states: Sequence[State]) -> Verdict:
    """Of the rungs of a ladder."""
    if "failed" in states:
        return "failed"
    return "attention" if "attention" in states else "ok"


def verdict_of(reports: Sequence[Report]) -> Verdict:
    """Of all ladders: failed only where none leads up to a server."""
    servers = verdict([report.state for report in reports if report.kind != "box"])
    own = worst([report.state for report in reports if report.kind == "box"])
    return "attention" if servers == "ok" and own != "ok" else servers


def verdict(states: Sequence[Verdict]) -> Verdict:
    """Of the ladders to servers."""
    if states and all(state == "failed" for state in states):
        return "failed"
    return "ok" if all(state == "ok" for state in states) else "attention"


# --- targets ----------------------------------------------------------------------------------------------------------


def targets(config: Config, consent: Consent | None) -> list[Target]:
    """The ladders of a configuration: the box's own where a server lies beyond it, then brokers, then sinks."""
    found = [_broker_target(broker, "broker", BrokerRungs(broker)) for broker in config.mqtt]
    for sink in config.sinks:
        if sink.influxdb:
            rungs = DatabaseRungs(sink.id, sink.influxdb, config.site, consent)
            found.append(_influx_target(sink.id, sink.influxdb, rungs))
        elif sink.mqtt:
            broker = _as_broker(sink.id, sink.mqtt)
            found.append(_broker_target(broker, "sink", BrokerRungs(broker, uplink=True)))
    beyond = [target.host for target in found if is_beyond(target.host)]
    own = Target(config.site, "box", config.name, tuple(OwnRungs(beyond).steps()), {})
    return [own, *found] if beyond else found


def _broker_target(broker: Broker, kind: Kind, rungs: BrokerRungs) -> Target:
    way = Way(broker.host, broker.port, rungs.tls if broker.tls else None)
    facts = {"broker": broker.id, "where": broker.broker}
    known = tuple(secret for secret in (broker.password,) if secret)
    steps = (*way.steps(), *rungs.steps())
    return Target(broker.id, kind, broker.broker, steps, facts, broker.username or "", known, broker.host)


def _influx_target(id_: str, influx: Influx, rungs: DatabaseRungs) -> Target:
    parts = urlsplit(influx.url)
    tls = rungs.tls if parts.scheme == "https" else None
    way = Way(parts.hostname or "", parts.port or HTTP_PORTS[parts.scheme], tls)
    facts = {"sink": id_, "where": influx.url, "database": influx.database or influx.bucket or ""}
    known = tuple(secret for secret in (influx.password, influx.token) if secret)
    steps = (*way.steps(), *rungs.steps())
    return Target(id_, "sink", influx.url, steps, facts, influx.username or "", known, parts.hostname or "")


def _as_broker(id_: str, uplink: MqttUplink) -> Broker:
    """An uplink's broker is reached as any other."""
    return Broker.model_construct(id=id_, **{name: getattr(uplink, name) for name in BrokerAccess.model_fields})


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
