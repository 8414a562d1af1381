"""The JSON Schema of a device profile, for editors: from the models, with the text under each field as its description.

The texts are read from the source here and not by pydantic, which would do so at every start of the agent.
"""

from __future__ import annotations

import ast
import inspect
import json
from itertools import pairwise
from types import ModuleType

from drivers import profile, profile_form
from drivers.profile import Profile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The schema as `drivers/devices/schema.json` has it."""
    schema = {"$schema": DIALECT, **Profile.model_json_schema(by_alias=True)}
    told = {**_told(profile_form), **_told(profile)}
    for name, part in {**schema["$defs"], Profile.__name__: schema}.items():
        for field, text in told.get(name, {}).items():
            if field in part.get("properties", {}):
                part["properties"][field]["description"] = text
    return json.dumps(schema, indent=1, ensure_ascii=False)


def _told(module: ModuleType) -> dict[str, dict[str, str]]:
    """The text under each field of each class of a module."""
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    return {node.name: dict(filter(None, map(_text_under, pairwise(node.body)))) for node in classes}


def _text_under(pair: tuple[ast.stmt, ast.stmt]) -> tuple[str, str] | None:
    """Name and text, where a text stands right under an annotated name."""
    field, text = pair
    if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)):
        return None
    if isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
        return field.target.id, inspect.cleandoc(text.value.value)
    return None
