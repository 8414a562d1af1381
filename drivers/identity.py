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
from drivers.regmap import Step

HOUR = 3600.0
ENOUGH = 3
"""Times in a row for which a register that was never yet answered is asked before all else."""


class Check(msgspec.Struct, eq=False):
    """One register that tells."""

    step: Step
    tells: Identity
    known: bool = False
    """It has been answered."""
    missed: int = 0
    """Times in a row in which nothing came."""
    rests_until: float = 0.0
    """`time.monotonic()` before which it is not asked: the device seems to ignore it."""


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
        if not self._checks or self._due > now:
            return []
        return [check.step for check in self._checks if check.rests_until <= now]

    def missed(self, step: Step, now: float) -> bool:
        """Nothing came to `step`. True: the device is asked for its values all the same; it may have no such register.

        Some ignore what they do not have. Where it was ever answered, no answer is no reason to believe anything.
        """
        check = next(check for check in self._checks if check.step is step)
        check.missed += 1
        if check.known or check.missed < ENOUGH:
            return False
        check.missed, check.rests_until = 0, now + HOUR
        return True

    def requests(self) -> list[Request]:
        """What is asked to be sure."""
        return [check.step.request for check in self._checks]

    def doubt(self) -> None:
        """The unit has failed, and somebody may have been at it."""
        self._due = 0.0

    def judge(self, now: float) -> None:
        """The steps have been asked. A device that does not have the registers, or did not answer, is not another."""
        for check in self._checks:
            check.known = check.known or check.step.read
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
    return Step(unit, tells.block())
