"""Takes secrets and people out of a text before it leaves the box.

Two nets: the values that this configuration's secrets have, also as they are written in URLs and sign-in headers; and
the forms that secrets have whoever wrote them (keys, tokens, passwords in URLs, sign-in tickets, meeting codes).
A text keeps its number of lines, so that a difference of two texts can be shown without what they hide.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel

from drivers.marked import Secret, SecretMissing

HIDDEN = "•••"
LEAST = 4
"""Letters below which a secret's value would be found everywhere by chance; such a one is caught by its form alone."""
PROGRAMS = {"edge", "edge-agent", "admin", "influx", "mosquitto", "root", "user"}
"""User names that stand for no person, and that a text is full of."""
NAMES = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|ticket|api[-_]?key|access[-_]?key|auth\w*|pin|code|key|sig|jwt|p|u)"
)
"""Parameters of a URL; InfluxDB 1 takes user and password as `u` and `p`."""
FORMS = (
    # whole blocks first
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"(?i)\b(Bearer|Token|Basic|Digest)\s+[\w.~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s:@\"']*(?::[^/\s@\"']*)?@"), rf"\1{HIDDEN}@"),
    (re.compile(rf"(?i)([?&;#]{NAMES}=)[^&\s\"'#]+"), rf"\1{HIDDEN}"),
    # `token: abc`, `"password": "abc"`, `secret=abc`; `!secret name` is a name and stays
    (
        re.compile(
            r"(?i)([\"']?\b[\w-]*(?:password|passwd|passphrase|secret|token|ticket|api_?key|pin)\b[\"']?\s*[:=]\s*)"
            r"(?!!secret\b|•)(\"[^\"]*\"|'[^']*'|[^\s,;}\]]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    # `username: lan.nguyen`, in YAML and JSON: often a person's
    (
        re.compile(r"(?i)([\"']?\busername[\"']?\s*[:=]\s*)(?!•|person-)(\"[^\"]*\"|'[^']*'|[^\s,;}\]]+)"),
        rf"\1{HIDDEN}",
    ),
)
KEYED = re.compile(
    r"(?i)([ \t]*(?:- +)*)"
    r"[\"']?[\w-]*(?:password|passwd|passphrase|secret|token|ticket|api_?key|pin|username)\b[\"']?\s*:"
    r"(?:[ \t]+|$)(?!!secret\b|[\"'{\[•]|person-)(.*)"
)
"""A line of YAML whose value is unquoted: it may hold spaces and go on below (`|`, `>`, or plainly)."""


class Redactor:
    """Made for one configuration; `names` are people who must not be told apart by name outside."""

    def __init__(self, config: BaseModel | None, names: Iterable[str] = ()) -> None:
        """Looks up the secrets' values once; one that is not set needs no hiding."""
        known = {form for secret in secrets_of(config) for form in _forms(secret)} if config else set()
        self._known = sorted((value for value in known if len(value) >= LEAST), key=len, reverse=True)
        signed_in = set(usernames_of(config)) if config else set[str]()
        people = sorted({name for name in {*names, *signed_in} if len(name.strip()) >= LEAST or name in names})
        self._people = {name: f"person-{number}" for number, name in enumerate(people, 1)}

    def __call__(self, text: str) -> str:
        """The text without them."""
        for value in self._known:
            text = text.replace(value, HIDDEN + "\n" * value.count("\n"))
        text = _without_blocks(text)
        for pattern, instead in FORMS:
            text = pattern.sub(partial(_as_long, instead), text)
        for name in sorted(self._people, key=len, reverse=True):  # An is part of Nguyễn Văn An
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", self._people[name], text)
        return text


def usernames_of(part: Any) -> Iterator[str]:
    """Names to sign in with, below a model: of brokers and sinks. Those of a program say nothing of a person."""
    if isinstance(part, BaseModel):
        for field in type(part).model_fields:
            value = getattr(part, field)
            if field == "username" and isinstance(value, str) and value not in PROGRAMS:
                yield value
            yield from usernames_of(value)
    elif isinstance(part, tuple | list):
        for value in part:
            yield from usernames_of(value)


def secrets_of(part: Any) -> Iterator[Secret]:
    """Every secret below a model."""
    if isinstance(part, Secret):
        yield part
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from secrets_of(getattr(part, name))
    elif isinstance(part, dict):
        for value in part.values():
            yield from secrets_of(value)
    elif isinstance(part, tuple | list):
        for value in part:
            yield from secrets_of(value)


def _without_blocks(text: str) -> str:
    """Values of YAML that go on over the lines below their key, as far as those are indented deeper."""
    lines, depth = text.splitlines(keepends=True), -1
    for i, line in enumerate(lines):
        words = line.strip()
        if depth >= 0 and words and len(line) - len(line.lstrip()) <= depth:
            depth = -1
        if depth >= 0 and words:
            lines[i] = line.replace(words, HIDDEN)
        elif found := KEYED.match(line.rstrip("\r\n")):
            depth = len(found[1])
            lines[i] = line.replace(found[2], HIDDEN) if found[2].strip() else line
    return "".join(lines)


def _as_long(instead: str, found: re.Match[str]) -> str:
    """What stands instead, with the line breaks of what it hides."""
    new = found.expand(instead)
    return new + "\n" * (found[0].count("\n") - new.count("\n"))


def _forms(secret: Secret) -> Iterator[str]:
    """The value as it is, and as URLs, sign-in headers and JSON write it."""
    try:
        value = secret.reveal()
    except SecretMissing:
        return
    yield from (value, quote(value, safe=""), quote_plus(value), base64.b64encode(value.encode()).decode())
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
