"""What the Modbus tools' routes answer, beside the events of the drivers' own tools."""

from __future__ import annotations

import msgspec

from drivers.decodings import Decoding
from drivers.peek import Look

Facts = dict[str, str | int | float]


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """The work could not go on: sentence `<what>` with its facts."""

    what: str
    facts: Facts


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """Why there is nothing to see for now: sentence `<what>` with its facts."""

    what: str
    facts: Facts


class Missed(msgspec.Struct, frozen=True, tag="missed"):
    """The watcher was too slow."""

    frames: int


class ReadAnswer(msgspec.Struct, frozen=True, tag="read"):
    """GET /modbus/read."""

    look: Look
    decodings: list[Decoding]
    """The likeliest first; empty for functions 1 and 2 and where nothing came."""
