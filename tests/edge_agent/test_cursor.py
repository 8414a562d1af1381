"""How far a sink has settled the journal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cursor import MOST_RANGES, Cursor, lane, live_lane

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda r: (r[0], r[0] + r[1])), max_size=12)


@given(RANGES)
def test_settling_in_any_order_is_the_same_as_a_set_of_numbers(ranges: list[tuple[int, int]]) -> None:
    """Low mark, ranges, gaps and the waiting count agree with a plain set of settled sequence numbers."""
    cursor, model = Cursor(), set()
    for after, upto in ranges:
        cursor.settle(after, upto)
        model |= set(range(after + 1, upto + 1))
    top = 90
    missing = [n for n in range(1, top + 1) if n not in model]
    assert cursor.low == (missing[0] - 1 if missing else top)
    assert cursor.waiting(top) == len(missing)
    assert [n for after, upto in cursor.gaps(top) for n in range(after + 1, upto + 1)] == missing
    ends = [cursor.low, *[bound for r in cursor.ranges for bound in r]]
    assert ends == sorted(set(ends))


@given(RANGES, RANGES, st.integers(0, 60), st.integers(1, 20))
def test_what_is_taken_back_is_as_if_never_settled(
    ranges: list[tuple[int, int]], back: list[tuple[int, int]], start: int, length: int
) -> None:
    """A range taken out leaves the others, and `covers` is right about any range, before and after."""
    cursor, model = Cursor(), set()
    asked = set(range(start + 1, start + length + 1))
    for after, upto in ranges:
        cursor.settle(after, upto)
        model |= set(range(after + 1, upto + 1))
    assert cursor.covers(start, start + length) == (asked <= model)
    for after, upto in back:
        cursor.unsettle(after, upto)
        model -= set(range(after + 1, upto + 1))
    assert cursor.covers(start, start + length) == (asked <= model)
    assert cursor.waiting(90) == 90 - len(model)


def test_live_lane_holds_only_what_is_new_and_waits() -> None:
    """The rows after `fresh` that no one has yet; none where nothing waits, nothing is new, or no range is left."""
    full = Cursor(low=0, ranges=[(10 * n + 5, 10 * n + 10) for n in range(MOST_RANGES)])
    top = 10 * MOST_RANGES
    assert live_lane(Cursor(low=10), 1000, 990) == (990, 1000)
    assert live_lane(Cursor(low=995), 1000, 990) == (995, 1000)
    assert live_lane(Cursor(low=10, ranges=[(990, 995)]), 1000, 990) == (995, 1000)
    assert live_lane(Cursor(low=1000), 1000, 990) == (1000, 1000)
    assert live_lane(Cursor(low=10, ranges=[(990, 1000)]), 1000, 900) == (1000, 1000)
    assert live_lane(Cursor(low=10), 1000, 1000) == (1000, 1000)
    assert live_lane(full, top + 100, top) == (top, top + 100)
    assert live_lane(full, top + 100, top + 1) == (top + 100, top + 100)


def test_lane_without_backlog_is_the_oldest_gap() -> None:
    """When little waits it goes out in order."""
    assert lane(Cursor(low=10), 20, 20, backlog=False) == (10, 20)


def test_lane_after_an_outage_begins_with_the_newest() -> None:
    """The rows of the last minute go first, and from then on new rows take turns with the oldest."""
    cursor = Cursor(low=10)
    assert lane(cursor, 1000, 990, backlog=False) == (990, 1000)
    cursor.settle(990, 1000)
    assert lane(cursor, 1000, 1000, backlog=True) == (10, 990)
    assert lane(cursor, 1000, 1000, backlog=False) == (10, 990)
    assert lane(cursor, 1005, 1005, backlog=False) == (1000, 1005)
    assert lane(cursor, 1005, 1005, backlog=True) == (10, 990)


def test_lane_after_a_second_outage_begins_with_the_newest_again() -> None:
    """While the first backlog still waits, a second one does not hold up what is new."""
    cursor = Cursor(low=10, ranges=[(990, 1000)])
    assert lane(cursor, 5000, 4990, backlog=False) == (4990, 5000)


def test_lane_with_too_many_ranges_opens_no_further_one() -> None:
    """What is kept of a sink is bounded, however often it comes and goes."""
    cursor = Cursor(low=0, ranges=[(10 * n + 5, 10 * n + 10) for n in range(MOST_RANGES)])
    assert lane(cursor, 10_000, 9_000, backlog=False) == (10 * MOST_RANGES, 10_000)
    assert lane(cursor, 10_000, 9_000, backlog=True) == (0, 5)


def test_lane_with_nothing_waiting_is_empty() -> None:
    """Nothing to send is an empty range at the top."""
    assert lane(Cursor(low=7), 7, 7, backlog=False) == (7, 7)
