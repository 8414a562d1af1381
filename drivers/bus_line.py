"""What a request costs on a bus by its configuration, until its devices' answers tell better. No I/O."""

from __future__ import annotations

from drivers.planner import Line, serial_line, tcp_line
from drivers.settings import Bus


def assumed(bus: Bus) -> tuple[Line, Line, float]:
    """What a request costs, what its bytes alone take, and the silence in seconds that must come before it.

    (A gateway keeps the silence by itself.)
    """
    known = {} if bus.turnaround is None else {"turnaround": bus.turnaround}
    if not bus.is_serial and bus.framer == "tcp":
        return tcp_line(*known.values()), Line(0.0, 0.0), 0.0
    line = serial_line(bus.baud, bus.framing, **known)
    silence = 3.5 * line.register / 2 if bus.baud <= 19200 else 0.00175
    return line, Line(request=13 * line.register / 2, register=line.register), silence if bus.is_serial else 0.0
