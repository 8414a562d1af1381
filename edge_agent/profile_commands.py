"""`edge profile`: check profiles that somebody writes, list the models, give the schema for editors.

None of them needs the agent or a device. What a profile would read is reckoned in `drivers/profile_view.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from drivers.marked import Problem, Problems
from drivers.profile import UnknownVariant, library, read_profile
from drivers.profile_view import Decoded, PointView, PollTime, ProfileView, WrongFrame, decoded, settle, view
from edge_agent.commands import Wrong
from edge_agent.config import sentence
from edge_agent.show import mark, painted, shown, table, terminal_width, unit
from edge_agent.text import Text, texts

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[argparse.ArgumentParser]
    Add = Callable[[Group, str, Text, str], argparse.ArgumentParser]

SITE_FOLDER = Path("/etc/edge-agent/devices")


class Fault(msgspec.Struct, frozen=True):
    """One fault of a file, for scripts."""

    file: str
    line: int
    column: int
    path: str
    what: str
    sentence: str


class Checked(msgspec.Struct, frozen=True):
    """One file (`edge profile check --json`)."""

    file: str
    problems: list[Fault]
    profile: ProfileView | None = None
    frame: list[Decoded] | None = None


class Listed(msgspec.Struct, frozen=True):
    """One model (`edge profile list --json`)."""

    id: str
    maker: str
    model: str
    kind: str
    points: int
    open: list[list[str]]
    """Questions that a device's `variant` must answer."""
    file: str
    problems: int = 0


def add_parsers(group: Group, text: Text, add: Add) -> None:
    """The sub-commands, with the helper of the main parser."""
    of = "profile."
    checking = add(group, "check", text, of)
    checking.add_argument("files", nargs="+", type=Path, metavar="FILE", help=text("help.profile.file"))
    checking.add_argument("--variant", action="append", default=[], metavar="NAME", help=text("help.profile.variant"))
    frames = ("ASK", "ANSWER")
    checking.add_argument("--frames", nargs=2, metavar=frames, default=None, help=text("help.profile.frames"))
    listing = add(group, "list", text, of)
    listing.add_argument("--profiles", type=Path, default=SITE_FOLDER, metavar="DIR", help=text("help.profile.folder"))
    for parser, command in ((checking, check), (listing, list_models)):
        parser.add_argument("--json", action="store_true", help=text("help.json"))
        parser.set_defaults(command=command)
    add(group, "schema", text, of).set_defaults(command=schema)


# --- check ------------------------------------------------------------------------------------------------------------


def check(arguments: argparse.Namespace) -> int:
    """`edge profile check FILE…`: every fault of every file, then what each good one would read."""
    text = texts(arguments.language)
    found = [_checked(file, arguments.variant, arguments.frames, text) for file in arguments.files]
    if arguments.json:
        _print_json(found)
    else:
        for each in found:
            _print_checked(each, text)
    if any(each.profile is None for each in found):
        return 2
    return 1 if any(each.profile and not each.profile.points for each in found) else 0


def _checked(file: Path, variant: Sequence[str], frames: tuple[str, str] | None, text: Text) -> Checked:
    try:
        profile = read_profile(file)
    except Problems as refused:
        return Checked(str(file), [_fault(problem, text) for problem in refused.problems])
    try:
        seen = view(profile, variant, text.language)
        answered = decoded(profile, seen.assumed, *frames) if frames else None
    except (UnknownVariant, WrongFrame) as wrong:
        raise Wrong(text(f"profile.{wrong.what}", **wrong.facts)) from None
    return Checked(str(file), [], seen, answered)


def _fault(problem: Problem, text: Text) -> Fault:
    place = (problem.file, problem.line, problem.column, problem.path)
    return Fault(*place, problem.what, sentence(problem, text))


def _print_checked(found: Checked, text: Text) -> None:
    if found.profile is None:
        for fault in found.problems:
            print(f"{fault.file}:{fault.line}:{fault.column}: {fault.path or '.'}: {fault.sentence}", file=sys.stderr)
        print(text("profile.errors", count=len(found.problems), file=found.file), file=sys.stderr)
    elif found.frame is not None:
        print(_values(found.frame, text))
    else:
        print("\n".join(_lines(found.file, found.profile, text)))


