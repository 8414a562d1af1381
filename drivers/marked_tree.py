"""YAML text -> a tree whose every node knows its line; what is wrong with the text, each fault at its place.

An iterative composer over PyYAML's events: size, depth, aliases and duplicate keys are refused before anything is
multiplied. Scalars follow YAML 1.2's core schema. Text is normalised to NFC; a byte order mark is skipped.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

try:
    from yaml._yaml import CParser as Parser
except ImportError:  # PyYAML without libyaml: the same events, ten times slower
    from yaml import Loader as Parser  # type: ignore[assignment]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_NODES = 40_000
MAX_PROBLEMS = 100

Fact = str | int | float
Loc = tuple[str | int, ...]
"""Keys and indices from the root to a value."""


class Problem(msgspec.Struct, frozen=True):
    """One fault of a file, for a person."""

    file: str
    line: int
    column: int
    """Both from 1; the column counts characters."""
    path: str
    """`buses[0].devices[1].unit`; empty for the file as a whole."""
    what: str
    """Text key: below `config.`, or complete where it has a dot."""
    facts: dict[str, Fact] = {}


class Problems(ValueError):
    """The file cannot be used; `problems` says why, in the order of its lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Sort, drop repetitions and keep the first MAX_PROBLEMS."""
        unique = {(p.file, p.line, p.column, p.path, p.what): p for p in problems}
        files = list(dict.fromkeys(p.file for p in unique.values()))
        ordered = sorted(unique.values(), key=lambda p: (files.index(p.file), p.line, p.column))
        self.problems = ordered[:MAX_PROBLEMS]
        super().__init__(", ".join(f"{p.file}:{p.line}:{p.column} {p.what}" for p in self.problems[:3]))


# --- secrets ----------------------------------------------------------------------------------------------------------


class SecretMissing(LookupError):
    """The secret stands neither in systemd's credentials folder nor in the environment."""

    def __init__(self, name: str) -> None:
        """`variable` is where else it was looked for."""
        self.name, self.variable = name, Secret(name).variable
        super().__init__(f"secret {name} is not set")


class Secret:
    """A `!secret name`: the name is configuration, the value is read when it is needed and never printed."""

    def __init__(self, name: str) -> None:
        """`name`: of a file in /etc/edge-agent/secrets, which the service loads as `secret_<name>`, or a credential."""
        self.name = name

    @property
    def variable(self) -> str:
        """The environment variable that may hold it."""
        return "EDGE_SECRET_" + self.name.upper().replace("-", "_").replace(".", "_")

    def reveal(self) -> str:
        """The value without its final line break. Raises SecretMissing."""
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        for file in (f"{folder}/{self.name}", f"{folder}/secret_{self.name}") if folder else ():
            try:
                return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError):
                continue  # not given to this service: the environment is next
        if self.variable in os.environ:
            return os.environ[self.variable]
        raise SecretMissing(self.name)

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.name == self.name

    def __hash__(self) -> int:
        return hash((Secret, self.name))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: type, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)


# --- nodes ------------------------------------------------------------------------------------------------------------

Scalar = str | int | float | bool | Secret | None


