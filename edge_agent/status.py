"""What the box says about itself: the verdict with its reasons as sentences, the journal, the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from drivers.driver import Trouble
from edge_agent import __version__
from edge_agent.board import Counts, counts
from edge_agent.disk import TROUBLES
from edge_agent.findings import Finding, verdict_of
from edge_agent.text import Text, texts

if TYPE_CHECKING:
    from edge_agent.app import App
    from edge_agent.delivery import SinkNow
    from edge_agent.rows import Stat

log = logging.getLogger("edge.status")

VERDICTS = ("ok", "attention", "failed")
"""In order of exit code."""
HOUR_S = 3600
AWAY = ("down", "refusing", "throttled")
"""States of a sink that takes nothing."""

BEYOND = frozenset({"power", "heat", "storage", "memory", "certificate"})
"""Kinds of findings that tell what no trouble does."""
BEYOND_TOO = frozenset({"device_late", "device_noisy", "device_unsteady", "config_on_trial", "config_went_back"}) | {
    "meeting_overloaded",
    "clock_in_the_past",
    "clock_set_by_nobody",
}
"""And single ones."""

Facts = dict[str, str | int | float]


class SinkStatus(msgspec.Struct, frozen=True):
    """One sink (contract: `edge status --json`)."""

    id: str
    state: str
    waiting: int
    """Readings on disk that it has not confirmed."""
    oldest_unsent_s: float | None
    delivered: int
    quarantined: int
    where: str
    error: str | None
    next_try_s: float | None
    unconfirmed: int = 0
    """Readings that it has taken but may still lose; they count as delivered later, or are sent again."""


class JournalStatus(msgspec.Struct, frozen=True):
    """The journal as it works now."""

    readings: int
    bytes: int
    pending: int
    """Readings in memory, not yet on disk."""
    commit_ms: float
    error: str | None
    copies: int = 0
    """Messages that came a second time and were left out, since the start."""


class ClockStatus(msgspec.Struct, frozen=True):
    """The box's clock."""

    state: str = "unknown"
    """synced, waiting (a time source has none yet), unknown (nobody can tell; it is believed)."""
    by: str = "none"
    """chrony, timesyncd, kernel, none."""
    held: int = 0
    """Readings that wait for the right time before they are sent."""
    step_s: float = 0.0
    """Seconds by which it was last moved since the start; 0: never."""
    step_ago_s: float | None = None


class FailingDevice(msgspec.Struct, frozen=True):
    """A Modbus device that gives nothing, or not all (`edge status --json`)."""

    device: str
    bus: str
    cause: str
    """`silent`, `garbled`, `exception`, `late`, `no_path`, `identity`."""
    partly: bool
    """Some of its registers are read all the same."""
    since: float
    """Unix seconds."""
    next_try_s: float


class Status(msgspec.Struct, frozen=True):
    """What `edge status` shows."""

    verdict: str
    reasons: list[str]
    points: Counts
    sinks: list[SinkStatus]
    journal: JournalStatus
    site: str
    name: str
    version: str
    uptime_s: float
    clock: ClockStatus = ClockStatus()
    failing: list[FailingDevice] = []


class SinkCursor(msgspec.Struct, frozen=True):
    """One sink's place in the journal; `cursor` is the low-water mark."""

    id: str
    cursor: int
    waiting: int
    unconfirmed: int = 0
    """Sent, and not counted as delivered before the server has kept it for a while."""


class JournalStat(msgspec.Struct, frozen=True):
    """The journal on disk (contract: `edge journal stat --json`)."""

    readings: int
    first_time: str | None
    last_time: str | None
    bytes: int
    sinks: list[SinkCursor]
    quarantined: int
    thinned: int
    damaged_files: int
    written_per_day: int | None = None
    """Bytes a day at the pace of the last hour; None: not known yet."""
    daily_writes: int = 0
    """What it should be at most."""
    commit_window: float = 0.0
    """Seconds that a reading waits for its commit, at most."""
    ahead_time: str | None = None
    """The last of the stamps far ahead of the time when they came: a device's clock is wrong. Not in `last_time`."""


