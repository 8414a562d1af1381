"""Which blocks to read: the requests that bring all wanted registers in the least time on a line. No I/O.

The planner is exact: with a cost of a + b n for each request it finds the best cover, within what a device allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import msgspec

from drivers.register import BIT_FUNCTIONS, MAX_BITS, MAX_REGISTERS, Block, Register


class Line(msgspec.Struct, frozen=True):
    """What a request costs on one bus, in seconds."""

    request: float
    """Fixed part: the request, the answer's frame, silences, the device's turnaround."""
    register: float
    """Each register more in the answer."""

    def bits(self) -> float:
        """Each bit more in the answer."""
        return self.register / 16


def serial_line(baud: int, framing: str, turnaround: float = 0.02) -> Line:
    """A serial line: 8 bytes of request, 5 of answer frame, 3.5 characters of silence twice, then 2 a register.

    `framing` as 8N1 or 8E1; `turnaround` in seconds. (Modbus over serial line 1.02, 2.5.1.1: above 19,200 baud the
    silence is 1.75 ms.)
    """
    parity = framing[1] != "N"
    character = (1 + int(framing[0]) + parity + int(framing[2])) / baud
    silence = 3.5 * character if baud <= 19200 else 0.00175
    return Line(request=13 * character + 2 * silence + turnaround, register=2 * character)


def tcp_line(round_trip: float = 0.002) -> Line:
    """A TCP endpoint: the round trip (seconds) is all that counts."""
    return Line(request=round_trip, register=2e-6)


class Limits(msgspec.Struct, frozen=True):
    """What a device allows in one request."""

    registers: int = MAX_REGISTERS
    bits: int = MAX_BITS
    forbidden: frozenset[tuple[int, int, int]] = frozenset()
    """(function, first, after last): address ranges that no request may touch unless a wanted register lies there."""
    barriers: frozenset[tuple[int, int]] = frozenset()
    """(function, address): no request may read from before the address to beyond it."""
    whole: tuple[int, int] | None = None
    """(first, count): these registers answer only as this one block."""


def plan(registers: Iterable[Register], line: Line, limits: Limits | None = None) -> list[Block]:
    """The requests that read all `registers` in the least time on `line`, in order of function and address.

    Alarm points come first, and share no request with others: they are asked for by themselves. So are registers whose
    content a read takes away, last of all.
    """
    limits = limits or Limits()
    groups: dict[tuple[bool, bool, int], list[Register]] = {}
    for register in sorted(registers, key=lambda r: (not r.alarm, r.once, r.fc, r.addr, -r.words)):
        groups.setdefault((register.alarm, register.once, register.fc), []).append(register)
    return [block for (_, _, fc), rows in groups.items() for block in _cover(fc, rows, line, limits)]


def _cover(fc: int, rows: list[Register], line: Line, limits: Limits) -> list[Block]:
    """Exact dynamic programme over `rows` of one function.

    Registers that lie inside another are set aside first; then starts and ends both rise, so an optimal cover
    consists of runs of neighbours, and best[i] = min over j of best[j] + the cost of one request for rows j to i-1.
    """
    outer = _without_nested(rows)
    widest = limits.bits if fc in BIT_FUNCTIONS else limits.registers
    each = line.bits() if fc in BIT_FUNCTIONS else line.register
    bounded = bool(limits.forbidden or limits.barriers)
    best, cut = [0.0], [0]
    for i, last in enumerate(outer, 1):
        options: list[tuple[float, int]] = []
        for j in range(i - 1, -1, -1):
            _, count = _span(outer[j], last, limits.whole)
            if j < i - 1 and (count > widest or (bounded and _crosses(fc, outer[j:i], limits))):
                break
            options.append((best[j] + line.request + count * each, j))
        least, j = min(options)
        best.append(least)
        cut.append(j)
    return _blocks(fc, rows, [outer[j:i] for j, i in _runs(cut)], limits.whole)


def _without_nested(rows: list[Register]) -> list[Register]:
    """`rows` (by address, longest first) less those inside an earlier one."""
    outer: list[Register] = []
    for row in rows:
        if not outer or row.end > outer[-1].end:
            outer.append(row)
    return outer


def _span(first: Register, last: Register, whole: tuple[int, int] | None) -> tuple[int, int]:
    """(start, count) of the request from `first` to `last`, widened to the block that only answers whole."""
    start, end = first.addr, last.end
    if whole and start < whole[0] + whole[1] and whole[0] < end:
        start, end = min(start, whole[0]), max(end, whole[0] + whole[1])
    return start, end - start


def _crosses(fc: int, run: list[Register], limits: Limits) -> bool:
    """True where a request for the run would read over a forbidden range or a barrier."""
    if limits.barriers and any(f == fc and run[0].addr < at < run[-1].end for f, at in limits.barriers):
        return True
    if not limits.forbidden:
        return False
    gaps = [(left.end, right.addr) for left, right in pairwise(run) if left.end < right.addr]
    return any(f == fc and first < end and start < after for f, first, after in limits.forbidden for start, end in gaps)


def _runs(cut: list[int]) -> list[tuple[int, int]]:
    """The runs (first, after last) of the optimal cover, read back from the cuts."""
    runs: list[tuple[int, int]] = []
    i = len(cut) - 1
    while i:
        runs.append((cut[i], i))
        i = cut[i]
    return runs[::-1]


def _blocks(fc: int, rows: list[Register], runs: list[list[Register]], whole: tuple[int, int] | None) -> list[Block]:
    """One block per run; every row goes to the first block that holds it."""
    blocks: list[Block] = []
    left = rows
    for run in runs:
        start, count = _span(run[0], run[-1], whole)
        inside = tuple(row for row in left if start <= row.addr and row.end <= start + count)
        left = [row for row in left if row not in inside]
        blocks.append(Block(fc, start, count, inside))
    return [block for block in blocks if block.registers]


def cost(blocks: Iterable[Block], line: Line) -> float:
    """Seconds that the requests take on `line`."""
    return sum(
        line.request + block.count * (line.bits() if block.fc in BIT_FUNCTIONS else line.register) for block in blocks
    )
