"""Readings as the agent makes them, without a network: made-up answers, decoded by the register map."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench import ward
from bench.ward import SITE, Ward
from drivers.planner import Limits, tcp_line
from drivers.profile import Profile
from drivers.reading import Readings
from drivers.regmap import RegisterMap
from edge_agent.journal import GROUP_READINGS
from edge_agent.rows import Group
from edge_agent.store import Store

ROOM = 4 << 30
"""Bytes that a journal may have."""


def polls(load: Ward, profile: Profile, count: int) -> Iterator[tuple[Readings, ...]]:
    """`count` polls of the ward's devices, each once a second in turn, the last one now."""
    devices = [_registers(i, profile) for i in range(load.devices)]
    contents = [ward.images(i, load.registers) for i in range(load.devices)]
    step = 1000 // load.devices
    first = time.time_ns() // 1_000_000 - count * step
    for poll in range(count):
        turn, at = divmod(poll, load.devices)
        (block,) = devices[at].steps
        block.take(contents[at][turn % ward.IMAGES])
        yield devices[at].readings(first + poll * step, poll * step)


def _registers(index: int, profile: Profile) -> RegisterMap:
    registers = RegisterMap(ward.device_name(index), ward.UNIT, "", profile.points())
    registers.arrange(tcp_line(), Limits())
    return registers


def fill(path: Path, load: Ward, profile: Profile, readings: int, per_commit: int = GROUP_READINGS) -> None:
    """Make a journal that holds `readings`; by default it commits as often as the agent does at full load."""
    store = Store(path, SITE, "filled", ROOM)
    group = Group()
    for poll in polls(load, profile, readings // load.registers):
        for some in poll:
            group.add(some)
        if group.points >= per_commit:
            store.commit(group)
            group = Group()
    store.commit(group)
    store.close()
