"""pydantic's errors in our words: which sentence a fault has, its facts, and the line and column where it stands.

The values that look right to a person and mean something else in YAML (`no`, `012`, `12:30:45`, a number in quotes)
have sentences of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

from drivers.marked_tree import Fact, Loc, Node, Problem, Secret, Tree, path_below, scalar


def fault(what: str, about: tuple[str, ...] = (), **facts: Fact) -> PydanticCustomError:
    """An error that a validator raises; `what` is a text key under `config.`.

    A validator of a whole block names the keys that it looks at: where one of them is at fault by itself, nothing
    is said about them together.
    """
    return PydanticCustomError(f"edge.{what}", what, {**facts, ABOUT: about})


def about(error: ErrorDetails) -> tuple[str, ...]:
    """The keys of the block that an error is about."""
    keys: tuple[str, ...] = error.get("ctx", {}).get(ABOUT, ())
    return keys


WANTED = {
    "bool_type": "want_boolean",
    "int_type": "want_whole_number",
    "int_from_float": "want_whole_number",
    "float_type": "want_number",
    "string_type": "want_text",
    "tuple_type": "want_list",
    "list_type": "want_list",
    "model_type": "want_mapping",
    "mapping_type": "want_mapping",
    "dict_type": "want_mapping",
    "finite_number": "not_finite",
    "is_instance_of": "plain_secret",
}
BOUNDS = {
    "greater_than_equal": ("too_small", "ge"),
    "greater_than": ("too_small", "gt"),
    "less_than_equal": ("too_large", "le"),
    "less_than": ("too_large", "lt"),
}
ABOUT = "about"
AS_NUMBER = ("want_whole_number", "want_number", "duration", "size")
LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+(?:\.[0-9]*)?")
SEXAGESIMAL = re.compile(r"[0-9]+(?::[0-9]+)+(?:\.[0-9]*)?")
YES_NO = {"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"}


def problem_of(error: ErrorDetails, model: type[BaseModel], tree: Tree) -> Problem:
    """One of pydantic's errors, where it stands in the file."""
    loc = loc_of(error)
    node = tree.find(loc)
    if error["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown(loc, model, tree)
    if error["type"] == "missing":
        line, column = node.key or (node.line, node.column)
        path = path_below(node.path, loc[-1], index=False)
        return Problem(tree.file, line, column, path, "missing_key", {"key": str(loc[-1])})
    what, facts = _said(error, node)
    return tree.key_problem(loc, what, **facts) if "[key]" in error["loc"] else tree.problem(loc, what, **facts)


def _unknown(loc: Loc, model: type[BaseModel], tree: Tree) -> Problem:
    known = [f.alias or name for kind in models_at(model, loc[:-1]) for name, f in kind.model_fields.items()]
    key = str(loc[-1])[:60]
    if near := nearest(key, known):
        return tree.key_problem(loc, "unknown_key_near", key=key, near=near)
    return tree.key_problem(loc, "unknown_key", key=key, known=", ".join(known))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    return _nearest(word, tuple(known))


@lru_cache(maxsize=128)
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    """Kept: one slip is often made a thousand times, and comparing with all the points that exist takes 0.3 ms."""
    from difflib import get_close_matches  # only where something is wrong: it costs the start 3 ms

    return next(iter(get_close_matches(word, known, 1, 0.6)), None)


def _said(error: ErrorDetails, node: Node) -> tuple[str, dict[str, Fact]]:
    """Text key and facts of an error in a value."""
    kind, context = error["type"], error.get("ctx", {})
    shown = _shown(node)
    if kind in WANTED:
        what = WANTED[kind]
        return trap(what, node) or (what, {"value": shown})
    if kind in BOUNDS:
        what, bound = BOUNDS[kind]
        return what, {"value": shown, "limit": context[bound]}
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'|([0-9]+)", str(context["expected"]))
        return "want_one_of", {"value": shown, "choices": ", ".join(word or number for word, number in choices)}
    if kind.startswith("edge."):
        what = kind.removeprefix("edge.")
        return trap(what, node) or (what, {name: fact for name, fact in context.items() if name != ABOUT})
    return "invalid", {"value": shown, "error": error["msg"]}


def trap(what: str, node: Node) -> tuple[str, dict[str, Fact]] | None:
    """The sentence for a value that looks right to a person and means something else in YAML."""
    if isinstance(node.value, Secret):
        return None if what == "plain_secret" else ("secret_not_here", {})
    if node.value is None and node.plain:
        return "empty_value", {"key": str(node.step)}
    if what == "want_boolean":
        return _for_boolean(node)
    return _for_number(what, node) if what in AS_NUMBER else None


def _for_boolean(node: Node) -> tuple[str, dict[str, Fact]] | None:
    word = node.text.lower()
    if word in YES_NO:
        return "yes_no", {"value": _shown(node), "better": YES_NO[word]}
    return ("in_quotes", {"value": _shown(node)}) if word in ("true", "false") else None


def _for_number(what: str, node: Node) -> tuple[str, dict[str, Fact]] | None:
    shown = _shown(node)
    if SEXAGESIMAL.fullmatch(node.text):
        return "sexagesimal", {"value": shown}
    if node.plain and LEADING_ZERO.fullmatch(node.text):
        return "leading_zero", {"value": shown, "better": node.text.lstrip("+-0_") or "0"}
    quoted = not node.plain and isinstance(scalar(node.text), int | float)
    return ("in_quotes", {"value": shown}) if quoted and what not in ("duration", "size") else None


def _shown(node: Node) -> str:
    """A value as a sentence names it."""
    if isinstance(node.value, dict | list):
        return "{…}" if isinstance(node.value, dict) else "[…]"
    return node.text if len(node.text) <= 60 else node.text[:59] + "…"


def loc_of(error: ErrorDetails) -> Loc:
    """Where pydantic found the fault, as our places are written."""
    return tuple(step for step in error["loc"] if step != "[key]")


def models_at(model: type[BaseModel], loc: Loc) -> list[type[BaseModel]]:
    """The models whose keys may stand in the mapping at `loc`."""
    kinds: list[Any] = [model]
    for step in loc:
        kinds = [inner for kind in kinds for inner in _inside(kind, step)]
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _inside(kind: Any, step: str | int) -> list[Any]:
    """The types that a value at `step` of a value of type `kind` may have."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = (f for name, f in kind.model_fields.items() if step in (name, f.alias))
        return [part for field in fields for part in _members(field.annotation)]
    return [part for inner in get_args(kind) for part in _members(inner)]


def _members(annotation: Any) -> list[Any]:
    """A type, or the members of a union or of what Annotated wraps."""
    if get_args(annotation) and (getattr(annotation, "__metadata__", None) or "Union" in type(annotation).__name__):
        return [part for inner in get_args(annotation) for part in _members(inner)]
    return [annotation]