class Node(msgspec.Struct, eq=False):
    """A value with its place. `value` is a scalar, a dict of nodes or a list of nodes."""

    line: int
    column: int
    value: Scalar | dict[str | int, Node] | list[Node] = None
    text: str = ""
    """A scalar as written, without quotes."""
    plain: bool = False
    """True: a scalar without quotes."""
    key: tuple[int, int] | None = None
    """Line and column of the key it stands under."""
    parent: Node | None = None
    step: str | int = ""
    """Key or index within `parent`."""

    @property
    def path(self) -> str:
        """`buses[0].devices[1].unit`; empty for the root."""
        if self.parent is None:
            return ""
        return path_below(self.parent.path, self.step, isinstance(self.parent.value, list))

    def data(self) -> Any:
        """The value without the marks; sequences are tuples, so that models can be frozen."""
        if isinstance(self.value, dict):
            return {key: child.data() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return tuple(child.data() for child in self.value)
        return self.value

    def child(self, step: str | int) -> Node | None:
        """The node under a key or index, None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None


class Tree(msgspec.Struct, frozen=True):
    """A file's nodes, for checks that find a fault after the model was built."""

    file: str
    root: Node

    def find(self, loc: Iterable[str | int]) -> Node:
        """The node at `loc`, or the deepest one on the way there."""
        node = self.root
        for step in loc:
            below = node.child(step)
            if below is None:
                return node
            node = below
        return node

    def __call__(self, loc: Iterable[str | int]) -> tuple[int, int]:
        """Line and column of what stands at `loc`."""
        node = self.find(loc)
        return node.line, node.column

    def problem(self, loc: Iterable[str | int], what: str, **facts: Fact) -> Problem:
        """A problem with the value at `loc`."""
        node = self.find(loc)
        return Problem(self.file, node.line, node.column, node.path, what, facts)

    def key_problem(self, loc: Iterable[str | int], what: str, **facts: Fact) -> Problem:
        """A problem with the key at `loc`."""
        node = self.find(loc)
        line, column = node.key or (node.line, node.column)
        return Problem(self.file, line, column, node.path, what, facts)


def path_below(path: str, step: str | int, index: bool) -> str:
    """The path of what stands under a key or an index of `path`; long keys are cut."""
    if index:
        return f"{path}[{step}]"
    return f"{path}.{str(step)[:40]}" if path else str(step)[:40]


# --- text -> nodes ----------------------------------------------------------------------------------------------------

UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,40})|0x[0-9A-Fa-f]{1,16}|0o[0-7]{1,22}")
FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]+|(?<=[0-9])\.?)(?:[eE][-+]?[0-9]+)?")
WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", ".INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def scalar(text: str) -> Scalar:
    """What a scalar without quotes means (YAML 1.2, 10.3.2); a number with a leading zero stays text."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text, 0)
    if FLOAT.fullmatch(text):
        return float(text)
    return text


def read(path: Path) -> str:
    """The file's text. Raises Problems where there is none that could be parsed."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Problems([Problem(str(path), 1, 1, "", "unreadable", {"error": error.strerror or str(error)})]) from None
    if len(raw) > MAX_BYTES:
        raise Problems([Problem(str(path), 1, 1, "", "too_big", {"most": MAX_BYTES // 1024})])
    try:
        text = unicodedata.normalize("NFC", raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Problems([_at_byte(path, raw, error.start, "not_utf8")]) from None
    if found := UNPRINTABLE.search(text):
        raise Problems([_at_byte(path, text.encode(), len(text[: found.start()].encode()), "control_character")])
    return text


def _at_byte(path: Path, raw: bytes, at: int, what: str) -> Problem:
    before = raw[:at].decode("utf-8", "replace").split("\n")
    return Problem(str(path), len(before), len(before[-1]) + 1, "", what, {"code": f"0x{raw[at]:02X}"})


class _Open(msgspec.Struct, eq=False):
    """A container whose end has not come yet, and the key that waits for its value."""

    node: Node
    key: Node | None = None


class _Composer:
    """Events -> nodes, on a stack of its own."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._count = 0

    def take(self, event: yaml.Event) -> bool:
        """Put one event into the tree. False: nothing after it is worth reading."""
        if isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.NodeEvent):
            return self._add(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            return self._stop(event, "several_documents")
        return True

    def wrong(self, line: int, column: int, what: str, path: str | None = None, **facts: Fact) -> None:
        """Note a problem; without `path` it lies in the innermost open container."""
        inside = self._open[-1].node.path if self._open else ""
        self.problems.append(Problem(self.file, line, column, inside if path is None else path, what, facts))

    def _stop(self, event: yaml.Event, what: str, **facts: Fact) -> bool:
        line, column = _place(event)
        self.wrong(line, column, what, None, **facts)
        return False

    def _add(self, event: yaml.NodeEvent) -> bool:
        self._count += 1
        if self._count > MAX_NODES:
            return self._stop(event, "too_many_values", most=MAX_NODES)
        if len(self._open) >= MAX_DEPTH:
            return self._stop(event, "too_deep", most=MAX_DEPTH)
        node = Node(*_place(event))
        inside = self._open[-1] if self._open else None
        if inside and isinstance(inside.node.value, dict) and inside.key is None:
            return self._key(event, node, inside)
        self._place(node, inside)
        self._fill(event, node)
        return True

    def _key(self, event: yaml.NodeEvent, node: Node, inside: _Open) -> bool:
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            return self._stop(event, "key_not_text")
        self._fill(event, node)
        inside.key = node
        return True

    def _place(self, node: Node, inside: _Open | None) -> None:
        """Hang the node into the tree; the value of a key's second occurrence is left out."""
        if inside is None:
            self.root = node
            return
        node.parent = inside.node
        if isinstance(inside.node.value, list):
            node.step = len(inside.node.value)
            inside.node.value.append(node)
        elif isinstance(inside.node.value, dict) and inside.key is not None:
            key, inside.key = inside.key, None
            node.key = (key.line, key.column)
            node.step = key.value if type(key.value) is int else key.text
            if first := inside.node.value.get(node.step):
                line, column = first.key or (first.line, first.column)
                facts: dict[str, Fact] = {"key": key.text[:60], "first_line": line, "first_column": column}
                self.problems.append(Problem(self.file, key.line, key.column, node.path, "duplicate_key", facts))
            else:
                inside.node.value[node.step] = node

    def _fill(self, event: yaml.NodeEvent, node: Node) -> None:
        """The node's value; containers begin empty."""
        if isinstance(event, yaml.AliasEvent):
            self.wrong(node.line, node.column, "alias", node.path, name=str(event.anchor)[:60])
            return
        if event.anchor is not None:
            self.wrong(node.line, node.column, "anchor", node.path, name=str(event.anchor)[:60])
        tag = getattr(event, "tag", None)
        if tag not in (None, "!") and not (tag == "!secret" and isinstance(event, yaml.ScalarEvent)):
            self.wrong(node.line, node.column, "unknown_tag", node.path, tag=str(tag)[:60])
        if isinstance(event, yaml.ScalarEvent):
            node.text = event.value
            node.plain = event.style in (None, "") and event.implicit[0]
            node.value = self._scalar(event, node)
            return
        node.value = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._open.append(_Open(node))

    def _scalar(self, event: yaml.ScalarEvent, node: Node) -> Scalar:
        if event.tag == "!secret":
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", event.value):
                self.wrong(node.line, node.column, "secret_name", node.path, value=event.value[:60])
            return Secret(event.value)
        return scalar(event.value) if node.plain else event.value


def _place(event: yaml.Event) -> tuple[int, int]:
    """Line and column, both from 1."""
    mark: Any = event.start_mark  # PyYAML's stubs allow None, its parsers always set it
    return mark.line + 1, mark.column + 1


def compose(text: str, file: str) -> tuple[Node, list[Problem]]:
    """The tree, and what is wrong with it though it can be used. Raises Problems where it cannot."""
    composer = _Composer(file)
    whole = True
    try:
        parser = Parser(text)
        while whole and (event := parser.get_event()) is not None:
            whole = composer.take(event)
    except yaml.YAMLError as error:
        whole = False
        _syntax(composer, error)
    if whole and (composer.root is None or composer.root.value is None):
        composer.wrong(1, 1, "empty_file")
    if not whole or composer.root is None or composer.root.value is None:
        raise Problems(composer.problems)
    return composer.root, composer.problems


SYNTAX = (
    ("that cannot start any token", "bad_character"),
    ("mapping values are not allowed", "colon_in_text"),
    ("could not find expected ':'", "colon_missing"),
    ("did not find expected ',' or", "bracket_open"),
    ("unexpected end of stream", "quote_open"),
    ("did not find expected key", "indent"),
    ("did not find expected '-' indicator", "indent"),
    ("block sequence entries are not allowed", "indent"),
)
"""Words of the parser and the sentence that says the same to a person."""


def _syntax(composer: _Composer, error: yaml.YAMLError) -> None:
    """Where the text is no YAML; a tab where blanks must stand is the usual cause."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    words = str(getattr(error, "problem", None) or error)
    began = getattr(error, "context_mark", None) or mark
    what = next((what for start, what in SYNTAX if start in words), "syntax")
    composer.wrong(line, column, what, error=words, began=began.line + 1 if began else 1)
