"""What is wrong with a Modbus line, told from what became of its requests: one finding, its causes in the order to try.

A pure function of counts, so that every finding can be tested by its numbers. Words are keys of the text files.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

Facts = dict[str, str | int | float]
BEHIND_GATEWAY = (10, 11)
OFTEN = 0.05
"""Part of the requests from which on a fault is more than an accident."""
STRAYS = 20
"""Bytes a request that nobody asked for, from which on somebody else talks: more than glitches and a late answer."""
SLOW = 0.5
"""Part of the time-out that the usual answer may take; above, an unusual one comes late."""


class UnitCounts(msgspec.Struct):
    """What became of the requests to one unit while the line was examined."""

    unit: int
    device: str = ""
    """Empty: not configured."""
    ok: int = 0
    timeout: int = 0
    garbled: int = 0
    exception: int = 0
    short: int = 0
    late: int = 0
    """Answers after their time-out; each is among `timeout` as well."""
    echo: int = 0
    """Requests that came back as they were sent."""
    code: int = 0
    """The last exception's."""
    foreign: int = 0
    """Requests that another unit answered instead; each is among `garbled` as well."""
    other: int = 0
    """The last unit that did."""
    answers_ms: list[float] = msgspec.field(default_factory=list)
    """How long the good answers took."""

    @property
    def asked(self) -> int:
        """All requests."""
        return self.ok + self.timeout + self.garbled + self.exception + self.short

    @property
    def silent(self) -> bool:
        """Nothing came, ever."""
        return self.asked > 0 and self.timeout == self.asked and not self.late

    @property
    def median_ms(self) -> float | None:
        """The usual answer."""
        return statistics.median(self.answers_ms) if self.answers_ms else None


class LineCounts(msgspec.Struct):
    """A line as it was examined."""

    serial: bool
    timeout_ms: float
    units: list[UnitCounts]
    stray_bytes: int = 0
    """Bytes that came when nobody had asked, late answers left out."""


class Finding(msgspec.Struct, frozen=True):
    """What the counts say. Sentence `line.<what>`, causes `cause.<name>`."""

    what: str
    causes: tuple[str, ...] = ()
    """In the order to try."""
    facts: Facts = {}
    well: bool = False


SILENT_LINE = ("power", "swapped", "settings", "address", "port", "termination")
SILENT_TCP = ("gateway_line", "address", "power", "swapped", "gateway_settings")
NO_FRAME = ("settings", "swapped", "twins", "bias", "ground")
NOISE = ("termination", "bias", "ground", "shield", "slower", "twins")


def find(line: LineCounts) -> Finding:
    """The one finding that explains most; what concerns the whole line goes before what concerns a unit."""
    asked = [unit for unit in line.units if unit.asked]
    if not asked:
        return Finding("nothing_asked", ("no_devices",))
    return (
        _another(line, asked)
        or _of_the_line(line, asked)
        or _of_units(line, asked)
        or _babble(line, asked)
        or _well(asked)
    )


def _another(line: LineCounts, asked: Sequence[UnitCounts]) -> Finding | None:
    other = [unit for unit in asked if _often(unit.foreign, unit) and 2 * unit.foreign > unit.garbled]
    if not other:
        return None
    facts: Facts = {"units": _names(other), "other": other[0].other}
    return Finding(
        "another_unit", ("address_other", "master", "settings" if line.serial else "gateway_settings"), facts
    )


def _babble(line: LineCounts, asked: Sequence[UnitCounts]) -> Finding | None:
    if line.stray_bytes <= STRAYS * sum(unit.asked for unit in asked):
        return None
    return Finding("babble", ("master", "bias", "twins", "shield"), {"stray": line.stray_bytes})


