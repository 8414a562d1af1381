"""How far a sink has settled the journal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cursor import Cursor
from edge_agent.journal import lane

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


def test_lane_without_backlog_is_the_oldest_gap() -> None:
    """When little waits it goes out in order."""
    assert lane(Cursor(low=10), 20, 20, 100) == (10, 20)


def test_lane_after_an_outage_begins_with_the_newest() -> None:
    """The rows of the last minute go first, then the oldest; new rows are always before the backlog."""
    cursor = Cursor(low=10)
    assert lane(cursor, 1000, 990, 100) == (990, 1000)
    cursor.settle(990, 1000)
    assert lane(cursor, 1000, 1000, 100) == (10, 990)
    assert lane(cursor, 1005, 1005, 100) == (1000, 1005)
    cursor.settle(10, 110)
    cursor.settle(1000, 1005)
    assert lane(cursor, 1005, 1005, 100) == (110, 990)


def test_lane_with_nothing_waiting_is_empty() -> None:
    """Nothing to send is an empty range at the top."""
    assert lane(Cursor(low=7), 7, 7, 100) == (7, 7)
