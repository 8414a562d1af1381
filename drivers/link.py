"""How the links of a bus do, as readings: what became of each device's requests, and how busy the line is. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.device_state import DeviceState
from drivers.reading import NO_FAULTS, Readings, Reason, Source, quantities
from drivers.unit import Unit, clock

EVERY = 60.0
"""Seconds that one report is of."""
COUNTERS = ("ok", "timeout", "garbled", "exception", "short", "late")


class LinkReport:
    """One bus's."""

    def __init__(self, bus: str, units: Iterable[Unit], now: float) -> None:
        """`now`: `time.monotonic()`, here and below."""
        names = [f"link.{name}" for name in (*COUNTERS, "latency_ms")]
        fields = tuple(quantities()[name] for name in names)
        self._devices = [
            (unit.state, Source(unit.device.id, fields, origin=f"{bus} unit {unit.device.unit}")) for unit in units
        ]
        self._line = Source(bus, (quantities()["link.load_pct"], quantities()["link.stray_bytes"]), origin=bus)
        self._before = [_counts(state) for state, _ in self._devices]
        self._busy, self._strays, self._since = 0.0, 0, now

    def due(self, now: float) -> bool:
        """True once the time of a report is over."""
        return now >= self._since + EVERY

    def readings(self, now: float, busy: float, strays: int = 0) -> tuple[Readings, ...]:
        """What came since the last report.

        `busy`: seconds since the start that requests have held the line; `strays`: bytes that nobody had asked for.
        """
        stamp, mono = clock()
        load = min(100.0, round(100 * (busy - self._busy) / (now - self._since), 1))
        found = [Readings(self._line, stamp, mono, (load, strays - self._strays))]
        self._busy, self._strays, self._since = busy, strays, now
        for i, (state, source) in enumerate(self._devices):
            counts = _counts(state)
            rise = [count - before for count, before in zip(counts, self._before[i], strict=True)]
            self._before[i] = counts
            latency = round(1000 * state.median, 2) if state.median is not None and rise[0] else None
            why = Reason.timeout if any(rise) else Reason.not_connected  # asked in vain, or not at all
            faults = NO_FAULTS if latency is not None else {len(COUNTERS): why}
            found.append(Readings(source, stamp, mono, (*rise, latency), faults))
        return tuple(found)


def _counts(state: DeviceState) -> list[int]:
    return [getattr(state, name) for name in COUNTERS]
