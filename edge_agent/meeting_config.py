"""The `meeting` block of the configuration: the ward's end of the video conference."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from conference.limits import Limits, Srtp, VideoCodec, VideoSlots
from drivers.marked import fault
from drivers.settings import File, Id, Part, Words, address, seconds, split_endpoint

if TYPE_CHECKING:
    from conference.settings import Settings
    from edge_agent.config import Config

HTTPS = {"https": 443}
CODECS: tuple[VideoCodec, ...] = get_args(VideoCodec)


def _begins(value: object) -> datetime:
    """`2026-12-07 14:00`, in the box's time zone unless it names its own."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromisoformat("")
    except ValueError:
        raise fault("meeting_start", value=str(value)) from None


class Scheduled(Part):
    """A meeting that comes again, or once."""

    title: Annotated[str, Field(max_length=120)]
    start: Annotated[datetime, BeforeValidator(_begins)]
    every: Annotated[float, seconds("1h", "366d")] | None = None
    """None: once."""
    length: Annotated[float, seconds("5m", "1d")] = 7200.0
    room: Id | None = None

    @model_validator(mode="after")
    def _fits(self) -> Scheduled:
        if self.every is not None and self.every < self.length:
            raise fault("meeting_overlaps", ("every", "length"))
        return self


def _listen(value: str) -> str:
    """An address of this box and a port: names are not looked up, since the network may not be there yet."""
    import ipaddress

    host, port = split_endpoint(value, 0)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = ""
    if not host or not 0 < port < 65536:
        raise fault("listen", value=value)
    return value


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [name for name in names if name not in CODECS]
    if wrong or not names:
        raise fault("want_one_of", value=wrong[0] if wrong else "[]", choices=", ".join(CODECS))
    return names


class Meeting(Part):
    """The ward's end of the video conference."""

    listen: Annotated[str, AfterValidator(_listen)] = "0.0.0.0:8443"
    room: Id
    open: bool = True
    """People without a ticket come in as guests; False: a ticket or a meeting code is needed."""
    url: Annotated[str, AfterValidator(lambda value: address(value, HTTPS).geturl().rstrip("/"))] | None = None
    """What invitation links begin with; None: the box's first address."""
    help_phone: str = ""
    cert: File | None = None
    key: File | None = None
    state: File | None = None
    """None: the folder `meeting` in the box's own."""
    control: File | None = None
    """Socket for the agent; None: in `state`."""
    schedule: tuple[Scheduled, ...] = ()
    video_slots: VideoSlots = 6
    video_codecs: Annotated[Words, AfterValidator(_known)] = CODECS
    srtp: Srtp = "gcm"
    addresses: Words = ()
    limits: Limits = Limits()
    hub: Annotated[str, AfterValidator(lambda value: address(value, {"https": 443, "wss": 443}).geturl())] | None = None

    @model_validator(mode="after")
    def _cert_with_key(self) -> Meeting:
        if (self.cert is None) != (self.key is None):
            raise fault("cert_and_key", ("cert", "key"))
        return self


def state_of(config: Config, meeting: Meeting) -> Path:
    """The meeting's own folder: certificate, tickets, codes."""
    return meeting.state or config.state / "meeting"


def control_of(config: Config, meeting: Meeting) -> Path:
    """The socket by which the agent asks the meeting."""
    return meeting.control or state_of(config, meeting) / "meet.sock"


def settings_of(config: Config, meeting: Meeting) -> Settings:
    """What `conference` is started with."""
    from conference.settings import Settings

    return Settings.model_validate(
        {
            "listen": meeting.listen,
            "room": meeting.room,
            "open_rooms": meeting.open,
            "site": config.site,
            "name": config.name,
            "language": config.language,
            "timezone": config.timezone,
            "help_phone": meeting.help_phone,
            "state": state_of(config, meeting),
            "control": control_of(config, meeting),
            "cert": meeting.cert,
            "key": meeting.key,
            "addresses": meeting.addresses,
            "video_slots": meeting.video_slots,
            "video_codecs": meeting.video_codecs,
            "srtp": meeting.srtp,
            "schedule": [_planned(config, meeting, one) for one in meeting.schedule],
            "limits": meeting.limits,
        }
    )


def _planned(config: Config, meeting: Meeting, one: Scheduled) -> dict[str, object]:
    start = one.start if one.start.tzinfo else one.start.replace(tzinfo=ZoneInfo(config.timezone))
    return {
        "room": one.room or meeting.room,
        "title": one.title,
        "start": start,
        "every": timedelta(seconds=one.every) if one.every else None,
        "minutes": round(one.length / 60),
    }
