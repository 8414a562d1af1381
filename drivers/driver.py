"""What a driver is: something that runs for ever, yields batches of readings and can say what troubles it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

import msgspec

from drivers.reading import Readings


class Batch(msgspec.Struct, frozen=True, eq=False):
    """What a driver hands over at once."""

    readings: tuple[Readings, ...]
    done: Callable[[], None] | None = None
    """Called in the event loop once all readings are on disk: here MQTT acknowledges."""


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong, for a person. `what` names a sentence `trouble.<what>` of the text files."""

    what: str
    subject: str
    """The bus, device, connection or sink that is troubled."""
    since: float
    """Unix seconds."""
    facts: Mapping[str, str | int | float] = {}
    """Values of the sentence's placeholders."""
    failed: bool = False
    """True: nothing of the subject works. False: it works in part or will by itself."""


class Driver(Protocol):
    """One bus, one broker connection, or the box itself."""

    name: str

    def readings(self) -> AsyncGenerator[Batch, None]:
        """Run for ever. Cancelling ends it; a device that is away is reported, never raised."""
        ...

    def troubles(self) -> list[Trouble]:
        """What is wrong now, worst first; empty: nothing."""
        ...

    def progress(self) -> float:
        """`time.monotonic()` of the last completed turn, for the watchdog."""
        ...
