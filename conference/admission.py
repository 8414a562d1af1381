"""Whether newcomers are let in: not while the machine is busy with meetings, and then not before it clearly is less so.

Those inside are never touched by this, and who has a seat comes back to it.
"""

from __future__ import annotations

import logging

LAG, LAG_AGAIN = 200.0, 100.0
"""Milliseconds of loop lag (99th percentile of ten seconds) from which nobody new is let in, and below which again …"""
LAG_SHARE = 0.25
"""… unless so few packets (share of the limit) go out that the lag cannot come from the meetings."""
AGAIN_SHARE = 0.9
"""Share of the packets' limit below which newcomers are let in again."""

log = logging.getLogger(__name__)


class Admission:
    """The door."""

    def __init__(self, packets: int) -> None:
        """`packets`: how many a second may go out."""
        self.open = True
        self.turned_away = 0
        """Newcomers, since the start."""
        self._packets = packets

    def measure(self, packets: int, lag_ms: float) -> None:
        """Once a second: packets sent in it, and how late the loop is."""
        share = packets / self._packets
        if self.open:
            shut = share >= 1 or (share > LAG_SHARE and lag_ms > LAG)
        else:
            shut = share >= AGAIN_SHARE or (share > LAG_SHARE / 2 and lag_ms > LAG_AGAIN)
        if shut is self.open:
            self.open = not shut
            log.warning("newcomers %s packets_s=%d lag_ms=%.0f", "let in" if self.open else "kept out", packets, lag_ms)
