"""Whether a unit is still the device it was: registers that tell it, asked at the start, hourly and after a failure.

A sensor that was swapped for another must not write under its name: until the registers are right again, none of its
values counts. What is expected stands in the profile (the model's) and in the configuration (this very device's, such
as a serial number); a number that neither tells must stay what it first was. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from drivers.frames import Request
from drivers.profile import Identity, Profile
from drivers.register import Block
from drivers.regmap import Step

HOUR = 3600.0


class Check(msgspec.Struct, frozen=True, eq=False):
    """One register that tells."""

    step: Step
    tells: Identity


class Identification:
    """One unit's."""

    def __init__(self, unit: int, profile: Profile, told: Mapping[str, int | str]) -> None:
        """`told`: by register's key, from the configuration."""
        self.wrong = ""
        """What stands there instead, for people; empty: nothing wrong is known."""
        self._checks = [Check(_step(unit, each), each) for each in profile.identities()]
        self.asks = bool(self._checks)
        """The profile names registers to tell it by."""
        self._expected: dict[str, int | str] = dict(told)
        self._due = 0.0

    def steps(self, now: float) -> list[Step]:
        """The requests that it takes to be sure, none where it is."""
        return [check.step for check in self._checks] if self._checks and self._due <= now else []

    def requests(self) -> list[Request]:
        """What is asked to be sure."""
        return [check.step.request for check in self._checks]

    def doubt(self) -> None:
        """The unit has failed, and somebody may have been at it."""
        self._due = 0.0

    def judge(self, now: float) -> None:
        """The steps have been asked. A device that does not have the registers, or did not answer, is not another."""
        self.wrong = next((wrong for check in self._checks if check.step.read and (wrong := self._wrong(check))), "")
        if not self.wrong:
            self._due = now + HOUR

    def _wrong(self, check: Check) -> str:
        value, key = check.step.values[0], check.tells.register.key
        if value is None:
            return ""
        seen = check.tells.seen(value)
        expected = self._expected.setdefault(key, seen) if not check.tells.equals else self._expected.get(key, seen)
        return "" if check.tells.matches(value) and seen == expected else f"{key}={seen}"


def _step(unit: int, tells: Identity) -> Step:
    register = tells.register
    return Step(unit, Block(register.fc, register.addr, register.words, (register,)))
