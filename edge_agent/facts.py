"""What is known of each thing that can be wrong, as the rules of `findings.yaml` see it: one Struct for each kind.

`gather.py` fills them from the running agent; the rules may ask for these fields and no others. No I/O.
"""

from __future__ import annotations

import msgspec


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind has."""

    subject: str
    """The item that a screen can select: a device, bus, sink, broker, or the part's name."""
    since: float = 0.0
    """Unix seconds from when it has been so; 0: not known, so from now."""


class Bus(Facts, frozen=True):
    """A Modbus bus."""

    where: str = ""
    what: str = ""
    """Its trouble: port_missing, port_busy, port_refused, endpoint_unreachable, bus_babbles; empty: none."""
    error: str = ""
    serial: bool = True
    baud: int = 0
    framing: str = ""
    devices: int = 0
    silent: int = 0
    garbled: int = 0
    """Devices in that state."""
    answering: int = 0
    """Devices that answer."""
    all_silent: bool = False
    ever: bool = False
    """Some device has answered since the start."""
    echo: bool = False
    """The adapter gives back what it sends."""


class Device(Facts, frozen=True):
    """A Modbus device."""

    bus: str = ""
    where: str = ""
    unit: int = 0
    profile: str = ""
    serial: bool = True
    baud: int = 0
    framing: str = ""
    state: str = ""
    """silent, garbled, exception, late, no_path, identity; empty: it answers."""
    lately: bool = False
    """Only its last one or two polls got no answer."""
    code: int = 0
    """Exception code."""
    partly: bool = False
    """Some of its blocks still answer."""
    ever: bool = False
    """It has answered since the start."""
    others: int = 0
    others_ok: int = 0
    """Other devices of the bus, and those of them that answer."""
    asked: int = 0
    ok: int = 0
    timeouts: int = 0
    garbled: int = 0
    late: int = 0
    missed_pct: float = 0.0
    noise_pct: float = 0.0
    """Shares of the requests that got no answer, or no whole one."""
    answer_ms: float = 0.0
    timeout_ms: float = 0.0
    answer_pct: float = 0.0
    """Usual answer time as a share of the time-out."""


class Points(Facts, frozen=True):
    """The points of one device that share a reason for not being good."""

    bus: str = ""
    """Of a Modbus device."""
    reason: str = ""
    count: int = 0
    point: str = ""
    """The first of them."""
    value: str = ""
    unit: str = ""
    low: str = ""
    high: str = ""


class Broker(Facts, frozen=True):
    """A connection to an MQTT broker."""

    where: str = ""
    what: str = ""
    """Its trouble; empty: connected and content."""
    error: str = ""
    topic: str = ""
    client_id: str = ""
    file: str = ""
    name: str = ""
    variable: str = ""
    last: str = ""
    count: int = 0
    connected: bool = False
    subscriptions: int = 0
    messages: int = 0
    not_subscribed: int = 0
    unknown: int = 0
    field: str = ""
    """Field names that no table has: how many, and one of them."""
    up_s: float = 0.0
    """Seconds that the program has been running."""


class Sink(Facts, frozen=True):
    """Where readings go."""

    where: str = ""
    state: str = "up"
    what: str = ""
    """unreachable, refused, throttled, no_database, not_a_database, files, secret_missing, or a later word."""
    error: str = ""
    waiting: int = 0
    oldest_s: float = 0.0
    room_days: float = 0.0
    """Days for which the journal still has room at today's rate."""
    room: str = ""
    """The same in words."""
    quarantined: int = 0
    words: str = ""
    """What the server said of the last reading that it refused."""
    dropped: int = 0
    """Readings that the server took and threw away, as it says itself."""
    why: str = ""
    database: str = ""
    name: str = ""
    variable: str = ""


class Journal(Facts, frozen=True):
    """The readings on disk."""

    failing: bool = False
    error: str = ""
    cause: str = ""
    """full, readonly, other: why the disk takes nothing."""
    holding: bool = False
    """Memory is full too: the drivers wait."""
    commit_ms: float = 0.0
    used_pct: float = 0.0
    max_bytes: int = 0
    thinned: int = 0
    damaged: int = 0
    folder: str = ""


class Clock(Facts, frozen=True):
    """The box's clock."""

    state: str = "synced"
    """synced, waiting (a time source has no time yet), unknown (nobody sets it)."""
    held: int = 0
    """Readings that wait for the right time."""
    step_s: float = 0.0
    """Seconds by which it was last moved in the last quarter of an hour."""
    up_s: float = 0.0
    """Seconds since the agent started."""
    battery: bool = True
    """There is a clock with a battery."""
    before_journal: bool = False
    """The clock is behind the newest reading on disk."""
    year: int = 2026


class Power(Facts, frozen=True):
    """Supply and throttling, as a Raspberry Pi's firmware tells them."""

    low_now: bool = False
    low_before: bool = False
    throttled_now: bool = False
    capped_now: bool = False
    throttled_before: bool = False
    unclean: bool = False
    """The machine started anew without the agent having been stopped."""
    crashed: bool = False
    """The agent started anew within one run of the machine without having been stopped."""


class Heat(Facts, frozen=True):
    """Temperature of the processor."""

    celsius: float = 0.0


class Storage(Facts, frozen=True):
    """The disk that the journal is on."""

    folder: str = ""
    free_pct: float = 100.0
    free_bytes: int = 0
    files_free_pct: float = 100.0
    read_only: bool = False
    wear_pct: int = 0
    """Share of its life that an eMMC says is used up; 0: it does not say."""
    silent: bool = False
    """The disk does not answer."""


class Memory(Facts, frozen=True):
    """Memory and load."""

    available: float = 0.0
    """Bytes."""
    load_per_cpu: float = 0.0


class Settings(Facts, frozen=True):
    """The configuration."""

    what: str = ""
    """config_rejected, reload_failed, restart_needed, not_built; trial: waits for confirmation; returned: went back."""
    file: str = ""
    count: int = 0
    keys: str = ""
    error: str = ""
    path: str = ""
    word: str = ""
    left_s: float = 0.0
    who: str = ""


class Certificate(Facts, frozen=True):
    """A certificate file that the configuration names."""

    file: str = ""
    days: float = 0.0
    """Until it expires; negative: it has."""
    readable: bool = True


class Program(Facts, frozen=True):
    """A part of the program that failed by a fault of its own."""

    error: str = ""


class Meeting(Facts, frozen=True):
    """The meeting service of this box."""

    down: bool = False
    error: str = ""
    away: int = 0
    """Members whose connection is lost at this moment."""
    weak: int = 0
    """Members whose line is too weak for pictures."""
    lag_ms: float = 0.0
    """How late the service is with its own work."""
    guessed: bool = False
    """Meeting codes were locked of late, after too many wrong ones."""
    address: str = ""
    """Where the last of them came from."""


class Other(Facts, frozen=True):
    """A trouble that no kind above takes: its own sentence says it."""

    what: str = ""
    failed: bool = False
    sentence: str = ""


KINDS: dict[str, type[Facts]] = {
    "bus": Bus,
    "device": Device,
    "points": Points,
    "broker": Broker,
    "sink": Sink,
    "journal": Journal,
    "clock": Clock,
    "power": Power,
    "heat": Heat,
    "storage": Storage,
    "memory": Memory,
    "settings": Settings,
    "certificate": Certificate,
    "program": Program,
    "meeting": Meeting,
    "other": Other,
}
"""By the word that a rule's `of` has."""
