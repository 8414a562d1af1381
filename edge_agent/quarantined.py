"""A reading that a sink refused, as it is told. By itself: the terminal loads no journal for it."""

from __future__ import annotations

import msgspec


class Quarantined(msgspec.Struct, frozen=True):
    """A reading in quarantine, as a person reads it."""

    at: float
    """Unix seconds when it was refused."""
    device: str
    line: str
    """As it was sent."""
    words: str
    """The server's."""
