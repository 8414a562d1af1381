"""How long an RTU line is held after an answer that did not come."""

from __future__ import annotations

import time

import pytest

from drivers.frames import LONGEST, RtuGuard
from drivers.silence import Debt, Silence
from tests.drivers.liar import Ask, Slave

PATIENCE = 0.1


def _held(strays: int) -> float:
    """Seconds for which the line is held, once so many bytes came that nobody waited for, up to 3 s after a request."""
    silence, guard = Silence(0.002), RtuGuard(lambda _number: False)
    asked = Debt(1, time.monotonic() - 3.0)
    silence.hold(asked, PATIENCE, whole_line=True, allowed=PATIENCE)
    guard.stray, guard.strays, guard.heard_at = strays > 0, strays, time.monotonic()
    assert silence.over(guard) == (asked if 0 < strays <= LONGEST else None)
    return silence.hold(Debt(1, time.monotonic()), PATIENCE, whole_line=True, allowed=PATIENCE)


def test_line_is_held_longer_after_a_late_answer() -> None:
    """Three and a half time-outs, or half as long again as the longest late answer took."""
    assert _held(0) == pytest.approx(0.35)
    assert _held(9) == pytest.approx(4.5, abs=0.1)


def test_noise_is_no_late_answer() -> None:
    """More bytes than an answer can have: the line is held as if nothing had come."""
    assert _held(LONGEST + 1) == pytest.approx(0.35)


def test_late_answer_after_another_unit_was_asked() -> None:
    """Its own frame tells whose it is, though the line has been free for another meanwhile."""
    silence, guard, slave = Silence(0.002), RtuGuard(lambda _number: False), Slave(rtu=True)
    asked = Debt(2, time.monotonic() - 1.5)
    silence.hold(asked, PATIENCE, whole_line=False, allowed=PATIENCE)
    assert silence.over(guard) is None
    honest = slave.answer(Ask(0, 1, 3, 0, 2, 0.0))
    guard.trace(True, b"asked")
    guard.heard = honest
    guard.trace(False, honest + slave.answer(Ask(0, 2, 3, 0, 2, 0.0)))
    late = silence.over(guard)
    assert (late and late.number, late and late.others_since) == (2, True)
    guard.trace(False, honest)
    assert silence.over(guard) is None
