"""The two languages say the same, and every sentence that the source asks for exists with the facts that it names."""

from __future__ import annotations

import ast
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from drivers.reading import Quality, Reason

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "edge_agent/text"
VI: dict[str, str] = json.loads((FOLDER / "vi.json").read_text(encoding="utf-8"))
EN: dict[str, str] = json.loads((FOLDER / "en.json").read_text(encoding="utf-8"))
SOURCES = [path for package in ("drivers", "edge_agent") for path in sorted((ROOT / package).rglob("*.py"))]
NAMED = {
    "fault": (0, "config."),
    "problem": (1, "config."),
    "key_problem": (1, "config."),
    "Trouble": (0, "trouble."),
    "UnknownVariant": (0, "profile."),
    "text": (0, ""),
}
"""Calls that name a sentence: which argument does, and what stands before it."""


def placeholders(sentence: str) -> dict[str, str]:
    """The facts of a sentence and how each is written."""
    return {name: spec or "" for _, name, spec, _ in Formatter().parse(sentence) if name is not None}


def test_same_keys() -> None:
    """No sentence exists in one language only."""
    assert sorted(VI) == sorted(EN)


def test_same_placeholders() -> None:
    """Both sentences name the same facts, written in the same way."""
    wrong = {key for key in VI if placeholders(VI[key]) != placeholders(EN.get(key, ""))}
    assert not wrong


def test_placeholder_formats() -> None:
    """A placeholder has a name and a format that the texts know."""
    for sentence in (*VI.values(), *EN.values()):
        for name, spec in placeholders(sentence).items():
            assert name.isidentifier(), sentence
            assert spec in ("", "number", "duration", "size"), sentence


def test_letters() -> None:
    """Every sentence is there, in composed letters, without blanks around it."""
    for sentence in (*VI.values(), *EN.values()):
        assert sentence
        assert sentence == sentence.strip(" ")
        assert unicodedata.is_normalized("NFC", sentence)


@pytest.mark.parametrize("name", ["vi.json", "en.json"])
def test_order_of_a_file(name: str) -> None:
    """The files are sorted, so that two changes rarely meet, and no key stands twice."""
    pairs = json.loads((FOLDER / name).read_text(encoding="utf-8"), object_pairs_hook=list)
    keys = [key for key, _ in pairs]
    assert keys == sorted(set(keys))


def test_words_of_quality() -> None:
    """Each quality and each reason has its word."""
    keys = {f"quality.{quality.name.lower()}" for quality in Quality} | {f"reason.{reason.name}" for reason in Reason}
    assert keys <= set(VI)


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Place, name and node of every call in the source."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                yield f"{path.relative_to(ROOT)}:{node.lineno}", name, node


def asked() -> Iterator[tuple[str, str, ast.Call]]:
    """Place, key and call of every sentence that the source names literally."""
    for place, name, node in calls():
        at, prefix = NAMED.get(name, (0, ""))
        words = [*node.args[at : at + 1], *(k.value for k in node.keywords if k.arg == "what")]
        literals = [w.value for w in words if isinstance(w, ast.Constant) and isinstance(w.value, str)]
        if name in NAMED and literals:
            yield place, literals[0] if "." in literals[0] else prefix + literals[0], node


def test_sentences_of_the_source() -> None:
    """Every key that a call names literally has its sentence."""
    found = list(asked())
    assert len(found) > 30
    missing = [f"{place} {key}" for place, key, _ in found if key not in VI]
    assert not missing


def facts_of(node: ast.Call) -> set[str] | None:
    """The names of the facts that a call gives, None where they are not all literal."""
    given: set[str] = set()
    for keyword in node.keywords:
        if keyword.arg is None:
            return None
        given.add(keyword.arg)
    literal = [k.value for k in node.keywords if k.arg == "facts"] or node.args[3:4]
    if not literal:
        return given
    if not isinstance(literal[0], ast.Dict):
        return None
    return {key.value for key in literal[0].keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def test_facts_of_the_source() -> None:
    """A call that names its facts literally gives all that the sentence wants."""
    wrong = []
    for place, key, node in asked():
        given = facts_of(node)
        wanted = set(placeholders(VI.get(key, "")))
        if given is not None and not wanted <= given:
            wrong.append(f"{place} {key} lacks {', '.join(sorted(wanted - given))}")
    assert not wrong
