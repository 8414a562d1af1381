"""Which blocks are read: the planner against trying everything, and what it must keep to."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.planner import Limits, Line, cost, plan, serial_line, tcp_line
from drivers.register import MAX_REGISTERS, Block, Register
from tests.drivers.test_register import register

SLOW = serial_line(9600, "8N1")


def partitions(rows: list[Register]) -> Iterator[list[list[Register]]]:
    """Every way to split `rows`, in any order, into groups."""
    if not rows:
        yield []
        return
    first, rest = rows[0], rows[1:]
    for smaller in partitions(rest):
        yield [[first], *smaller]
        for i, group in enumerate(smaller):
            yield [*smaller[:i], [first, *group], *smaller[i + 1 :]]


def cheapest(rows: list[Register], line: Line, limits: Limits) -> float:
    """Least cost over all ways to group registers, each group read as one request."""
    return min(sum(_price(group, line, limits) for group in groups) for groups in partitions(rows))


def _price(group: list[Register], line: Line, limits: Limits) -> float:
    start, end = min(row.addr for row in group), max(row.end for row in group)
    wanted = {address for row in group for address in range(row.addr, row.end)}
    over = {address for _, first, after in limits.forbidden for address in range(first, after)}
    if len(group) > 1 and (end - start > limits.registers or over & (set(range(start, end)) - wanted)):
        return math.inf
    return line.request + (end - start) * line.register


_rows = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["u16", "f32", "u64"])), min_size=1, max_size=6, unique=True
)
_forbidden = st.frozensets(
    st.tuples(st.integers(0, 60), st.integers(1, 4)).map(lambda hole: (3, hole[0], hole[0] + hole[1])), max_size=3
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    _rows,
    st.sampled_from([SLOW, serial_line(115200, "8E1", 0.005), tcp_line(), Line(1.0, 0.11), Line(1.0, 3.0)]),
    st.integers(4, 30),
    _forbidden,
)
def test_the_plan_against_trying_everything(
    chosen: list[tuple[int, str]], line: Line, widest: int, forbidden: frozenset[tuple[int, int, int]]
) -> None:
    """No way to group the registers costs the line less than the plan, and the plan keeps to the limits."""
    rows = [register(addr, kind) for addr, kind in chosen]
    limits = Limits(registers=widest, forbidden=forbidden)
    blocks = plan(rows, line, limits)
    assert sorted(row.key for block in blocks for row in block.registers) == sorted(row.key for row in rows)
    for block in blocks:
        assert block.count <= widest
        assert all(block.start <= row.addr and row.end <= block.start + block.count for row in block.registers)
        for first, after in block.holes():
            assert not any(f < after and first < a for _, f, a in forbidden)
    assert cost(blocks, line) == pytest.approx(cheapest(rows, line, limits))


def test_functions_are_never_mixed() -> None:
    """Holding and input registers at one address are two requests, coils a third."""
    rows = [register(0, fc=3), register(0, fc=4), register(1, fc=4), register(0, "bit", fc=1)]
    assert [(b.fc, b.start, b.count) for b in plan(rows, SLOW)] == [(1, 0, 1), (3, 0, 1), (4, 0, 2)]


def test_a_request_of_the_most_registers_allowed() -> None:
    """125 registers fit one request, 126 take two."""
    assert [b.count for b in plan([register(i) for i in range(MAX_REGISTERS)], tcp_line())] == [125]
    assert len(plan([register(i) for i in range(MAX_REGISTERS + 1)], tcp_line())) == 2


def test_many_coils_in_one_request() -> None:
    """Bits are counted as bits: 2,000 of them fit one request."""
    rows = [register(addr, "bit", fc=1) for addr in range(0, 2000, 37)]
    assert [(b.start, b.count) for b in plan(rows, tcp_line())] == [(0, 1999)]


def test_a_block_that_answers_only_whole() -> None:
    """The Renke station answers one read of 16 registers from 500, so single registers of it are read that way."""
    limits = Limits(whole=(500, 16))
    rows = [register(500), register(503), register(515), register(520)]
    blocks = plan(rows, Line(1.0, 10.0), limits)
    assert [(b.start, b.count, len(b.registers)) for b in blocks] == [(500, 16, 3), (520, 1, 1)]


def test_holes_of_a_block() -> None:
    """The addresses that nobody asked for, which an exception then forbids."""
    block = Block(3, 10, 10, (register(12, "f32"), register(12), register(17)))
    assert block.holes() == [(10, 12), (14, 17), (18, 20)]


def test_a_forbidden_hole_splits_a_block() -> None:
    """A range that the device refuses is not read over again, and the registers beside it still are."""
    rows = [register(0), register(4), register(5)]
    assert [(b.start, b.count) for b in plan(rows, SLOW)] == [(0, 6)]
    blocks = plan(rows, SLOW, Limits(forbidden=frozenset({(3, 1, 4)})))
    assert [(b.start, b.count) for b in blocks] == [(0, 1), (4, 2)]
