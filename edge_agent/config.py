"""The configuration of one box: its models, and the checks that look across them.

`load` gives a complete `Config` or raises `Problems` with every fault of the file and of the profiles it names, each
with line and column. Whether a port or a server is there is not configuration: that is found out when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from drivers import marked
from drivers.marked import Problem, Problems, Secret, fault
from drivers.settings import (
    Box,
    Broker,
    BrokerAccess,
    Bus,
    File,
    Id,
    Part,
    Words,
    address,
    seconds,
    size,
)
from edge_agent.meeting_config import Meeting

if TYPE_CHECKING:
    from drivers.profile import Profile
    from edge_agent.text import Text

FIXED = ("site", "state", "control", "journal")
"""Keys whose change needs a restart."""


# --- sinks ------------------------------------------------------------------------------------------------------------

HTTP_PORTS = {"http": 80, "https": 443}


class Influx(Part):
    """An InfluxDB, or a server that speaks its language."""

    url: Annotated[str, AfterValidator(lambda value: address(value, HTTP_PORTS).geturl().rstrip("/"))]
    version: Literal[1, 2, 3]
    database: str | None = None
    """v1: where to write."""
    username: str | None = None
    password: Secret | None = None
    """v1, where the server asks for it."""
    org: str | None = None
    bucket: str | None = None
    """v2 and v3: where to write."""
    token: Secret | None = None
    ca: File | None = None
    timeout: Annotated[float, seconds("1s", "5m")] = 10.0
    confirm_after: Annotated[float, seconds("1s", "1h")] | None = None
    """Until what the server took counts as stored; None: at once, and after 60 s where it is a victoria-metrics."""

    @model_validator(mode="after")
    def _where(self) -> Influx:
        if self.version == 1 and not self.database:
            raise fault("influx_needs", ("version", "database"), version=1, key="database")
        if self.version != 1 and not self.bucket:
            raise fault("influx_needs", ("version", "bucket"), version=self.version, key="bucket")
        if self.version == 1 and self.token:
            raise fault("influx_token", ("version", "token"))
        if self.version != 1 and (self.username or self.password):
            raise fault("influx_password", ("version", "username", "password"), version=self.version)
        return self


class MqttUplink(BrokerAccess):
    """Another system that receives readings over MQTT."""

    format: Literal["sparkplug", "json"]
    group: str | None = None


def _measurements(names: tuple[str, ...]) -> tuple[str, ...]:
    from drivers.reading import quantities

    known = sorted({quantity.measurement for quantity in quantities().values()})
    if unknown := [name for name in names if name not in known]:
        raise fault("unknown_measurement", value=unknown[0], known=", ".join(known))
    return names


class Sink(Part):
    """Where readings go. Each sink has its own cursor in the journal."""

    id: Id
    influxdb: Influx | None = None
    mqtt: MqttUplink | None = None
    only: Annotated[Words, AfterValidator(_measurements)] = ()
    """Measurements that this sink gets; empty: all."""
    rate: Annotated[int, size("1KiB", "1GiB")] | None = None
    """Most bytes a second for the backlog; None: as fast as the sink takes it."""
    spread: Annotated[float, seconds("0s", "1h")] = 30.0
    """After a long outage the backlog begins within so many seconds, each box at its own random time."""

    @model_validator(mode="after")
    def _one_kind(self) -> Sink:
        if (self.influxdb is None) == (self.mqtt is None):
            raise fault("influxdb_or_mqtt", ("influxdb", "mqtt"))
        return self


class Journal(Part):
    """Readings on disk."""

    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30
    max_bytes: Annotated[int, size("16MiB", "1TiB")] = 2 << 30
    commit_window: Annotated[float, seconds("10ms", "1s")] = 1.0
    """Seconds that a reading may wait for others before it is committed."""
    thin: Annotated[float, seconds("1s", "1h")] = 60.0
    """When the journal is full and nothing delivered is left to delete: of each series one reading in so many seconds
    stays, and every one that an alarm is about."""
    daily_writes: Annotated[int, size("64MiB", "1TiB")] = 4 << 30
    """Bytes a day that the card should bear; above it, commits come less often, up to one a second."""


class Clock(Part):
    """What to do while the box's clock is not right yet."""

    patience: Annotated[float, seconds("0s", "1d")] = 300.0
    """Seconds that readings wait for it once a sink has answered; 0: they only get marked."""


