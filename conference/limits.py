"""What the meeting's settings and the block `meeting` of a box's configuration have in common.

The block is written by people, in their units and without what the box knows by itself; settings.py is what the meeting
is started with.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

VideoCodec = Literal["VP8", "H264"]
VideoSlots = Annotated[int, Field(ge=1, le=12)]
Srtp = Literal["gcm", "cm"]


class Block(BaseModel):
    """Never changed once read, no key beyond those named."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Limits(Block):
    """What a client, a room and the box may take; beyond it newcomers are turned away, not those inside."""

    clients: Annotated[int, Field(ge=1, le=500)] = 60
    """Clients of all rooms together."""
    packets_per_second: Annotated[int, Field(ge=1000)] = 30_000
    """Outgoing packets of all rooms; above it nobody new is admitted (docs/performance.md: what fills a core)."""
    client_kbit: Annotated[int, Field(ge=100)] = 1_500
    """What one camera may send."""
    screen_kbit: Annotated[int, Field(ge=100)] = 2_500
    """What a shared screen may send."""
    viewer_kbit: Annotated[int, Field(ge=100)] = 8_000
    """What one viewer is sent at most."""
    site_kbit: Annotated[int, Field(ge=100)] = 100_000
    """What all viewers of one site are sent at most."""
    room_kbit: Annotated[int, Field(ge=100)] = 400_000
    """What all viewers of one room are sent at most."""
    connections: Annotated[int, Field(ge=10)] = 300
    """Open TCP connections."""
    connections_per_address: Annotated[int, Field(ge=2)] = 80
    """A browser opens up to seven, and a whole office may come from one address."""
