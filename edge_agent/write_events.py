"""What is asked of the agent to write a device's setting, and what it says may be written."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class WriteAsk(msgspec.Struct, frozen=True):
    """POST /modbus/write. With `address` the device's unit number is changed, else `setting` is set to `value`."""

    bus: str
    unit: int
    setting: str = ""
    """Key or address of a writable register."""
    value: float = 0.0
    address: int | None = None
    profile: str = ""
    """Of a device that is not configured; a configured one has its own."""
    wait: float | None = None
    """Seconds for each unit that may be on the line, before its address is changed."""


class Writable(msgspec.Struct, frozen=True):
    """GET /modbus/writable: one register that may be written."""

    key: str
    addr: int
    what: str
    """In words."""
    unit: str
    range: tuple[float, float] | None
    choices: Mapping[int, str]
    """Raw number and its meaning; empty: any number in `range`."""
    role: str
