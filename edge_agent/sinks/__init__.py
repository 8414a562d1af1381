"""Where readings go. A sink takes rows of the journal and says what became of them, or why it could not take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from edge_agent.journal import Settled
from edge_agent.rows import Row


class SinkDown(Exception):
    """Not delivered; keep everything and try again later."""

    def __init__(self, what: str, words: str, retry_after: float | None = None, **facts: str) -> None:
        """`what`: which sentence `trouble.sink_<what>`; `words`: the server's; `retry_after`: seconds, if told."""
        super().__init__(words)
        self.what = what
        self.words = words
        self.retry_after = retry_after
        self.facts = facts


class TooLarge(Exception):
    """The server takes no body of this size; send less at once."""


class Life(msgspec.Struct, frozen=True):
    """What a server says of itself whose answer 2xx does not yet mean stored."""

    hold: float
    """Seconds after which it means that, if the server still is the same process."""
    started: float
    """When that process began; Unix seconds, 0 where it does not tell."""
    dropped: Mapping[str, int]
    """Rows that it took and threw away since then, by its word for the reason."""


class Sink(Protocol):
    """One place that readings go to."""

    id: str
    only: tuple[str, ...]
    """Measurements that it takes; empty: all."""
    where: str
    """Its address, for people."""
    most_bytes: int
    """Largest batch that it should be given."""

    async def send(self, rows: Sequence[Row]) -> Settled:
        """Deliver the rows. Raises SinkDown or TooLarge; then nothing counts as delivered, though some may be."""
        ...

    async def life(self) -> Life | None:
        """None: what it confirms is stored. Raises SinkDown."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
