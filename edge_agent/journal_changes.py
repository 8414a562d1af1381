"""`edge journal repair|import|resend|quarantine release|drop`: what changes the journal.

The running agent is asked to do it, with the maintenance lock; without one it is done here, with the state folder
locked.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import operator
import sqlite3
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from edge_agent import journal_file, journal_tools, quarantine, redo
from edge_agent.arguments import sub_commands
from edge_agent.client import Failed, NotAllowed, NotRunning, ask
from edge_agent.commands import Wrong, asked, loaded, print_json, wrong
from edge_agent.config import Config
from edge_agent.config_commands import add_lock_options, maintaining
from edge_agent.journal import Journal
from edge_agent.journal_routes import Pick, Resend
from edge_agent.journal_tools import file_of, reading, showing, span_of
from edge_agent.maintain import Maintenance
from edge_agent.text import Text

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[argparse.ArgumentParser]

Add = Callable[..., argparse.ArgumentParser]
Work = Callable[[Journal], Awaitable[object]]
T = TypeVar("T")


class _Order(msgspec.Struct, frozen=True):
    """What is asked of a running agent, and what does the same without one."""

    path: str
    """Below /journal."""
    body: bytes
    work: Work
    rest: Callable[[Any], bytes | None] = lambda _: None
    """What is asked next after an answer; None: nothing, that answer is all."""


LINES, BYTES = 2000, 128 << 10
"""Of one import request, at most, but for the last line of it: the agent takes no question above 512 KiB."""
MOST_SECONDS = 900.0
"""For one request: what it needs may have to be counted first."""
GZIP = b"\x1f\x8b"


def add_parsers(group: Group, text: Text, add: Add, asks: Add) -> None:
    """The sub-commands of `edge journal` that are not `stat`."""
    asks(add(group, "verify", text, of="journal."), text, journal_tools.verify)
    asks(add(group, "repair", text, of="journal."), text, repair)
    out = asks(add(group, "export", text, of="journal."), text, journal_tools.export)
    out.add_argument("--since", default="24h", metavar="T", help=text("help.since"))
    out.add_argument("--to", type=Path, required=True, metavar="FILE.lp.gz", help=text("help.journal.to_file"))
    out.add_argument("--until", metavar="T", help=text("help.journal.until"))
    back = asks(add(group, "import", text, of="journal."), text, import_)
    back.add_argument("file", type=Path, metavar="FILE", help=text("help.journal.file"))
    add_lock_options(back, text)
    again = asks(add(group, "resend", text, of="journal."), text, resend)
    again.add_argument("--sink", required=True, metavar="ID", help=text("help.journal.sink"))
    again.add_argument("--from", dest="since", required=True, metavar="T", help=text("help.since"))
    again.add_argument("--to", dest="until", metavar="T", help=text("help.journal.until"))
    add_lock_options(again, text)
    _quarantine(add(group, "quarantine", text, of="journal."), text, add, asks)


def _quarantine(parser: argparse.ArgumentParser, text: Text, add: Add, asks: Add) -> None:
    group = sub_commands(parser, text)
    listed = asks(add(group, "list", text, of="journal.quarantine."), text, journal_tools.quarantined)
    listed.add_argument("--sink", metavar="ID", help=text("help.journal.sink"))
    for name, command in (("release", release), ("drop", drop)):
        changes = asks(add(group, name, text, of="journal.quarantine."), text, command)
        changes.add_argument("--sink", required=True, metavar="ID", help=text("help.journal.sink"))
        changes.add_argument("id", nargs="*", type=int, metavar="N", help=text("help.journal.ids"))
        add_lock_options(changes, text)


def repair(arguments: argparse.Namespace) -> int:
    """`edge journal repair`: bring what can be read into a new file; only while no agent runs. 1: readings are lost."""
    config, text = loaded(arguments)
    before = reading(config, text, lambda: journal_file.verify(file_of(config), lambda _: None))
    if not before.is_sound:
        with showing(text("journal.repairing")) as seen:
            _alone(config, text, lambda journal: journal.recovery.repair(seen))
    after = reading(config, text, lambda: journal_file.verify(file_of(config), lambda _: None))
    if arguments.json:
        print_json(after)
    else:
        said = "nothing_to_repair" if before.is_sound else "repaired"
        print(text(f"journal.{said}", readings=after.readings, folder=str(config.state)))
    return 0 if after.is_sound else 1


def import_(arguments: argparse.Namespace) -> int:
    """`edge journal import`: put exported lines in; every sink gets them. 1: some lines were not understood."""
    config, text = loaded(arguments)
    total = redo.Imported(0, 0, 0)
    try:
        size = arguments.file.stat().st_size
        with _source(arguments.file) as (raw, lines), showing(text("journal.importing")) as seen:
            while portion := b"".join(_portion(lines)):
                done = _import(arguments, config, text, portion)
                total = redo.Imported(*map(operator.add, msgspec.structs.astuple(total), msgspec.structs.astuple(done)))
                seen(raw.tell() / max(1, size))
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise Wrong(f"{arguments.file}: {why or error}") from None
    if arguments.json:
        print_json(total)
    else:
        print(text("journal.imported", **msgspec.structs.asdict(total)))
    return 1 if total.refused else 0


@contextmanager
def _source(file: Path) -> Iterator[tuple[IO[bytes], Iterator[bytes]]]:
    """The file, and its lines: gzip or plain."""
    with file.open("rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        yield raw, iter(cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw)


def _portion(lines: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for line in islice(lines, LINES):
        yield line
        size += len(line)
        if size > BYTES:
            return


def _import(arguments: argparse.Namespace, config: Config, text: Text, portion: bytes) -> redo.Imported:
    lines = portion.decode("utf-8", "replace")
    return _change(
        arguments, config, text, _Order("import", portion, lambda j: redo.put_lines(j, lines)), redo.Imported
    )


def resend(arguments: argparse.Namespace) -> int:
    """`edge journal resend`: after a server lost its database."""
    config, text = loaded(arguments)
    sink, (since, until) = arguments.sink, span_of(arguments, text)
    with showing(text("journal.resending")) as seen:

        def rest(done: redo.Resending) -> bytes | None:
            seen(done.share)
            return None if done.is_all else msgspec.json.encode(Resend(sink, since, until, done))

        body = msgspec.json.encode(Resend(sink, since, until))
        order = _Order("resend", body, lambda j: redo.resend(j, sink, (since, until), seen), rest)
        found = _change(arguments, config, text, order, redo.Resending)
    if arguments.json:
        print_json(redo.Resent(sink, found.readings, found.rows))
    else:
        print(text("journal.resent", sink=sink, readings=found.readings))
    return 0


def release(arguments: argparse.Namespace) -> int:
    """`edge journal quarantine release`: let refused readings go once more."""
    return _handle(arguments, "release")


def drop(arguments: argparse.Namespace) -> int:
    """`edge journal quarantine drop`: forget refused readings."""
    return _handle(arguments, "drop")


def _handle(arguments: argparse.Namespace, step: quarantine.Step) -> int:
    config, text = loaded(arguments)
    sink, ids = arguments.sink, arguments.id
    with showing(text("journal.releasing" if step == "release" else "journal.dropping")) as seen:

        def rest(done: quarantine.Handling) -> bytes | None:
            seen(done.share)
            return None if done.is_all else msgspec.json.encode(Pick(sink, ids, done))

        body = msgspec.json.encode(Pick(sink, ids))
        order = _Order(step, body, lambda j: quarantine.handle(j, step, sink, ids, seen), rest)
        found = _change(arguments, config, text, order, quarantine.Handling).so_far
    if arguments.json:
        print_json(found)
    else:
        print(text("journal.released" if step == "release" else "journal.dropped", count=found.done, later=found.later))
        if found.unknown:
            print(text("journal.unknown_numbers", count=found.unknown, sink=sink))
        if found.damaged:
            print(text("journal.damaged_refused", count=found.damaged))
    return 1 if found.later or found.unknown or found.damaged else 0


# --- who does it ------------------------------------------------------------------------------------------------------


def _change(arguments: argparse.Namespace, config: Config, text: Text, order: _Order, answer: type[T]) -> T:
    """Let the agent do it, or without one do it here."""
    try:
        ask(config.control, "/maintain", Maintenance)
    except NotRunning:
        return cast(T, _alone(config, text, order.work))
    except (NotAllowed, Failed) as error:
        raise wrong(error, config, text) from None
    with maintaining(arguments, config, text) as token:
        how = {"method": "POST", "body": order.body, "token": token, "timeout": MOST_SECONDS}
        found = asked(config, text, f"/journal/{order.path}", answer, **how)
        while body := order.rest(found):
            found = asked(config, text, f"/journal/{order.path}", answer, **how | {"body": body})
        return found


def _alone(config: Config, text: Text, work: Work) -> object:
    from edge_agent.state_folder import CannotStart, journal_alone

    async def run() -> object:
        async with journal_alone(config) as journal:
            return await work(journal)

    try:
        return asyncio.run(run())
    except CannotStart as reason:
        raise Wrong(text(f"run.{reason.what}", **reason.facts)) from None
    except redo.NoSuchSink as error:
        raise Wrong(text("journal.no_sink", sink=str(error))) from None
    except (sqlite3.Error, OSError) as error:
        raise Wrong(text("journal.tool_failed", error=str(error))) from None
