"""The command `edge`: its sub-commands, what each needs, and the exit codes. Parts are imported only when asked for."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.arguments import speak, sub_commands, take_config
from edge_agent.text import LANGUAGES, Text, texts
from edge_agent.wrong import Wrong

SERVE_PORT = 8090
DEFAULT_CONFIG = Path("/etc/edge-agent/agent.yaml")
Command = Callable[[argparse.Namespace], int]
ROLES = ("chair", "secretary", "site", "guest")
"""Those of `conference.tickets`, which is not imported for every command; a test compares them."""
SELDOM = 20_000
"""New objects until the collector looks through them."""
FORM = argparse.RawDescriptionHelpFormatter

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[argparse.ArgumentParser]


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; 0 well, 1 needs attention, 2 failed (or wrong arguments)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a letter that the terminal lacks must not end the command
    try:
        arguments = _understood(sys.argv[1:] if words is None else words)
        code = int(arguments.command(arguments))
        sys.stdout.flush()  # here, where a reader that went away is no fault, and not at the interpreter's end
        return code
    except Wrong as wrong:
        print(wrong, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us (`| head`) has enough; the interpreter must not try to flush again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _understood(words: Sequence[str]) -> argparse.Namespace:
    language = _language()
    speak(texts(language))
    return _parser(texts(language), words).parse_args(
        words, argparse.Namespace(language=language, config=DEFAULT_CONFIG)
    )


def _language() -> str:
    """Before a configuration is read, the screen that runs us or the terminal's language decides."""
    if (asked := os.environ.get("EDGE_LANGUAGE")) in LANGUAGES:
        return asked
    said = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "vi" if said.startswith("vi") else "en"


# --- the commands -----------------------------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    """`edge run`: the agent in the foreground, until SIGTERM."""
    import asyncio
    import gc

    usual = gc.get_threshold()
    gc.set_threshold(SELDOM)  # what is imported stays: to look through it again and again takes 30 ms of the start
    import uvloop

    from drivers.marked import Problems
    from edge_agent import app as program
    from edge_agent import config as configuration
    from edge_agent.state_folder import CannotStart

    gc.set_threshold(*usual)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = configuration.load(arguments.config)
    except Problems as problems:
        raise Wrong("\n".join(configuration.render(problems.problems, texts(arguments.language)))) from None

    async def run() -> None:
        await program.App(config).run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    except CannotStart as reason:
        raise Wrong(texts(config.language)(f"run.{reason.what}", **reason.facts)) from None
    return 0


def _later(module: str, name: str = "main") -> Command:
    """A command whose module is imported only when it runs."""

    def command(arguments: argparse.Namespace) -> int:
        chosen: Command = getattr(import_module(module), name)
        return chosen(arguments)

    return command


def _client(name: str) -> Command:
    return _later("edge_agent.commands", name)


def _look(name: str) -> Command:
    return _later("edge_agent.look", name)


def _ticket(name: str) -> Command:
    return _later("edge_agent.ticket", name)


def _tui(arguments: argparse.Namespace) -> int:
    if arguments.port is not None and not arguments.serve:
        raise Wrong(texts(arguments.language)("tui.port_alone"))
    if arguments.serve:
        if arguments.maintain is not None or arguments.plain or arguments.thin or arguments.speak:
            raise Wrong(texts(arguments.language)("tui.serve_looks"))
        arguments.port = arguments.port or SERVE_PORT
        from edge_agent.tui import serve

        return serve.main(arguments)
    from edge_agent.tui.lean import without_tls

    without_tls()
    from edge_agent.tui import start

    return start.main(arguments)


# --- the parser -------------------------------------------------------------------------------------------------------


def _parser(text: Text, words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "edge", description=text("help.edge"), epilog=text("help.exit"), formatter_class=FORM
    )
    commands = parser.add_subparsers(metavar=text("help.command"), required=True)
    _on_config(_add(commands, "run", text), text, _run)
    _on_config(_add(commands, "meet", text), text, _later("edge_agent.meet"))
    _on_config(_add(commands, "check", text), text, _client("check"))
    _asks(_add(commands, "status", text), text, _client("status"))
    every = _asks(_add(commands, "points", text), text, _later("edge_agent.watch", "points"))
    every.add_argument("-w", "--watch", type=float, metavar="S", help=text("help.points.watch"))
    _details(commands, text)
    _configures(commands, text, words)
    journal = sub_commands(_add(commands, "journal", text), text)
    _asks(_add(journal, "stat", text, of="journal."), text, _client("journal_stat"))
    _journals(journal, text, words)
    counts = _asks(_add(commands, "ledger", text), text, _client("ledger"))
    counts.add_argument("--since", default="24h", metavar="T", help=text("help.since"))
    ladder = _asks(_add(commands, "net", text), text, _later("edge_agent.net"))
    ladder.add_argument("--create", action="store_true", help=text("help.net.create"))
    ladder.add_argument("--yes", action="store_true", help=text("help.net.yes"))
    _tools(_add(commands, "modbus", text), text, words)
    _shows(_on_config(_add(commands, "tui", text), text, _tui), text)
    _tickets(_add(commands, "ticket", text), text)
    _profiles(_add(commands, "profile", text), text, words)
    simulated = _add(commands, "sim", text).add_subparsers(metavar=text("help.command"), required=True)
    _simulates(_add(simulated, "ward", text, of="sim."), words)
    _demonstrates(_add(commands, "demo", text), text)
    return parser


def _add(group: Group, name: str, text: Text, of: str = "") -> argparse.ArgumentParser:
    """A command with its one line in the list and its own explanation."""
    key = f"help.{of}{name}"
    return group.add_parser(name, help=text(key), description=text(f"{key}.more"), formatter_class=FORM)


