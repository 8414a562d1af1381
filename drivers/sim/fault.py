"""Faults that the simulated ward can be told to have: `name[:device][:number[:rate]]`. Deterministic from the seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

import msgspec


class Kind(msgspec.Struct, frozen=True):
    """What a fault does and how often when nothing is said."""

    sentence: str
    rate: float = 0.2
    """Part of the requests, samples or messages that are hit."""
    amount: float | None = None
    """Milliseconds or seconds, for faults that have a length; the first number of the option is then this."""


FAULTS: Mapping[str, Kind] = {
    "silent": Kind("the device gives no answer, or publishes nothing", rate=1.0),
    "late": Kind("an answer comes this many milliseconds late, after the reader's time-out", amount=1500),
    "slow": Kind("every answer takes this many milliseconds, within the reader's time-out", rate=1.0, amount=300),
    "garbled": Kind("an answer is damaged on the way: wrong CRC on RTU, wrong byte count on TCP"),
    "exception": Kind("the device answers exception 4, device failure"),
    "wrong-unit": Kind("an answer carries the next unit's number"),
    "unplug": Kind("the bus is there for so many seconds, away for as many, and so on", rate=1.0, amount=5),
    "sentinel": Kind("one point of a sample has the code for no reading"),
    "out-of-range": Kind("one point of a sample lies outside its gross range"),
    "nan": Kind("one point of a sample is not a number; only float registers and MQTT have it"),
    "malformed": Kind("an MQTT payload is cut off in the middle"),
}


class BadFault(ValueError):
    """The option cannot be understood; the message says why."""


class Fault(msgspec.Struct, frozen=True):
    """One `--fault`."""

    name: str
    device: str
    """Empty: every device."""
    amount: float
    rate: float


def parse_fault(text: str) -> Fault:
    """Read `name[:device][:number[:rate]]`. Raises BadFault."""
    name, *rest = text.split(":")
    kind = FAULTS.get(name)
    if kind is None:
        raise BadFault(f"{name!r} is not a fault; one of {', '.join(FAULTS)}")
    device = rest.pop(0) if rest and not _is_number(rest[0]) else ""
    if not all(_is_number(word) for word in rest) or len(rest) > 1 + (kind.amount is not None):
        raise BadFault(f"{text!r}: expected name[:device][:number[:rate]]")
    numbers = [float(word) for word in rest]
    amount = numbers.pop(0) if numbers and kind.amount is not None else kind.amount or 0.0
    rate = numbers.pop(0) if numbers else kind.rate
    if amount < 0 or not 0 <= rate <= 1:
        raise BadFault(f"{text!r}: a rate lies between 0 and 1, a time is not negative")
    return Fault(name, device, amount, rate)


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).lstrip("-").isdecimal()


def described() -> str:
    """One line per fault, for `--fault help`."""
    lines = []
    for name, kind in FAULTS.items():
        amount = "" if kind.amount is None else f"{kind.amount:g}, "
        lines.append(f"{name:<13} {kind.sentence} (by default {amount}rate {kind.rate:g})")
    return "\n".join(lines)


class Troubled:
    """The faults of one device. Each draws from its own chance, so one fault does not change when another strikes."""

    def __init__(self, seed: int, device: str, faults: Iterable[Fault]) -> None:
        """`faults` of all devices; those of others are left out."""
        mine = {fault.name: fault for fault in faults if fault.device in ("", device)}
        self._faults = {name: (fault, Random(f"{seed}/{device}/fault/{name}")) for name, fault in mine.items()}

    def __bool__(self) -> bool:
        """True where the device has any fault."""
        return bool(self._faults)

    def strikes(self, name: str) -> Fault | None:
        """The fault, if it hits this time. Asked once for every request, sample or message."""
        if name not in self._faults:
            return None
        fault, chance = self._faults[name]
        return fault if chance.random() < fault.rate else None

    def choose(self, name: str, among: int) -> int:
        """Which of `among` things the fault hits."""
        return self._faults[name][1].randrange(among)

    def has(self, name: str) -> Fault | None:
        """The fault, whether it hits or not."""
        return self._faults[name][0] if name in self._faults else None
