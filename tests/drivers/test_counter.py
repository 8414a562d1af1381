"""Counters: a wrap is no jump, a fall is a reset, a glitch is undone, and a total never falls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.counter import Count, Move, count, span

RAIN = span(65535, 0.01, None)
PULSES = span(4294967295, 1, None)


def moves(numbers: list[float], of: object = RAIN) -> tuple[list[Move], Count]:
    """What a counter does from number to number, and what is remembered at the end."""
    known = Count(numbers[0])
    return [count(known, number, of) for number in numbers[1:]], known  # type: ignore[arg-type]


def test_wrap() -> None:
    """After the greatest number comes 0: the total goes on by the few counts between."""
    done, known = moves([655.30, 655.34, 0.02])
    assert done == [Move.on, Move.wrap]
    assert known.total == 655.38


def test_reset() -> None:
    """A fall that no wrap can explain is a reset: nothing is lost and nothing is made up."""
    done, known = moves([300.0, 301.5, 0.0, 2.0])
    assert done == [Move.on, Move.reset, Move.on]
    assert known.total == 303.5


def test_glitch() -> None:
    """A single number out of line that is followed by the old course was never a reset."""
    done, known = moves([300.0, 0.0, 300.2])
    assert done == [Move.reset, Move.back]
    assert known.total == 300.2


def test_jump_beyond_the_step_of_a_profile() -> None:
    """A rise that the profile calls impossible is told; without a step in the profile every rise is one."""
    strict = span(65535, 0.01, 500)
    assert moves([1.0, 5.9, 11.0], strict)[0] == [Move.on, Move.jump]
    assert moves([1.0, 600.0])[0] == [Move.on]


def test_whole_numbers_stay_whole() -> None:
    """Pulses are counted in whole numbers through wraps and resets."""
    _, known = moves([4294967290, 4, 0, 3], PULSES)
    assert (known.total, type(known.total)) == (4294967303, int)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60), st.integers(0, 65535))
def test_total_of_any_course(steps: list[int], start: int) -> None:
    """However often the register wraps, the total is the start and the sum of the steps."""
    known, raw = Count(start), start
    for step in steps:
        raw = (raw + step) % 65536
        assert count(known, raw, span(65535, 1, None)) in (Move.on, Move.wrap)
    assert known.total == start + sum(steps)