def _on_config(parser: argparse.ArgumentParser, text: Text, command: Command) -> argparse.ArgumentParser:
    take_config(parser, text)
    parser.set_defaults(command=command)
    return parser


def _asks(parser: argparse.ArgumentParser, text: Text, command: Command) -> argparse.ArgumentParser:
    _on_config(parser, text, command).add_argument("--json", action="store_true", help=text("help.json"))
    return parser


def _details(commands: Group, text: Text) -> None:
    one = _asks(_add(commands, "point", text), text, _look("point"))
    one.add_argument("id", metavar="ID", help=text("help.point.id"))
    _asks(_add(commands, "box", text), text, _look("box"))
    lines = _asks(_add(commands, "log", text), text, _look("log"))
    lines.add_argument("word", nargs="*", metavar="WORD", help=text("help.log.word"))
    lines.add_argument("-n", type=int, default=50, metavar="N", help=text("help.log.n"))
    lines.add_argument("--level", choices=("info", "warning", "error"), default="info", help=text("help.log.level"))
    lines.add_argument("--follow", action="store_true", help=text("help.log.follow"))
    bundle = _asks(_add(commands, "report", text), text, _look("report"))
    bundle.add_argument("file", nargs="?", type=Path, metavar="FILE", help=text("help.report.file"))


def _configures(commands: Group, text: Text, words: Sequence[str]) -> None:
    """Changing the configuration; imported only when it is asked for. (`help.config` is the option's text.)"""
    parser = commands.add_parser(
        "config", help=text("help.configure"), description=text("help.configure.more"), formatter_class=FORM
    )
    if "config" in words:
        from edge_agent import config_commands

        group = sub_commands(parser, text)
        config_commands.add_parsers(group, text, _add, _asks)


def _tools(parser: argparse.ArgumentParser, text: Text, words: Sequence[str]) -> None:
    """The Modbus tools; imported only when one of them is asked for."""
    if "modbus" in words:
        from edge_agent import modbus_commands

        group = sub_commands(parser, text)
        modbus_commands.add_parsers(group, text, _add, _asks)


def _journals(group: Group, text: Text, words: Sequence[str]) -> None:
    """The journal's tools; imported only when one of them is asked for."""
    if "journal" in words and list(words[:2]) != ["journal", "stat"]:
        from edge_agent import journal_changes

        journal_changes.add_parsers(group, text, _add, _asks)


def _shows(parser: argparse.ArgumentParser, text: Text) -> None:
    parser.add_argument("--plain", action="store_true", help=text("help.tui.plain"))
    parser.add_argument("--maintain", metavar="NAME", nargs="?", const="", help=text("help.tui.maintain"))
    parser.add_argument("--thin", action="store_true", help=text("help.tui.thin"))
    parser.add_argument("--serve", action="store_true", help=text("help.tui.serve"))
    parser.add_argument("--port", type=int, metavar="P", help=text("help.tui.port"))
    parser.add_argument("--language", choices=LANGUAGES, dest="speak", help=text("help.tui.language"))


def _tickets(parser: argparse.ArgumentParser, text: Text) -> None:
    kinds = sub_commands(parser, text)
    issue = _asks(_add(kinds, "issue", text, of="ticket."), text, _ticket("issue"))
    issue.add_argument("--role", choices=ROLES, help=text("help.ticket.role"))
    issue.add_argument("--room", metavar="R", help=text("help.ticket.room"))
    issue.add_argument("--name", default="", metavar="N", help=text("help.ticket.name"))
    issue.add_argument("--site", default="", metavar="S", help=text("help.ticket.site"))
    issue.add_argument("--for", dest="life", metavar="T", help=text("help.ticket.life"))
    kind = issue.add_mutually_exclusive_group()
    kind.add_argument("--code", action="store_true", help=text("help.ticket.code"))
    kind.add_argument("--terminal", action="store_true", help=text("help.ticket.terminal"))
    issue.set_defaults(serve_port=SERVE_PORT)
    issue.add_argument("--port", type=int, metavar="P", help=text("help.tui.port"))
    kind.add_argument("--device", action="store_true", help=text("help.ticket.device"))
    issue.add_argument("--qr", action="store_true", help=text("help.ticket.qr"))
    _asks(_add(kinds, "list", text, of="ticket."), text, _ticket("listing"))
    revoke = _on_config(_add(kinds, "revoke", text, of="ticket."), text, _ticket("revoke"))
    revoke.add_argument("id", nargs="+", metavar="ID", help=text("help.ticket.id"))


def _profiles(parser: argparse.ArgumentParser, text: Text, words: Sequence[str]) -> None:
    """The tools for whoever writes a device profile; imported only when one of them is asked for."""
    if "profile" in words:
        from edge_agent import profile_commands

        group = parser.add_subparsers(metavar=text("help.command"), required=True)
        profile_commands.add_parsers(group, text, _add)


def _simulates(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """The simulation brings its own options; it is imported only when it is asked for."""
    if "sim" in words:
        from drivers.sim import ward

        ward.add_arguments(parser)
    parser.set_defaults(command=_later("drivers.sim.ward"))


def _demonstrates(parser: argparse.ArgumentParser, text: Text) -> None:
    parser.add_argument("--seconds", type=float, default=None, metavar="S", help=text("help.demo.seconds"))
    parser.add_argument("--meeting", action="store_true", help=text("help.demo.meeting"))
    parser.add_argument("--keep", action="store_true", help=text("help.demo.keep"))
    parser.add_argument("--language", choices=LANGUAGES, default=text.language, help=text("help.demo.language"))
    parser.set_defaults(command=_later("edge_agent.demo"))


if __name__ == "__main__":
    sys.exit(main())
