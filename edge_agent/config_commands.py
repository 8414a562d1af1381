"""`edge config show|diff|apply|confirm|back`: change the configuration so that a mistake mends itself.

A change takes the maintenance lock for the moment of the command only; whoever confirms takes it anew.
"""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from edge_agent.changes import Ask
from edge_agent.client import Refused, ask
from edge_agent.commands import Wrong, asked, loaded, print_json
from edge_agent.config import Config
from edge_agent.maintain import Held, Maintenance
from edge_agent.text import Text
from edge_agent.trial_now import Candidate, ConfigNow

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[argparse.ArgumentParser]

Add = Callable[..., argparse.ArgumentParser]


def add_parsers(group: Group, text: Text, add: Add, asks: Add) -> None:
    """The sub-commands of `edge config`."""
    asks(add(group, "show", text, of="config."), text, show)
    _changes(asks(add(group, "diff", text, of="config."), text, diff), text, file=True)
    _changes(asks(add(group, "apply", text, of="config."), text, apply), text, file=True)
    _changes(asks(add(group, "confirm", text, of="config."), text, confirm), text)
    _changes(asks(add(group, "back", text, of="config."), text, back), text)


def _changes(parser: argparse.ArgumentParser, text: Text, *, file: bool = False) -> None:
    if file:
        parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help=text("help.config.file"))
    add_lock_options(parser, text)


def add_lock_options(parser: argparse.ArgumentParser, text: Text) -> None:
    """What `maintaining` needs to know."""
    parser.add_argument("--name", default=_name(), metavar="N", help=text("help.config.name"))
    parser.add_argument("--steal", action="store_true", help=text("help.config.steal"))


def _name() -> str:
    """Who works at this terminal: also behind sudo the person."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def show(arguments: argparse.Namespace) -> int:
    """`edge config show`: what runs, and whether it is on trial."""
    config, text = loaded(arguments)
    now: ConfigNow = asked(config, text, "/config", ConfigNow)
    if arguments.json:
        print_json(now)
    else:
        print(_state(now, text))
    return 1 if now.trial_by is not None else 0


def diff(arguments: argparse.Namespace) -> int:
    """`edge config diff [FILE]`: 0 no difference, 1 one that can be applied, 2 one that cannot."""
    config, text = loaded(arguments)
    if arguments.file is None:
        now: ConfigNow = asked(config, text, "/config", ConfigNow)
        if arguments.json:
            print_json(now)
        else:
            print("\n".join(_told(Candidate(True, now.problems, now.diff, now.restart, True), text)))
        return 2 if now.problems or now.restart else 1 if now.diff else 0
    found = _propose(arguments, config, text)
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(_told(found, text)))
    return 2 if not found.usable else 1 if found.diff else 0


def apply(arguments: argparse.Namespace) -> int:
    """`edge config apply [FILE]`: run it until it is confirmed, or the old one again."""
    config, text = loaded(arguments)
    if arguments.file is not None:
        found = _propose(arguments, config, text)
        if not found.usable:
            raise Wrong("\n".join(_told(found, text)))
    return _step(arguments, config, text, "apply")


def confirm(arguments: argparse.Namespace) -> int:
    """`edge config confirm`: keep it."""
    return _step(arguments, *loaded(arguments), "confirm")


def back(arguments: argparse.Namespace) -> int:
    """`edge config back`: the old one, now."""
    return _step(arguments, *loaded(arguments), "back")


def _propose(arguments: argparse.Namespace, config: Config, text: Text) -> Candidate:
    try:
        raw = arguments.file.read_bytes()
    except OSError as error:
        raise Wrong(f"{arguments.file}: {error.strerror}") from None
    with maintaining(arguments, config, text) as token:
        return asked(config, text, "/config/candidate", Candidate, method="POST", body=raw, token=token)


def _step(arguments: argparse.Namespace, config: Config, text: Text, step: str) -> int:
    with maintaining(arguments, config, text) as token:
        now: ConfigNow = asked(config, text, f"/config/{step}", ConfigNow, method="POST", token=token)
    if arguments.json:
        print_json(now)
    else:
        print(text("config_trial.confirmed", file=now.file) if step == "confirm" else _state(now, text))
    return 0


@contextmanager
def maintaining(arguments: argparse.Namespace, config: Config, text: Text) -> Iterator[str]:
    """The maintenance lock while the block runs."""
    body = msgspec.json.encode(Ask(arguments.name, arguments.steal))
    held: Held = asked(config, text, "/maintain", Held, method="POST", body=body)
    try:
        with ended_in_order():
            yield held.token
    finally:
        _let_go(config, held.token)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP (the SSH session has gone) end the block as Ctrl-C does: with what it holds let go."""
    ending = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    before = {number: signal.signal(number, _end) for number in ending}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _let_go(config: Config, token: str) -> None:
    """A lock that cannot be given back lapses by itself."""
    try:
        ask(config.control, "/maintain", Maintenance, method="DELETE", token=token)
    except (Refused, OSError):
        return


def _state(now: ConfigNow, text: Text) -> str:
    if now.trial_by is not None:
        return text("config_trial.on", left=now.left_s, who=now.trial_by)
    if now.returned:
        return text(f"config_trial.returned_{now.returned}", file=now.file)
    return text("config_trial.file", file=now.file)


def _told(found: Candidate, text: Text) -> list[str]:
    lines = [*found.problems, found.diff or text("config_trial.same")]
    if found.restart:
        lines.append(text("trial.restart_needed", keys=", ".join(found.restart)))
    return lines
