"""What a unit's answers cost, learned from its own: how long to wait for one, and a + b n for the planner. No I/O."""

from __future__ import annotations

from collections import deque
from statistics import median

from drivers.planner import Line

KEPT = 64
"""Answers that count."""
FEW = 8
"""Answers from which on something is learned."""
EACH = 64
"""Answers between two looks at them."""
TIMES_USUAL, TIMES_LONGEST = 3.0, 1.5
"""A time-out is at least so many usual answers, and so many times the longest of late."""
LEAST, LEAST_SHARE = 0.2, 1 / 3
"""Shortest learned time-out, in seconds and as a share of the bus's: adapters hand bytes over every 16 ms, a device may
once be busy with something else, and a busy box is not a silent device."""
LOOK = 60.0
"""Seconds between two looks at what a request costs."""
MOVED = 0.25
"""Share by which an estimate must have moved before the blocks are planned anew."""
STEEPEST = 0.05
"""Most seconds that a register can cost: 300 baud behind a gateway, nearly."""


class Turnaround:
    """One unit's answers of late."""

    def __init__(self, line: Line, wire: Line, gap: float) -> None:
        """`line`: what is assumed of a request, until measured. `wire`: what its bytes take on the line alone.

        `gap`: silence in seconds that every request needs before it.
        """
        self.line = line
        """What the blocks were last planned for."""
        self._wire, self._gap = wire, gap
        self._answers: deque[tuple[float, float]] = deque(maxlen=KEPT)
        """Registers (bits count a sixteenth) and seconds."""
        self._usual = self._longest = 0.0
        """Seconds beyond what the bytes take: the median, and the most."""
        self._late = 0.0
        self._unseen, self._look_at = 0, 0.0
        self.learned = 0
        """How often something was learned, so that others know when to ask again."""

    def answered(self, registers: float, seconds: float) -> None:
        """A good answer of so many registers took `seconds`."""
        self._answers.append((registers, seconds))
        self._unseen += 1
        if self._unseen >= EACH or len(self._answers) == FEW:
            self._unseen = 0
            self.learned += 1
            beyond = [seconds - self._on_wire(registers) for registers, seconds in self._answers]
            self._usual, self._longest = median(beyond), max(*beyond, self._late)
            self._late /= 2

    def came_late(self, seconds: float) -> None:
        """An answer took longer than it was waited for: wait longer from now on."""
        self._late = max(self._late, seconds)
        self.learned += 1
        self._longest = max(self._longest, seconds)

    @property
    def slowest(self) -> float:
        """Seconds beyond the bytes that must be waited for lately."""
        return TIMES_LONGEST * self._longest

    def patience(self, registers: float, most: float, learned: bool = True) -> float:
        """Seconds to wait for an answer of so many registers.

        `most`: the bus's time-out, not counting the bytes; with `learned` false it is taken as it is.
        """
        wire = self._on_wire(registers)
        if not learned or len(self._answers) < FEW:
            return most + wire
        least = wire + max(LEAST, LEAST_SHARE * most)
        usual = max(TIMES_USUAL * (wire + self._usual), wire + self.slowest, least)
        return min(usual, most + wire)

    def moved(self, now: float) -> Line | None:
        """What a request costs now, where that differs by a quarter from what was planned for. Asked once in LOOK."""
        if now < self._look_at or len(self._answers) < KEPT:
            return None
        self._look_at = now + LOOK
        found = self._found()
        if _near(found.request, self.line.request) and _near(found.register, self.line.register):
            return None
        self.line = found
        return found

    def measured(self) -> Line | None:
        """What a request costs by the answers of late, however little that differs; None: they are too few."""
        return self._found() if len(self._answers) >= FEW else None

    def _found(self) -> Line:
        each = self._each()
        request = median(seconds - each * registers for registers, seconds in self._answers)
        return Line(request=max(request, 1e-5) + self._gap, register=each)

    def _each(self) -> float:
        """Seconds a register: fitted where the answers differ in length, else as it was."""
        usual = median(seconds for _, seconds in self._answers)
        rows = [(x, y) for x, y in self._answers if y < 5 * usual]
        mean_x, mean_y = sum(x for x, _ in rows) / len(rows), sum(y for _, y in rows) / len(rows)
        spread = sum((x - mean_x) ** 2 for x, _ in rows)
        if spread < len(rows):
            return self.line.register
        slope = sum((x - mean_x) * (y - mean_y) for x, y in rows) / spread
        return min(max(slope, self._wire.register / 2, 1e-6), STEEPEST)

    def _on_wire(self, registers: float) -> float:
        return self._wire.request + self._wire.register * registers


def _near(found: float, planned: float) -> bool:
    return abs(found - planned) <= MOVED * planned
