"""What the drivers are told: buses and their devices, brokers and their subscriptions, the box itself.

Durations are seconds and sizes are bytes once loaded, paths are absolute. Unknown keys are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from drivers.marked import Secret, fault

DAY = 86_400.0
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY}
BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_NUMBER_UNIT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")


class Part(BaseModel):
    """A block of the configuration: never changed once read, no key beyond those named."""

    # `defer_build`: only models that are asked for, the whole file's first of all, get a validator.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


# --- kinds of value ---------------------------------------------------------------------------------------------------


def _amount(value: object, what: str, units: Mapping[str, float]) -> float:
    """`90s` -> 90.0; anything that is not a number with one of `units` is a fault."""
    found = _NUMBER_UNIT.fullmatch(value) if isinstance(value, str) else None
    if not found or found[2] not in units:
        shown = value if isinstance(value, str | int | float) else type(value).__name__
        raise fault(what, value=shown, units=" ".join(units))
    return float(found[1]) * units[found[2]]


def _within(what: str, units: Mapping[str, float], least: str, most: str) -> Callable[[object], float]:
    low, high = _amount(least, what, units), _amount(most, what, units)

    def check(value: object) -> float:
        amount = _amount(value, what, units)
        if not low <= amount <= high:
            raise fault("out_of_range", value=str(value), least=least, most=most)
        return amount

    return check


def seconds(least: str, most: str) -> BeforeValidator:
    """A duration such as `500ms`, `10s`, `5m`, `1h`, `2d`, as float seconds."""
    return BeforeValidator(_within("duration", SECONDS, least, most))


def size(least: str, most: str) -> BeforeValidator:
    """A size such as `64MiB`, as whole bytes."""
    check = _within("size", BYTES, least, most)
    return BeforeValidator(lambda value: int(check(value)))


def _matches(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise fault(what, value=value)
        return value

    return AfterValidator(check)


def _absolute(value: object, info: ValidationInfo) -> object:
    """Relative paths are taken from the file's folder, so that a configuration can be moved as a folder."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise fault("path")
    folder: Path = (info.context or {}).get("folder", Path())
    return Path(folder, Path(value).expanduser() if value.startswith("~/") else value)


def _one_or_more(value: object) -> object:
    """A word stands for a list of one."""
    if isinstance(value, int | float):
        raise fault("want_text", value=value)
    return (value,) if isinstance(value, str) else value


def _endpoint(value: str) -> str:
    """`host:port`, the port 502 where none is given; IPv6 addresses in brackets."""
    host, port = split_endpoint(value, 502)
    if not host or not 0 < port < 65536:
        raise fault("endpoint", value=value)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_endpoint(value: str, default: int) -> tuple[str, int]:
    """Host and port; ("", 0) where the text is no endpoint."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+))(?::([0-9]{1,5}))?", value)
    return (found[1] or found[2], int(found[3] or default)) if found else ("", 0)


def address(value: str, schemes: Mapping[str, int]) -> SplitResult:
    """A URL with a host and one of `schemes` (scheme -> default port), else a fault. User names belong elsewhere."""
    if "@" in value:  # first, so that a password in it is not repeated in a sentence
        raise fault("url_with_user")
    try:
        parts = urlsplit(value)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", value)
    except ValueError:
        good = False
    if not good:
        raise fault("url", value=value, schemes=" ".join(f"{scheme}://" for scheme in schemes))
    return parts


LINE_UNITS, TCP_UNITS = range(1, 253), range(256)
"""0 is broadcast on a line; the rule ends at 247 (Modbus over serial line 1.02, 2.2), but instruments answer up to 252
(Ecowitt WN90LP). On TCP every number is somebody's."""


def _eight_bits(value: str) -> str:
    if value[0] != "8":
        raise fault("framing_bits", value=value)
    return value


