"""What the control socket says of one point; apart, so that the terminal need not import pydantic."""

from __future__ import annotations

import msgspec

from drivers.reading import Value
from edge_agent.history import Sample


class Wire(msgspec.Struct, frozen=True):
    """The registers behind a point of a Modbus device."""

    bus: str
    where: str
    unit: int
    profile: str
    function: int
    address: int
    """0-based, as on the wire."""
    count: int
    type: str
    order: str
    scale: float
    raw: str
    """The registers' bytes as they last came, in hexadecimal by register: `42C8 0000`; empty: none yet."""
    block: str
    """The request that reads it: `500 +16`."""
    requests_ok: int
    timeouts: int
    garbled: int
    exceptions: int
    late: int
    last_error: str
    last_ok: float | None
    """Unix seconds of the last poll that read something."""
    answer_ms: float | None
    traps: list[str]
    """What the profile warns of."""
    cause: str = ""
    """Why nothing is read now: a Cause's name; empty: the last poll read something."""
    next_try_s: float | None = None
    """Seconds to the next request, where it is asked more rarely than it should."""


class PointDetail(msgspec.Struct, frozen=True):
    """GET /point/ID."""

    point: str
    device: str
    value: Value | None
    unit: str
    """UCUM code."""
    quality: str
    reason: str
    age_s: float | None
    """Seconds since a value came."""
    since: float
    """Unix seconds from when it has had its present fault; 0: it has none."""
    meaning: str
    source: str
    low: float | None
    high: float | None
    """What the naming table says is possible."""
    own_low: float | None
    own_high: float | None
    """What the configuration says for this place; it counts instead."""
    recent: list[Sample]
    errors: list[Sample]
    """Newest first."""
    trend: list[float | None]
    """Half an hour in 60 steps, oldest first."""
    configured: str
    """`agent.yaml:12`: where its device, or its broker, stands; empty: nowhere."""
    wire: Wire | None = None