def _of_the_line(line: LineCounts, asked: Sequence[UnitCounts]) -> Finding | None:
    total = sum(unit.asked for unit in asked)
    garbled = sum(unit.garbled for unit in asked)
    answered = sum(unit.ok + unit.exception + unit.short for unit in asked)
    if sum(unit.echo for unit in asked) > total / 2:
        return Finding("echo", ("receiver", "echo_setting"), well=answered > total / 2)
    if all(unit.silent for unit in asked):
        return Finding("no_byte", SILENT_LINE if line.serial else SILENT_TCP, {"asked": total})
    if not answered and garbled:
        return Finding("no_frame", NO_FRAME if line.serial else ("framer", "gateway_line"), {"garbled": garbled})
    hit = [unit for unit in asked if unit.garbled]
    if garbled >= max(2, OFTEN * total) and (len(hit) > 1 or len(asked) == 1):
        return Finding("noise", NOISE, {"share": round(100 * garbled / total, 1), "stray": line.stray_bytes})
    return None


def _of_units(line: LineCounts, asked: Sequence[UnitCounts]) -> Finding | None:
    found = (_silent(asked), _garbled(asked), _late(line, asked), _refused(asked), _short(asked), _gaps(asked))
    return next((finding for finding in found if finding), None)


def _silent(asked: Sequence[UnitCounts]) -> Finding | None:
    silent = [unit for unit in asked if unit.silent]
    causes = ("unit_power", "address", "branch", "swapped_there", "settings_there")
    facts: Facts = {"units": _names(silent), "others": len(asked) - len(silent)}
    return Finding("unit_silent", causes, facts) if silent else None


def _garbled(asked: Sequence[UnitCounts]) -> Finding | None:
    garbled = [unit for unit in asked if _often(unit.garbled, unit)]
    causes = ("twins", "branch", "settings_there", "ground")
    return Finding("unit_garbled", causes, {"units": _names(garbled)}) if garbled else None


def _late(line: LineCounts, asked: Sequence[UnitCounts]) -> Finding | None:
    late = [unit for unit in asked if unit.late or (unit.median_ms or 0.0) > SLOW * line.timeout_ms]
    if not late:
        return None
    wanted = max(3 * (unit.median_ms or 0.0) for unit in late)
    if any(unit.late for unit in late):
        wanted = max(wanted, 2 * line.timeout_ms)
    facts: Facts = {"units": _names(late), "timeout": f"{line.timeout_ms:.0f}", "wanted": f"{wanted:.0f}"}
    return Finding("late", ("timeout", "radio", "busy_device"), facts)


def _short(asked: Sequence[UnitCounts]) -> Finding | None:
    short = [unit for unit in asked if unit.short]
    return Finding("short", ("block_limit", "profile"), {"units": _names(short)}) if short else None


def _gaps(asked: Sequence[UnitCounts]) -> Finding | None:
    lost = [unit for unit in asked if _often(unit.timeout, unit)]
    if not lost:
        return None
    share = round(100 * sum(unit.timeout for unit in lost) / sum(unit.asked for unit in lost), 1)
    causes = ("timeout", "loose", "weak_supply", "busy_device")
    return Finding("gaps", causes, {"units": _names(lost), "share": share})


def _often(count: int, unit: UnitCounts) -> bool:
    return count >= max(2, OFTEN * unit.asked)


def _refused(asked: Sequence[UnitCounts]) -> Finding | None:
    refused = [unit for unit in asked if _often(unit.exception, unit)]
    if not refused:
        return None
    facts: Facts = {"units": _names(refused), "code": refused[0].code}
    if refused[0].code in BEHIND_GATEWAY:
        return Finding("gateway", ("unit_power", "address", "gateway_settings", "branch"), facts)
    if refused[0].code in (2, 3):
        return Finding("illegal", ("off_by_one", "profile", "variant"), facts)
    if refused[0].code == 1:
        return Finding("function", ("function", "profile"), facts)
    return Finding("refused", ("busy_device", "device_fault"), facts)


def _well(asked: Sequence[UnitCounts]) -> Finding:
    slowest = max((unit.median_ms or 0.0 for unit in asked), default=0.0)
    return Finding("well", (), {"units": len(asked), "ms": round(slowest, 1)}, well=True)


def _names(units: Sequence[UnitCounts]) -> str:
    return ", ".join(f"{unit.device} ({unit.unit})" if unit.device else str(unit.unit) for unit in units)