def _lines(file: str, seen: ProfileView, text: Text) -> list[str]:
    """A good profile: its points, requests, bus time, and what to know."""
    state = "ok" if seen.points else "attention"
    facts = {"maker": seen.maker, "model": seen.model, "points": len(seen.points)}
    lines = [painted(f"{mark(state)} {file}: {text('profile.good', **facts)}", state)]
    if not seen.points:
        return [*lines, "  " + text("profile.no_points")]
    lines += ["  " + text("profile.open", choices=", ".join(answers)) for answers in seen.open]
    if seen.assumed:
        lines.append("  " + text("profile.assumed", variants=", ".join(seen.assumed)))
    lines += ["", *_points(seen.points, text), "", *_requests(seen, text), "", *_times(seen.times, text)]
    lines += [f"  {text('profile.writable')}: {what}" for what in seen.writable]
    return [*lines, *(f"  {mark('attention')} {trap}" for trap in seen.traps)]


def _points(points: Sequence[PointView], text: Text) -> list[str]:
    head = [text(f"profile.head.{name}") for name in ("point", "unit", "register", "type", "scale", "key")]
    rows = [
        [each.point, unit(each.unit), _place(each), _kind(each), text.number(each.scale), each.key] for each in points
    ]
    return ["  " + line for line in table(head, rows, right=(4,), most=_width()).splitlines()]


def _place(point: PointView) -> str:
    last = point.addr + point.words - 1
    return f"fc{point.fc} {point.addr}" + (f"..{last}" if point.words > 1 else "")


def _kind(point: PointView) -> str:
    return f"{point.type} {point.order}" if point.words > 1 and point.type != "str" else point.type


def _requests(seen: ProfileView, text: Text) -> list[str]:
    shown_blocks = [f"fc{b.fc} {b.start}..{b.start + b.count - 1}" for b in seen.blocks]
    return [f"  {text('profile.requests', count=len(seen.blocks))}: {', '.join(shown_blocks)}"]


def _times(times: Sequence[PollTime], text: Text) -> list[str]:
    head = [text(f"profile.head.{name}") for name in ("baud", "requests", "ms", "singles")]
    rows = [
        [str(t.baud) if t.baud else "TCP", str(t.requests), text.number(t.ms, 1), text.number(t.singles_ms, 1)]
        for t in times
    ]
    return ["  " + line for line in table(head, rows, right=(0, 1, 2, 3)).splitlines()]


def _values(values: Sequence[Decoded], text: Text) -> str:
    head = [text(f"points.{name}") for name in ("point", "value", "unit", "quality")]
    rows = [[v.point, shown(v.value, text), unit(v.unit), text(f"reason.{v.reason}")] for v in values]
    return table(head, rows, right=(1,), most=terminal_width())


def _width() -> int:
    return max(terminal_width() - 2, 0)


# --- list, schema -----------------------------------------------------------------------------------------------------


def list_models(arguments: argparse.Namespace) -> int:
    """`edge profile list`: the models that devices may have; 1 where a file of the site cannot be used."""
    text = texts(arguments.language)
    found = [_listed(file) for _, file in sorted(library([arguments.profiles]).items())]
    if arguments.json:
        _print_json(found)
    else:
        head = [text(f"profile.head.{name}") for name in ("id", "points", "kind", "maker", "model")]
        print(table(head, [_row(each, text) for each in found], right=(1,), most=terminal_width()))
    return 1 if any(each.problems for each in found) else 0


def _listed(file: Path) -> Listed:
    try:
        profile = read_profile(file)
    except Problems as refused:
        return Listed(file.stem, "", "", "", 0, [], str(file), len(refused.problems))
    chosen, questions = settle(profile)
    points = len(profile.points(chosen))
    return Listed(profile.id, profile.vendor, profile.model, profile.kind, points, questions, str(file))


def _row(listed: Listed, text: Text) -> list[str]:
    if listed.problems:
        return [listed.id, "–", mark("failed"), text("profile.faulty", file=listed.file), ""]
    return [listed.id, str(listed.points), listed.kind, listed.maker, listed.model]


def schema(_: argparse.Namespace) -> int:
    """`edge profile schema`: the JSON Schema of a profile, for editors."""
    from drivers.profile_schema import schema_text

    print(schema_text())
    return 0


def _print_json(answer: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(answer), indent=1).decode())