Id = Annotated[str, _matches(r"[a-z0-9][a-z0-9_-]{0,31}", "identifier"), Field(examples=["unnamed-"])]
File = Annotated[Path, BeforeValidator(_absolute)]
Words = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
PointName = Annotated[str, _matches(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", "point_name")]


# --- buses ------------------------------------------------------------------------------------------------------------


class Limit(Part):
    """What a point can really have at this place; a value outside is bad."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Limit:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise fault("limit_order", ("low", "high"), low=self.low, high=self.high)
        return self


class Device(Part):
    """One Modbus unit."""

    id: Id
    profile: Annotated[str, Field(examples=["unnamed-"])]
    unit: Annotated[int, Field(ge=0, le=255, examples=[254])]
    every: Annotated[float, seconds("100ms", "1d"), Field(examples=["1m"])]
    """Seconds between two polls."""
    variant: Words = ()
    """Choices that the profile leaves open."""
    limits: Mapping[PointName, Limit] = {}
    priority: Literal["alarm", "normal", "slow"] = "normal"
    """Whose turn it is where several devices are due: alarms first, also between two blocks of another device."""
    alarm_points: tuple[PointName, ...] = ()
    """Points on which alarms hang, beside the profile's: polled by themselves, at the alarms' priority."""
    pause: Annotated[float, seconds("0ms", "10s")] = 0.0
    """Seconds that this device needs between an answer and the next request."""
    identity: Mapping[str, int | str] = {}
    """What this very device has in the registers that its profile knows it by, such as its serial number."""


class Bus(Part):
    """A serial line or a TCP endpoint with the devices behind it."""

    id: Id
    serial: File | None = None
    tcp: Annotated[str, AfterValidator(_endpoint)] | None = None
    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 9600
    framing: Annotated[str, _matches(r"[78][NEO][12]", "framing"), AfterValidator(_eight_bits)] = "8N1"
    framer: Literal["tcp", "rtu"] = "tcp"
    timeout: Annotated[float, seconds("10ms", "60s")] = 1.0
    turnaround: Annotated[float, seconds("0ms", "10s")] | None = None
    """Pause of the devices between request and answer, for the planner; None: what the line usually has."""
    devices: tuple[Device, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Bus:
        if (self.serial is None) == (self.tcp is None):
            raise fault("serial_or_tcp", ("serial", "tcp"))
        return self

    @property
    def is_serial(self) -> bool:
        """True: RTU on a serial line."""
        return self.serial is not None

    @property
    def units(self) -> range:
        """Unit numbers that a device can have here."""
        return LINE_UNITS if self.is_serial or self.framer == "rtu" else TCP_UNITS

    @property
    def host(self) -> str:
        """Host of a TCP endpoint, empty on a serial line."""
        return split_endpoint(self.tcp, 502)[0] if self.tcp else ""

    @property
    def port(self) -> int:
        """TCP port, 0 on a serial line."""
        return split_endpoint(self.tcp, 502)[1] if self.tcp else 0

    @property
    def where(self) -> str:
        """The port or the endpoint, for people."""
        return str(self.serial) if self.serial else self.tcp or ""


# --- brokers ----------------------------------------------------------------------------------------------------------

DecoderName = Literal["json", "chirpstack", "zigbee2mqtt", "tasmota", "shelly", "sparkplug", "ttn"]


def _topic(value: str) -> str:
    """`#` only alone at the end, `+` only alone (MQTT 5, 4.7.1)."""
    levels = value.split("/")
    wrong = any(("#" in level and (level != "#" or i < len(levels) - 1)) for i, level in enumerate(levels))
    if not value or wrong or any("+" in level and level != "+" for level in levels) or "\0" in value:
        raise fault("topic", value=value)
    return value


def _json_path(value: str) -> str:
    """A path into a JSON payload, as `drivers/decoders/generic_json.py` reads it."""
    from drivers.decoders.generic_json import path

    try:
        path(value)
    except ValueError as error:
        raise fault("json_path", value=value, error=str(error)) from None
    return value


JsonPath = Annotated[str, AfterValidator(_json_path)]


def _template(value: str) -> str:
    """`{1}` is a level of the topic; anything else in braces would name every device alike."""
    if wrong := re.search(r"\{(?![0-9]{1,2}\})[^}]*\}?|(?<![0-9])\}", value):
        raise fault("device_template", value=value, wrong=wrong[0])
    return value


TAKEN_TAGS = frozenset({"site", "sensor", "src", "time"})
"""Tags that the box sets itself, and the one that InfluxDB keeps for itself."""


class Subscription(Part):
    """Messages of one kind and how they become readings."""

    topic: Annotated[str, AfterValidator(_topic), Field(examples=["unnamed/"])]
    decoder: Annotated[DecoderName, Field(examples=["chirpstack"])]
    qos: Literal[0, 1] = 1
    device: Annotated[str, AfterValidator(_template)] | None = None
    """Template of the device's id: `{1}` is the topic's second level. None: the decoder's own."""
    time: JsonPath | None = None
    """Path to the time stamp in the payload: RFC 3339, or Unix seconds or milliseconds. None: arrival."""
    tags: Mapping[str, JsonPath] = {}
    points: Mapping[PointName, JsonPath] = {}
    """`measurement.field` -> path in the payload."""
    names: Mapping[str, PointName] = {}
    """Field of the decoded object -> `measurement.field`, added to the decoder's own table."""
    limits: Mapping[PointName, Limit] = {}

    @model_validator(mode="after")
    def _complete(self) -> Subscription:
        levels = [int(level) for level in re.findall(r"\{([0-9]{1,2})\}", self.device or "")]
        if "#" not in self.topic and any(level > self.topic.count("/") for level in levels):
            raise fault("device_level", ("topic", "device"), level=max(levels), topic=self.topic)
        if self.decoder == "json" and not self.points:
            raise fault("json_without_points", ("decoder", "points"))
        if taken := sorted(TAKEN_TAGS & self.tags.keys()):
            raise fault("taken_tag", ("tags",), value=taken[0])
        return self


BROKER_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerAccess(Part):
    """Where a broker is and how it lets us in: one that is read from, or one that takes readings."""

    broker: Annotated[
        str, AfterValidator(lambda value: address(value, BROKER_PORTS).geturl()), Field(examples=["mqtt://unnamed-"])
    ]
    client_id: str | None = None
    """None: `edge-<site>`."""
    username: str | None = None
    password: Secret | None = None
    ca: File | None = None
    cert: File | None = None
    key: File | None = None

    @model_validator(mode="after")
    def _together(self) -> BrokerAccess:
        if (self.cert is None) != (self.key is None):
            raise fault("cert_and_key", ("cert", "key"))
        if not self.tls and (self.ca or self.cert):
            raise fault("tls_without_mqtts", ("broker", "ca", "cert"))
        return self

    @property
    def tls(self) -> bool:
        """True for `mqtts://`."""
        return self.broker.startswith("mqtts://")

    @property
    def host(self) -> str:
        """The broker's host."""
        return urlsplit(self.broker).hostname or ""

    @property
    def port(self) -> int:
        """The broker's port."""
        return urlsplit(self.broker).port or BROKER_PORTS["mqtts" if self.tls else "mqtt"]


class Broker(BrokerAccess):
    """One connection to an MQTT broker."""

    id: Id
    session_expiry: Annotated[float, seconds("0s", "365d")] = 7 * DAY
    receive_maximum: Annotated[int, Field(ge=1, le=65535)] = 2000
    keepalive: Annotated[float, seconds("5s", "1h")] = 30.0
    subscriptions: tuple[Subscription, ...] = ()


# --- the box ----------------------------------------------------------------------------------------------------------


class Box(Part):
    """The box's own health."""

    every: Annotated[float, seconds("1s", "1d")] = 60.0
    disabled: bool = False