# --- parts of later versions ------------------------------------------------------------------------------------------

_CONDITION = re.compile(
    r"(?:[a-z0-9][a-z0-9_-]{0,31}\.)?([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*) *(?:[<>]=?|[=!]=) *-?[0-9]+(?:\.[0-9]+)?"
)


def _condition(value: str) -> str:
    """`point op number`; the point with or without its device in front."""
    if not _CONDITION.fullmatch(value):
        raise fault("condition", value=value)
    return value


def point_of(condition: str) -> str:
    """The `measurement.field` that a condition looks at."""
    found = _CONDITION.fullmatch(condition)
    return found[1] if found else ""


Condition = Annotated[str, AfterValidator(_condition)]


class AlarmText(Part):
    """What an alarm says."""

    vi: str
    en: str | None = None


class Alarm(Part):
    """A condition on a point that people are told about."""

    id: Id
    when: Condition
    clear: Condition | None = None
    """None: as soon as `when` no longer holds."""
    for_: Annotated[float, seconds("0s", "1d"), Field(alias="for")] = 0.0
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    text: AlarmText | None = None


# --- the whole --------------------------------------------------------------------------------------------------------


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise fault("timezone", value=value) from None
    return value


class Config(Part):
    """Everything one box is told."""

    site: Id
    name: str = ""
    language: Literal["vi", "en"] = "vi"
    timezone: Annotated[str, AfterValidator(_timezone)] = "Asia/Ho_Chi_Minh"
    state: File = Path("/var/lib/edge-agent")
    control: File = Field(default_factory=lambda known: known["state"] / "control.sock")
    profiles: tuple[File, ...] = (Path("/etc/edge-agent/devices"),)
    buses: tuple[Bus, ...] = ()
    mqtt: tuple[Broker, ...] = ()
    sinks: tuple[Sink, ...] = ()
    journal: Journal = Journal()
    alarms: tuple[Alarm, ...] = ()
    meeting: Meeting | None = None
    box: Box = Box()
    clock: Clock = Clock()

    _file: Path = PrivateAttr(default=Path())
    _used: Mapping[str, Profile] = PrivateAttr(default_factory=dict)

    @property
    def file(self) -> Path:
        """Where it was read from, absolute."""
        return self._file

    @property
    def used_profiles(self) -> Mapping[str, Profile]:
        """The profiles that devices name, by id, as they were when the configuration was read."""
        return self._used

    def has_device(self, name: str) -> bool:
        """True where a device of a bus, or the box itself, has this name."""
        return name == "box" or any(device.id == name for bus in self.buses for device in bus.devices)

    def not_built(self) -> list[tuple[str, str]]:
        """Blocks that are valid but whose part does not exist yet: path in the file, and the word that asks for it."""
        from drivers.decoders import DECODERS

        missing = [(f"sinks[{i}].mqtt", "mqtt") for i, sink in enumerate(self.sinks) if sink.mqtt]
        for i, broker in enumerate(self.mqtt):
            for j, subscription in enumerate(broker.subscriptions):
                if subscription.decoder not in DECODERS:
                    missing.append((f"mqtt[{i}].subscriptions[{j}].decoder", subscription.decoder))
        if self.alarms:
            missing.append(("alarms", "alarms"))
        if self.meeting and self.meeting.hub:
            missing.append(("meeting.hub", "hub"))
        return missing


def load(path: Path, stands_for: Path | None = None) -> Config:
    """Read, check and complete a configuration, or a text that stands for one. Raises Problems."""
    from edge_agent.coherence import Coherence

    coherence = Coherence()
    config = marked.load(path, Config, check=coherence.check, stands_for=stands_for)
    config._file = (stands_for or path).absolute()
    config._used = coherence.used
    return config


def check_report(path: Path) -> tuple[Config | None, list[Problem]]:
    """For `edge check`: the configuration, or None and what is wrong with it."""
    try:
        return load(path), []
    except Problems as refused:
        return None, refused.problems


def render(problems: list[Problem], text: Text) -> list[str]:
    """One line for each: `file:line:column: path: sentence`."""
    return [f"{p.file}:{p.line}:{p.column}: {p.path or '.'}: {sentence(p, text)}" for p in problems]


def sentence(problem: Problem, text: Text) -> str:
    """What is wrong and what to do."""
    key = problem.what if "." in problem.what else f"config.{problem.what}"
    return text(key, **problem.facts)
