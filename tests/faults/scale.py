"""How large the fault runs are: FAULT_SCALE=1 gives the full figures, without it `make faults` ends in half an hour."""

from __future__ import annotations

import math
import os

SCALE = float(os.environ.get("FAULT_SCALE", "0.1"))
"""Share of the full figures."""


def scaled(full: int, least: int = 1) -> int:
    """`full` rounds at scale 1, fewer at a smaller one, never under `least`."""
    return max(least, math.ceil(full * SCALE))


def scaled_seconds(full: float, least: float = 1.0) -> float:
    """`full` seconds at scale 1."""
    return max(least, full * SCALE)