class LedgerRow(msgspec.Struct, frozen=True):
    """One device's hour (contract: `edge ledger --json`)."""

    device: str
    hour: str
    expected: int
    read: int
    stored: int
    delivered: dict[str, int]
    excluded: dict[str, int]
    quarantined: int
    thinned: int
    rejected: dict[str, int]
    thinned_for: dict[str, int] = {}
    """Of the thinned ones: by sink, those that it had not yet had."""


async def status(app: App) -> Status:
    """The whole picture."""
    text = texts(app.config.language)
    points = counts(app.board.points())
    stat = await app.journal.stat()
    troubles = [*app.troubles(), *_sink_troubles(app), *_not_built(app), *_journal_troubles(app, stat)]
    sources = {bus.id for bus in app.config.buses} | {broker.id for broker in app.config.mqtt}
    beyond = [each for each in await _findings(app) if each.of in BEYOND or each.key in BEYOND_TOO]
    return Status(
        verdict=worse(verdict(troubles, points, sources), beyond),
        reasons=[*reasons(troubles, points, text), *(each.sentence for each in beyond if each.severity != "info")],
        points=points,
        sinks=[await _sink(app, sink) for sink in app.sinks()],
        journal=_journal(app, stat),
        site=app.config.site,
        name=app.config.name,
        version=__version__,
        uptime_s=round(time.monotonic() - app.started, 1),
        clock=_clock(app),
        failing=[failing_device(each) for each in troubles if each.what.startswith("device_") and "bus" in each.facts],
    )


def failing_device(trouble: Trouble) -> FailingDevice:
    """The same as fields."""
    facts, cause = trouble.facts, trouble.what.removeprefix("device_")
    next_try = round(float(facts["next"]), 1)
    return FailingDevice(trouble.subject, str(facts["bus"]), cause, not trouble.failed, trouble.since, next_try)


async def _findings(app: App) -> list[Finding]:
    from edge_agent import diagnosis  # the commands want only the Structs of this module, not the drivers

    try:
        return await diagnosis.findings(app)
    except Exception:  # a rule that stumbles must not cost anyone the verdict
        log.exception("findings failed")
        return []


def verdict(troubles: Sequence[Trouble], points: Counts, sources: Collection[str]) -> str:
    """ok: nothing to do. attention: something does not work. failed: nothing is read, or nothing can be kept.

    `sources`: the buses and broker connections.
    """
    dead = {trouble.subject for trouble in troubles if trouble.failed}
    if any(trouble.what in TROUBLES.values() for trouble in troubles) or (sources and dead.issuperset(sources)):
        return "failed"
    return "attention" if troubles or points.bad or points.uncertain else "ok"


def worse(verdict: str, found: Collection[Finding]) -> str:
    """The verdict with what the findings add: things to look at that trouble no part of the program."""
    return max(verdict, verdict_of(list(found)), key=VERDICTS.index)


def reasons(troubles: Sequence[Trouble], points: Counts, text: Text) -> list[str]:
    """A sentence for each trouble, worst first, and one for the points that are not good."""
    ordered = sorted(troubles, key=lambda trouble: (not trouble.failed, trouble.since))
    now = time.time()
    sentences = [text(f"trouble.{t.what}", **{"ago": now - t.since, **t.facts}) for t in ordered]
    if points.bad or points.uncertain:
        sentences.append(text("status.doubtful_points", bad=points.bad, uncertain=points.uncertain))
    return sentences


def _journal(app: App, stat: Stat) -> JournalStatus:
    journal = app.journal
    return JournalStatus(
        readings=stat.readings,
        bytes=stat.bytes,
        pending=journal.pending,
        commit_ms=round(journal.commit_ms, 1),
        error=journal.error,
        copies=app.copies,
    )


def _clock(app: App) -> ClockStatus:
    clock = app.clock
    return ClockStatus(
        state=clock.told.state,
        by=clock.told.by,
        held=app.journal.held,
        step_s=round(clock.step_s, 3),
        step_ago_s=round(time.time() - clock.stepped_at, 1) if clock.step_s else None,
    )


