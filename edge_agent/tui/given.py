"""What the terminal needs of the configuration. It is read by a child process, so that pydantic takes neither the
terminal's time nor its memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent.text import LANGUAGES, texts
from edge_agent.tui.picture import Line, MeetingPlace, Slave, Way

if TYPE_CHECKING:
    from drivers.profile import Profile
    from drivers.register import Register
    from drivers.settings import Bus
    from edge_agent.config import Config

SPACES = {1: "co", 2: "di", 3: "hr", 4: "ir"}
"""By function code."""
STATE = Path("/var/lib/edge-agent")


class Given(msgspec.Struct, frozen=True):
    """Of a file with errors only the errors are known; the rest is as on most boxes."""

    control: str = str(STATE / "control.sock")
    language: str = ""
    zone: str = "Asia/Ho_Chi_Minh"
    buses: tuple[Line, ...] = ()
    ways: tuple[Way, ...] = ()
    meeting: MeetingPlace | None = None
    problems: dict[str, list[str]] = {}
    """By language, as `edge check` prints them."""


class Reading:
    """The file being read in a child process."""

    def __init__(self, file: Path) -> None:
        """Begin. Only before any thread is started."""
        self._source, sink = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                os.write(sink, msgspec.json.encode(read(file)))
            finally:
                os._exit(0)
        os.close(sink)

    def result(self) -> Given:
        """Wait for it."""
        with os.fdopen(self._source, "rb") as source:
            raw = source.read()
        os.waitpid(self._child, 0)
        return msgspec.json.decode(raw, type=Given) if raw else Given()


def read(file: Path) -> Given:
    """The file, or what is wrong with it."""
    from edge_agent.config import check_report, render

    config, problems = check_report(file)
    if config is None:
        return Given(problems={language: render(problems, texts(language)) for language in LANGUAGES})
    room = config.meeting
    meeting = MeetingPlace(room.room, room.listen, room.url or "") if room else None
    buses = tuple(Line(bus.id, bus.where, tuple(_slaves(config, bus))) for bus in config.buses)
    return Given(str(config.control), config.language, config.timezone, buses, tuple(_ways(config)), meeting)


def _ways(config: Config) -> Iterator[Way]:
    """In the order of `edge net`; endpoints of Modbus TCP have no ladder of their own."""
    for broker in config.mqtt:
        yield Way(broker.id, broker.broker)
    for sink in config.sinks:
        yield Way(sink.id, sink.influxdb.url if sink.influxdb else sink.mqtt.broker if sink.mqtt else "")
    for bus in config.buses:
        if not bus.is_serial:
            yield Way(bus.id, bus.where)


def _slaves(config: Config, bus: Bus) -> Iterator[Slave]:
    """A profile without points, an output's, has nothing to be tried."""
    for device in bus.devices:
        profile = config.used_profiles[device.profile]
        for first in profile.points(device.variant, device.alarm_points)[:1]:
            at, count = _asked(profile, first)
            yield Slave(device.id, device.unit, SPACES[first.fc], at, count)


def _asked(profile: Profile, first: Register) -> tuple[int, int]:
    """The first point alone, but of a device that leaves a part of its block unanswered the whole block."""
    whole = profile.limits.read_as_one_block
    if whole and first.fc in (3, 4) and whole[0] <= first.addr < sum(whole):
        return whole
    return first.addr, first.words
