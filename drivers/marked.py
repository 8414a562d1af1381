"""Checked YAML: text -> marked tree -> pydantic model; all faults at once, each with its line and column.

`marked_tree.py` reads the text, this module builds the model, `marked_words.py` says what was wrong. Models are
validated strictly: a word is never taken for a boolean, a quoted number never for a number.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drivers.marked_tree import (
    MAX_PROBLEMS,
    Loc,
    Node,
    Problem,
    Problems,
    Secret,
    SecretMissing,
    Tree,
    compose,
    path_below,
    read,
)
from drivers.marked_words import about, fault, loc_of, models_at, problem_of

__all__ = ["Loc", "Problem", "Problems", "Secret", "SecretMissing", "Tree", "fault", "load"]

ROUNDS = 8
"""How often faulty parts are set aside so that the checks across the rest can still be made."""
ENOUGH = 2 * MAX_PROBLEMS
"""With more faults than this the file is another kind of file: the rest is not looked at."""

M = TypeVar("M", bound=BaseModel)


def load(
    path: Path,
    model: type[M],
    *,
    check: Callable[[M, Tree], list[Problem]] | None = None,
    stands_for: Path | None = None,
) -> M:
    """Read, check and build. `check` looks across the parts of a model that is valid by itself.

    A text that `stands_for` another file is read as if it stood there: so its relative paths and its problems.

    Where parts are not valid they are set aside, and `check` still sees the rest. Raises Problems with every fault.
    """
    place = stands_for or path
    file = str(place)
    root, problems = compose(read(path), file)
    building = _Building(model, Tree(file, root), {p.path for p in problems}, place.absolute().parent)
    value = building.build()
    problems += building.problems
    if value is not None and check:
        problems += [p for p in check(value, building.tree) if p.path not in building.aside]
    if problems or value is None:
        raise Problems(problems)
    return value


class _Building(msgspec.Struct, Generic[M], eq=False):
    """Validation of a tree, repeated without the faulty parts until the rest is a model."""

    model: type[M]
    tree: Tree
    aside: set[str]
    """Paths whose faults are known: nothing more is said about them."""
    folder: Path
    """Relative paths begin here (the validators' context)."""
    problems: list[Problem] = []

    def build(self) -> M | None:
        """The model, or None where not even a part of it can be built. `problems` says what was wrong."""
        for _ in range(ROUNDS):
            try:
                return self.model.model_validate(self.tree.root.data(), strict=True, context={"folder": self.folder})
            except ValidationError as refused:
                errors = [e for e in refused.errors(include_url=False) if e["type"] != "default_factory_not_called"]
            self.problems += [problem for error in errors[:ENOUGH] if (problem := self._news(error))]
            if len(errors) > ENOUGH or not self._set_aside(errors):
                break
        return None

    def _news(self, error: ErrorDetails) -> Problem | None:
        """The problem, None where it is known or only there because a faulty part was set aside."""
        problem = problem_of(error, self.model, self.tree)
        known = {problem.path, *(path_below(problem.path, key, index=False) for key in about(error))}
        return None if known & self.aside else problem

    def _set_aside(self, errors: list[ErrorDetails]) -> bool:
        """Take the faulty nodes out of the tree. False: the root itself is at fault."""
        out: set[int] = set()
        for error in errors:
            loc = loc_of(error)
            node = self.tree.find(loc)
            if error["type"] == "missing":
                self.aside.add(path_below(node.path, loc[-1], index=False))
                if self._stand_in(node, loc):
                    continue
            if node.parent is None:
                return False
            out.add(id(node))
            self.aside.add(node.path)
        self.tree = Tree(self.tree.file, _without(self.tree.root, out))
        return True

    def _stand_in(self, node: Node, loc: Loc) -> bool:
        """Put a field's example where its value is missing, so that the rest can be checked."""
        field = next((f for m in models_at(self.model, loc[:-1]) if (f := m.model_fields.get(str(loc[-1])))), None)
        if field is None or not field.examples or not isinstance(node.value, dict):
            return False
        example: str | int = field.examples[0]
        if isinstance(example, str) and example.endswith(("-", "/")):
            example += str(len(self.aside))  # names must differ
        node.value[loc[-1]] = Node(node.line, node.column, example, str(example), parent=node, step=loc[-1])
        return True


def _without(node: Node, out: set[int]) -> Node:
    """A copy of the tree less the nodes whose id() is in `out`; the nodes left keep their paths."""
    copy = msgspec.structs.replace(node)
    if isinstance(node.value, dict):
        copy.value = {step: _without(child, out) for step, child in node.value.items() if id(child) not in out}
    elif isinstance(node.value, list):
        copy.value = [_without(child, out) for child in node.value if id(child) not in out]
    return copy
