"""Settings of the meeting, as the program that starts it gives them. Unknown keys are refused."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from conference.limits import Block, Limits, Srtp, VideoCodec, VideoSlots

RoomName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


class Meeting(Block):
    """One planned meeting."""

    room: RoomName
    title: Annotated[str, Field(max_length=120)]
    start: AwareDatetime
    every: timedelta | None = None
    """After how long it comes again, by the clock on the wall; None: once."""
    minutes: Annotated[int, Field(ge=5, le=1440)] = 90

    @property
    def end(self) -> datetime:
        """When it is over."""
        return self.start + timedelta(minutes=self.minutes)

    def next(self, now: datetime) -> Meeting | None:
        """This meeting as it runs now or comes next; None when it is over."""
        first = self._turns(now)
        turns = (self._turn(at) for at in range(first, first + 3))
        return next((meeting for meeting in turns if meeting and meeting.end > now), None)

    def _turns(self, now: datetime) -> int:
        """How often it has come, or one less or more where clocks were changed meanwhile."""
        return max(0, (now - self.end) // self.every) if self.every else 0

    def _turn(self, at: int) -> Meeting | None:
        """The one that comes `at` turns after the first. Sums of times of one zone are by the clock on the wall."""
        if at == 0:
            return self
        return self.model_copy(update={"start": self.start + at * self.every}) if self.every else None


class Settings(Block):
    """The `meeting` block."""

    listen: Annotated[str, Field(pattern=r"^\S+:\d{1,5}$")] = "0.0.0.0:8443"
    """Address and port of page and media: TCP and UDP with the same number; port 0 lets the system choose."""
    room: RoomName = "giao-ban"
    """The room that the page's button leads to when no meeting is planned."""
    open_rooms: bool = True
    """People without a ticket may enter from the page as guests. False: a ticket or a meeting code is needed."""
    site: str = "box"
    name: str = ""
    """The ward's name, as people read it."""
    language: Literal["vi", "en"] = "vi"
    timezone: str = "Asia/Ho_Chi_Minh"
    help_phone: str = ""
    state: Path = Path("state")
    """Folder for certificate, key, tickets and codes."""
    control: Path | None = None
    """Unix socket that answers /status and /metrics to the box's own group; None: none."""
    cert: Path | None = None
    key: Path | None = None
    """Certificate and key in PEM; neither: a self-signed one is made and kept in the state folder."""
    addresses: tuple[str, ...] = ()
    """Own addresses told to browsers; empty: all of the box's, or the one listened on."""
    video_slots: VideoSlots = 6
    audio_slots: Annotated[int, Field(ge=1, le=4)] = 3
    video_codecs: tuple[VideoCodec, ...] = ("VP8", "H264")
    """Best first."""
    srtp: Srtp = "gcm"
    """Cipher offered first: `gcm` where the processor has AES instructions, `cm` on a Pi 4."""
    schedule: tuple[Meeting, ...] = ()
    limits: Limits = Limits()

    @field_validator("listen")
    @classmethod
    def _an_address(cls, listen: str) -> str:
        host, _, port = listen.rpartition(":")
        ipaddress.ip_address(host.strip("[]"))
        if int(port) > 65_535:
            raise ValueError("no such port")
        return listen

    @model_validator(mode="after")
    def _cert_with_key(self) -> Settings:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        if not self.video_codecs:
            raise ValueError("video_codecs: at least one")
        return self

    @property
    def host(self) -> str:
        """Address part of `listen`, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def tickets(self) -> Path:
        """Folder of tickets and codes, that the command line shares."""
        return self.state / "tickets"

    @property
    def port(self) -> int:
        """Port part of `listen`."""
        return int(self.listen.rpartition(":")[2])

    def next_meeting(self, now: datetime) -> Meeting | None:
        """The meeting that runs or comes next."""
        coming = [found for meeting in self.schedule if (found := meeting.next(now))]
        return min(coming, key=lambda meeting: meeting.start, default=None)

    def rooms(self) -> frozenset[str]:
        """Rooms that may be entered."""
        return frozenset({self.room, *(meeting.room for meeting in self.schedule)})
