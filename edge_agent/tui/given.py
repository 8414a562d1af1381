"""What the terminal needs of the configuration. It is read by a child process, so that pydantic takes neither the
terminal's time nor its memory.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edge_agent.text import LANGUAGES, texts
from edge_agent.tui.picture import Line, MeetingPlace

STATE = Path("/var/lib/edge-agent")


class Given(msgspec.Struct, frozen=True):
    """Of a file with errors only the errors are known; the rest is as on most boxes."""

    control: str = str(STATE / "control.sock")
    language: str = ""
    zone: str = "Asia/Ho_Chi_Minh"
    buses: tuple[Line, ...] = ()
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
    buses = tuple(Line(bus.id, bus.where, bus.devices[0].unit) for bus in config.buses)
    return Given(str(config.control), config.language, config.timezone, buses, meeting)
