"""One counter's number from poll to poll: a wrap is no jump, a fall is a reset, a total goes on rising. No I/O.

All numbers are in the unit of the point, not raw.
"""

from __future__ import annotations

from enum import Enum

import msgspec

SHARE = 16
"""Where the profile gives no biggest step: this part of the counter's span is the most that one poll may add."""
DIGITS = 9
"""Sums of scaled numbers are rounded to so many decimals: 0.1 + 0.2 is 0.3."""


class Move(Enum):
    """What a counter did since the last poll."""

    on = "on"
    """It rose, or stood still."""
    wrap = "wrap"
    reset = "reset"
    jump = "jump"
    """It rose by more than it can."""
    back = "back"
    """After a reset it goes on as if there had been none: the number between was a glitch."""


class Count(msgspec.Struct):
    """What is remembered of one counter."""

    last: int | float
    base: int | float = 0
    """What wraps and resets have taken from the number so far."""
    before: tuple[int | float, int | float] | None = None
    """`last` and `base` before the reset just seen."""

    @property
    def total(self) -> int | float:
        """The number that goes on rising."""
        return _rounded(self.base + self.last)


class Span(msgspec.Struct, frozen=True):
    """A counter's measures."""

    whole: int | float
    """From 0 to 0: the greatest number and one count."""
    step: int | float
    """Most that one poll may add."""
    strict: bool
    """The step is the profile's own: a larger rise is no value to trust."""


def span(wraps_at: int, scale: float, biggest_step: int | None) -> Span:
    """Of a counter whose greatest raw number is `wraps_at`."""
    whole = (wraps_at + 1) * (int(scale) if float(scale).is_integer() else scale)
    step = whole / SHARE if biggest_step is None else biggest_step * scale
    return Span(_rounded(whole), _rounded(step), biggest_step is not None)


def count(known: Count, number: float, span: Span) -> Move:
    """Take the next number into `known`; what the counter did."""
    before, known.before = known.before, None
    if before and 0 <= number - before[0] <= span.step:
        known.last, known.base = number, before[1]
        return Move.back
    rise = number - known.last
    if rise >= 0:
        known.last = number
        return Move.jump if span.strict and rise > span.step else Move.on
    if rise + span.whole <= span.step:
        known.base = _rounded(known.base + span.whole)
        known.last = number
        return Move.wrap
    known.before = known.last, known.base
    known.base = _rounded(known.base + known.last)
    known.last = number
    return Move.reset


def _rounded(number: int | float) -> int | float:
    """Without the noise of binary fractions; whole numbers stay whole."""
    return number if isinstance(number, int) else round(number, DIGITS)
