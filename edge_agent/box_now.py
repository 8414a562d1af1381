"""What GET /box answers. By itself, so that the terminal need not load what looks at the machine."""

from __future__ import annotations

import msgspec

from edge_agent.interfaces import NetworkNow


class ClockNow(msgspec.Struct, frozen=True):
    """The box's clock."""

    time: float
    """Unix seconds."""
    synced: bool
    source: str
    """timesyncd, chrony, kernel (somebody sets it), none."""
    battery: bool
    """There is a clock that goes on without power."""


class PowerNow(msgspec.Struct, frozen=True):
    """Supply and throttling; `known` is False where the machine does not tell."""

    known: bool = False
    low_now: bool = False
    low_before: bool = False
    """Since the machine started."""
    capped_now: bool = False
    throttled_now: bool = False
    throttled_before: bool = False


class StorageNow(msgspec.Struct, frozen=True):
    """The disk that the journal is on."""

    folder: str
    device: str
    kind: str
    """ext4, overlay …"""
    total_bytes: int
    free_bytes: int
    free_pct: float
    files_free_pct: float
    read_only: bool
    wear_pct: int | None
    """Share of its life that an eMMC says is used up, in tenths rounded up; None: it does not say, as most cards."""
    written_bytes: int | None
    """Written to the whole disk since the machine started."""
    errors: int | None
    """Errors that the file system has noted."""


class Service(msgspec.Struct, frozen=True):
    """A service of this machine."""

    name: str
    state: str
    """active, inactive, failed …"""
    restarts: int


class BoxNow(msgspec.Struct, frozen=True):
    """Everything about the machine."""

    clock: ClockNow
    power: PowerNow
    celsius: float | None
    storage: StorageNow
    memory_available_mb: float | None
    load_1m: float
    cpus: int
    up_s: float
    """Seconds since the machine started."""
    model: str
    services: list[Service]
    versions: dict[str, str]
    network: NetworkNow = NetworkNow()
