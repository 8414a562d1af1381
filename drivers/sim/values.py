"""Plausible values that drift: one mean-reverting random walk per point, the same for the same seed, device and point.

The n-th `step()` of a walk is always the same number, so a run can be repeated; only the order of samples counts,
never the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

TYPICAL: Mapping[str, tuple[float, float]] = {
    "air.pm1_ugm3": (18, 12),
    "air.pm2_5_ugm3": (32, 20),
    "air.pm10_ugm3": (55, 30),
    "air.co2_ppm": (480, 90),
    "weather.temp_c": (28, 4),
    "weather.rh_pct": (78, 12),
    "weather.dewpoint_c": (22, 3),
    "weather.pressure_hpa": (1006, 6),
    "weather.pressure_sea_hpa": (1008, 6),
    "weather.wind_speed_ms": (2.4, 2.2),
    "weather.wind_gust_ms": (5, 4),
    "weather.wind_dir_deg": (135, 90),
    "weather.rain_mm": (0.2, 0.2),
    "weather.rain_rate_mmh": (1, 1),
    "weather.solar_wm2": (420, 300),
    "weather.illuminance_lx": (38000, 24000),
    "weather.uv_index": (5, 4),
    "weather.precip_type": (0, 0),
    "noise.la_db": (56, 9),
    "noise.laeq_db": (57, 8),
    "water.level_m": (2.1, 0.8),
    "water.distance_m": (5.4, 0.8),
    "water.depth_m": (1.8, 0.6),
    "water.temp_c": (26, 2),
    "power.pf": (0.93, 0.05),
    "power.freq_hz": (50, 0.15),
    "power.power_w": (6400, 2400),
    "power.apparent_va": (6900, 2500),
    "power.reactive_var": (900, 500),
    "supply.mains_v": (226, 8),
    "supply.out_v": (229, 2),
    "supply.battery_v": (13.1, 0.6),
    "supply.soc_pct": (82, 12),
    "supply.load_pct": (24, 8),
    "supply.source": (2, 0),
    "supply.status_battery": (0, 0),
    "supply.status_charger": (1, 0),
    "traffic.speed_avg_kmh": (36, 9),
}
"""Middle and half width of what a point gives in Chí Linh, in the unit of the naming table."""

BY_PREFIX: Mapping[str, tuple[float, float]] = {
    "power.voltage_": (228, 9),
    "power.current_": (9.5, 5),
    "power.power_": (2100, 900),
    "power.pf_": (0.92, 0.06),
    "power.thd_": (2.4, 1.1),
}
"""The same for points that come once per phase."""

RISING = frozenset(
    {
        "weather.rain_total_mm",
        "power.energy_import_kwh",
        "power.energy_export_kwh",
        "power.energy_total_kwh",
        "counter.count",
    }
)
"""Counters: they only go up."""

PULL = 0.04
"""Part of the way back to the middle at each step."""
STRIDE = 0.25
"""Longest step of chance, in half widths."""


class Walk:
    """The values of one point, one after the other, between `low` and `high`."""

    def __init__(self, seed: int, device: str, point: str, low: float, high: float) -> None:
        """`point` is `measurement.field`, with `[src=…]` behind it where a device gives the same field twice."""
        self._chance = Random(f"{seed}/{device}/{point}").random
        self._rising = point.partition("[")[0] in RISING
        self._middle, self._half = _typical(point.partition("[")[0], low, high)
        self._low, self._high = max(low, self._middle - self._half), min(high, self._middle + self._half)
        self._value = self._low + (self._high - self._low) * self._chance()
        if self._rising:
            self._low, self._high = low, high

    def step(self) -> float:
        """The next value."""
        if self._rising:
            self._value = min(self._high, self._value + self._chance() * 0.2)
            return self._value
        drift = PULL * (self._middle - self._value) + STRIDE * self._half * (2 * self._chance() - 1)
        self._value = min(self._high, max(self._low, self._value + drift))
        return self._value


def usual_value(name: str, low: float, high: float) -> float:
    """The middle of what the point `name` gives."""
    return _typical(name, low, high)[0]


def _typical(name: str, low: float, high: float) -> tuple[float, float]:
    """Middle and half width; a point of no table gets the lower quarter of what is allowed, at most 0 to 100."""
    found = TYPICAL.get(name) or next((v for prefix, v in BY_PREFIX.items() if name.startswith(prefix)), None)
    if found:
        return min(high, max(low, found[0])), found[1]
    start = max(low, 0.0) if high >= 0 else low
    width = min(100.0, (high - start) / 4)
    return start + width / 2, width / 2