def _sink_troubles(app: App) -> list[Trouble]:
    found = []
    for sink in app.sinks():
        if sink.state in AWAY:
            waiting = app.journal.waiting(sink.id)
            facts: Facts = {
                "sink": sink.id,
                "where": sink.where,
                "error": sink.error or "",
                **sink.facts,
                "waiting": waiting,
            }
            found.append(Trouble(f"sink_{sink.what}", sink.id, sink.since, facts, failed=True))
        if sink.dropped:
            facts = {"sink": sink.id, "count": sink.dropped, "why": sink.dropped_why}
            found.append(Trouble("sink_drops", sink.id, sink.dropped_since, facts))
        state = app.journal.states.get(sink.id)
        if state and state.quarantined:
            facts = {"sink": sink.id, "count": state.quarantined, "error": state.words}
            found.append(Trouble("sink_quarantined", sink.id, time.time(), facts))
    return found


def _not_built(app: App) -> list[Trouble]:
    return [
        Trouble("not_built", path, time.time(), {"path": path, "what": word}) for path, word in app.config.not_built()
    ]


def _journal_troubles(app: App, stat: Stat) -> list[Trouble]:
    found = []
    if stat.damaged_files:
        facts: Facts = {"count": stat.damaged_files, "folder": str(app.config.state)}
        found.append(Trouble("journal_damaged", "journal", time.time(), facts))
    if app.journal.salvaging is not None:
        facts = {"file": str(app.journal.salvaging)}
        found.append(Trouble("journal_salvaging", "journal", time.time(), facts))
    if stat.thinned:
        found.append(Trouble("readings_thinned", "journal", time.time(), {"count": stat.thinned}))
    return found


async def _sink(app: App, sink: SinkNow) -> SinkStatus:
    state = app.journal.states.get(sink.id)
    oldest = await app.journal.oldest_waiting_ms(sink.id) if state else None
    return SinkStatus(
        id=sink.id,
        state=sink.state,
        waiting=app.journal.waiting(sink.id) if state else 0,
        oldest_unsent_s=None if oldest is None else round(max(0.0, time.time() - oldest / 1000), 1),
        delivered=state.delivered if state else 0,
        quarantined=state.quarantined if state else 0,
        where=sink.where,
        error=sink.error,
        next_try_s=round(max(0.0, sink.next_try - time.time()), 1) if sink.state in AWAY else None,
        unconfirmed=app.journal.unconfirmed(sink.id) if state else 0,
    )


async def journal_stat(app: App) -> JournalStat:
    """The journal on disk."""
    stat = await app.journal.stat()
    journal = app.journal
    cursors = [
        SinkCursor(name, state.cursor.low, journal.waiting(name), journal.unconfirmed(name))
        for name, state in journal.states.items()
    ]
    return JournalStat(
        readings=stat.readings,
        first_time=_iso(stat.first_ms),
        last_time=_iso(stat.last_ms),
        bytes=stat.bytes,
        sinks=cursors,
        quarantined=stat.quarantined,
        thinned=stat.thinned,
        damaged_files=stat.damaged_files,
        written_per_day=app.journal.wear.per_day,
        daily_writes=app.journal.wear.budget,
        commit_window=app.journal.window,
        ahead_time=_iso(stat.ahead_ms),
    )


async def ledger(app: App, since_hour: int) -> list[LedgerRow]:
    """Rows by hour and device from `since_hour` (hours since 1970 UTC) on."""
    table = await app.journal.ledger(since_hour)
    return [_ledger_row(hour, device, row) for (hour, device), row in table.items()]


def _ledger_row(hour: int, device: str, row: Mapping[str, int]) -> LedgerRow:
    by: dict[str, dict[str, int]] = {"delivered": {}, "excluded": {}, "rejected": {}, "thinned": {}}
    for name, n in row.items():
        kind, _, of = name.partition(":")
        if of:
            by[kind][of] = n
    return LedgerRow(
        device=device,
        hour=_iso(hour * HOUR_S * 1000) or "",
        expected=row.get("expected", 0),
        read=row.get("read", 0),
        stored=row.get("stored", 0),
        delivered=by["delivered"],
        excluded=by["excluded"],
        quarantined=row.get("quarantined", 0),
        thinned=row.get("thinned", 0),
        rejected=by["rejected"],
        thinned_for=by["thinned"],
    )


def _iso(moment_ms: int | None) -> str | None:
    """Milliseconds since 1970 as RFC 3339 in UTC."""
    if moment_ms is None:
        return None
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
