"""From the running agent to facts: what `findings.py` judges. Reads what the parts already know, asks nobody anew
but the machine's own files and the meeting service next door.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.driver import Trouble
from drivers.meeting import MeetingWatch
from drivers.modbus import ModbusBus
from drivers.quarantine import Cause
from drivers.reading import NOT_READ, Reason
from drivers.unit import Unit
from edge_agent import facts
from edge_agent.board import Place
from edge_agent.box_now import BoxNow
from edge_agent.disk import cause
from edge_agent.rows import Stat
from edge_agent.status import AWAY
from edge_agent.text import Text

if TYPE_CHECKING:
    from drivers.mqtt import MqttConnection
    from drivers.settings import Bus
    from edge_agent.app import App
    from edge_agent.delivery import SinkNow

DAY_MS = 86_400_000
UNKNOWN_DAYS = 9999.0
EXPLAINED = NOT_READ - {Reason.waiting} | {Reason.clock_unsynced}
"""Reasons that the device's, the bus's or the clock's own finding tells."""
STATES = {f"device_{cause.value}": cause.value for cause in Cause}
FRESH_S = 900.0
"""Seconds for which a trial that went back, or a start after a power cut, is told."""


def of_drivers(app: App, now: float, text: Text) -> Iterator[facts.Facts]:
    """Buses, their devices, brokers."""
    buses = {bus.id: bus for bus in app.config.buses}
    brokers = app.brokers()
    for driver in app.drivers():
        troubles = driver.troubles()
        if isinstance(driver, ModbusBus):
            yield _bus(buses[driver.name], driver, troubles)
            yield from (_device(buses[driver.name], driver, unit, troubles) for unit in driver.units())
        elif broker := next((each for each in brokers if each is driver), None):
            yield from _broker(app, broker, troubles)
        elif isinstance(driver, MeetingWatch):
            yield from _meeting(app, troubles)
        elif driver.name != "clock":  # of_machine tells it
            yield from others(troubles, text, now)


def _bus(bus: Bus, driver: ModbusBus, troubles: Iterable[Trouble]) -> facts.Bus:
    away = next((t for t in troubles if t.subject == bus.id), None)
    states = [STATES.get(t.what, "") for t in troubles if t.subject != bus.id]
    silent = states.count("silent")
    return facts.Bus(
        subject=bus.id,
        since=away.since if away else min((t.since for t in troubles), default=0.0),
        where=bus.where,
        what=away.what if away else "",
        error=str(away.facts.get("error", "")) if away else "",
        serial=bus.is_serial,
        baud=bus.baud,
        framing=bus.framing,
        devices=len(bus.devices),
        silent=silent,
        garbled=states.count("garbled"),
        answering=_answering(driver.units()),
        all_silent=silent == len(bus.devices),
        ever=any(state.last_ok is not None for state in driver.devices.values()),
        echo=driver.hears_itself,
    )


def _device(bus: Bus, driver: ModbusBus, unit: Unit, troubles: Iterable[Trouble]) -> facts.Device:
    state, failure, asked = unit.state, unit.failure, _asked(unit)
    mine = next((t for t in troubles if t.subject == unit.device.id), None)
    lately = not failure and state.cause in (Cause.silent.value, Cause.late.value)
    answer = 1000 * (state.median or 0.0)
    others = [each for each in driver.units() if each is not unit]
    return facts.Device(
        subject=unit.device.id,
        since=mine.since if mine else (state.last_ok or 0.0) if lately else 0.0,
        bus=bus.id,
        where=bus.where,
        unit=unit.device.unit,
        profile=unit.device.profile,
        serial=bus.is_serial,
        baud=bus.baud,
        framing=bus.framing,
        state=STATES.get(mine.what, "") if mine else "",
        lately=lately,
        code=failure.code if failure else 0,
        partly=failure.partly if failure else False,
        ever=state.last_ok is not None,
        others=len(others),
        others_ok=_answering(others),
        asked=asked,
        ok=state.ok,
        timeouts=state.timeout,
        garbled=state.garbled + state.short,
        late=state.late,
        missed_pct=_share(state.timeout, asked),
        noise_pct=_share(state.garbled + state.short, asked),
        answer_ms=round(answer, 1),
        timeout_ms=round(1000 * bus.timeout, 1),
        answer_pct=round(100 * answer / (1000 * bus.timeout), 1),
    )


def _answering(units: Iterable[Unit]) -> int:
    return sum(unit.failure is None and unit.state.last_ok is not None for unit in units)


def _asked(unit: Unit) -> int:
    state = unit.state
    return state.ok + state.timeout + state.garbled + state.exception + state.short


def _share(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


def _broker(app: App, driver: MqttConnection, troubles: Iterable[Trouble]) -> Iterator[facts.Broker]:
    """One for each of its troubles, and one that says how it does."""
    counts = driver.counts
    known: dict[str, Any] = {
        "subject": driver.name,
        "where": driver.where,
        "connected": driver.connected,
        "subscriptions": next(len(each.subscriptions) for each in app.config.mqtt if each.id == driver.name),
        "messages": counts.messages,
        "not_subscribed": counts.not_subscribed,
        "unknown": len(counts.unknown),
        "field": next(iter(counts.unknown), ""),
        "up_s": time.monotonic() - app.started,
    }
    for trouble in troubles:
        told = {name: fact for name, fact in trouble.facts.items() if name in facts.Broker.__struct_fields__}
        yield facts.Broker(**(known | told | {"since": trouble.since, "what": trouble.what}))
    yield facts.Broker(**known)


def _meeting(app: App, troubles: list[Trouble]) -> Iterator[facts.Meeting]:
    """What it said last is among the points: this asks nothing. Guessing is told beside whatever else is wrong."""
    down = next((t for t in troubles if t.what == "meeting_down"), None)
    for trouble in troubles:
        if trouble.what == "meeting_codes_guessed":
            address = str(trouble.facts["address"])
            yield facts.Meeting(subject="meeting", since=trouble.since, guessed=True, address=address)
    values = {point.point: point.value for point in app.board.points() if point.point.startswith("meeting.meeting.")}

    def of(name: str) -> float:
        value = values.get(f"meeting.meeting.{name}")
        return float(value) if isinstance(value, int | float) else 0.0

    yield facts.Meeting(
        subject="meeting",
        since=down.since if down else 0.0,
        down=down is not None,
        error=str(down.facts.get("error", "")) if down else "",
        away=int(of("away")),
        weak=int(of("weak")),
        lag_ms=of("lag_ms"),
    )


def others(troubles: Iterable[Trouble], text: Text, now: float) -> Iterator[facts.Other]:
    """Troubles that have no kind of their own keep their own sentence."""
    for trouble in troubles:
        sentence = text(f"trouble.{trouble.what}", **{"ago": now - trouble.since, **trouble.facts})
        yield facts.Other(
            subject=trouble.subject,
            since=trouble.since,
            what=trouble.what,
            failed=trouble.failed,
            sentence=sentence,
        )


def of_values(places: Iterable[tuple[Place, Reason, float]], app: App, text: Text) -> Iterator[facts.Points]:
    """Points that are not good, by device and reason; what their device's own finding tells is left out."""
    groups: dict[tuple[str, Reason], list[tuple[Place, float]]] = defaultdict(list)
    for place, reason, since in places:
        if reason not in EXPLAINED:
            groups[place.source.device, reason].append((place, since))
    where = {device.id: bus.id for bus in app.config.buses for device in bus.devices}
    where |= {bus.id: bus.id for bus in app.config.buses}  # its own readings: how busy it is
    for (device, reason), group in groups.items():
        yield _points(app, text, reason, group, where.get(device, ""))


def _points(app: App, text: Text, reason: Reason, group: list[tuple[Place, float]], bus: str) -> facts.Points:
    place = group[0][0]
    quantity = place.source.quantities[place.index]
    own = app.limits(place.source).get(f"{quantity.measurement}.{quantity.field}")
    low = own.low if own and own.low is not None else quantity.low
    high = own.high if own and own.high is not None else quantity.high
    value = place.newest.values[place.index]
    number = text.number
    return facts.Points(
        subject=place.source.device,
        bus=bus,
        since=min((since for _, since in group if since), default=0.0),
        reason=reason.name,
        count=len(group),
        point=place.point,
        value=number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value or "–"),
        unit=quantity.unit,
        low="–" if low is None else number(low),
        high="–" if high is None else number(high),
    )


def of_sinks(app: App, stat: Stat, oldest: Mapping[str, float], text: Text) -> Iterator[facts.Sink]:
    """Where readings go. `oldest`: age in seconds of the oldest reading that waits, by sink."""
    days = room_days(stat, app.config.journal.max_bytes)
    for sink in app.sinks():
        state = app.journal.states.get(sink.id)
        yield facts.Sink(
            subject=sink.id,
            since=_since(sink),
            where=sink.facts.get("where", sink.where),
            state=sink.state,
            what=sink.what if sink.state in AWAY else "",
            dropped=sink.dropped,
            why=sink.dropped_why,
            error=sink.error or "",
            waiting=app.journal.waiting(sink.id) if state else 0,
            oldest_s=oldest.get(sink.id, 0.0),
            room_days=days,
            room=text("finding.works.unknown") if days == UNKNOWN_DAYS else text.duration(86_400 * days),
            quarantined=state.quarantined if state else 0,
            words=state.words if state else "",
            database=sink.facts.get("database", ""),
            name=sink.facts.get("name", ""),
            variable=sink.facts.get("variable", ""),
        )


def _since(sink: SinkNow) -> float:
    return sink.since if sink.state in AWAY else sink.dropped_since


def room_days(stat: Stat, max_bytes: int) -> float:
    """Days for which the journal still has room, at the rate of what is in it; UNKNOWN_DAYS in the first hour."""
    if not stat.first_ms or not stat.last_ms or stat.last_ms - stat.first_ms < DAY_MS / 24 or not stat.bytes:
        return UNKNOWN_DAYS
    per_day = stat.bytes / ((stat.last_ms - stat.first_ms) / DAY_MS)
    return round(max(0, max_bytes - stat.bytes) / per_day, 1)


def of_journal(app: App, stat: Stat) -> facts.Journal:
    """The readings on disk."""
    error = app.journal.error or ""
    return facts.Journal(
        subject="journal",
        since=app.journal.failing_since if error else 0.0,
        failing=app.journal.error is not None,
        error=error,
        cause=cause(error, app.config.state) if error else "",
        holding=app.journal.is_full,
        commit_ms=round(app.journal.commit_ms, 1),
        used_pct=_share(stat.bytes, app.config.journal.max_bytes),
        max_bytes=app.config.journal.max_bytes,
        thinned=stat.thinned,
        damaged=stat.damaged_files,
        folder=str(app.config.state),
    )


def of_machine(app: App, box: BoxNow | None, stat: Stat) -> Iterator[facts.Facts]:
    """The box itself; None: its disk does not answer."""
    if box is None:
        yield facts.Storage(subject="storage", folder=str(app.config.state), silent=True)
        return
    yield facts.Clock(
        subject="clock",
        state=app.clock.told.state,
        held=app.journal.held,
        step_s=round(app.clock.step_s, 1) if time.time() - app.clock.stepped_at < FRESH_S else 0.0,
        up_s=time.monotonic() - app.started,
        battery=box.clock.battery,
        before_journal=bool(stat.last_ms and box.clock.time * 1000 < stat.last_ms - 60_000),
        year=datetime.fromtimestamp(box.clock.time, UTC).year,
    )
    fresh = time.monotonic() - app.started < FRESH_S
    yield facts.Power(
        subject="power",
        low_now=box.power.low_now,
        low_before=box.power.low_before,
        throttled_now=box.power.throttled_now,
        capped_now=box.power.capped_now,
        throttled_before=box.power.throttled_before,
        unclean=fresh and app.ended == "cut",
        crashed=fresh and app.ended == "killed",
    )
    if box.celsius is not None:
        yield facts.Heat(subject="heat", celsius=box.celsius)
    yield facts.Storage(
        subject="storage",
        folder=box.storage.folder,
        free_pct=box.storage.free_pct,
        free_bytes=box.storage.free_bytes,
        files_free_pct=box.storage.files_free_pct,
        read_only=box.storage.read_only,
        wear_pct=box.storage.wear_pct or 0,
    )
    if box.memory_available_mb is not None:
        load = round(box.load_1m / box.cpus, 2)
        yield facts.Memory(subject="memory", available=box.memory_available_mb * 1e6, load_per_cpu=load)


def of_settings(app: App) -> Iterator[facts.Facts]:
    """The configuration: its trial, why a new one is not used, what it asks for in vain."""
    file, note = str(app.config.file), app.trial.note
    if note and not note.returned:
        yield facts.Settings(subject="config", since=note.began, what="trial", left_s=app.trial.left_s, who=note.by)
    elif note and note.returned != "asked" and time.time() - note.deadline < FRESH_S:  # on wish is no trouble
        yield facts.Settings(subject="config", since=note.deadline, what="returned", file=file, who=note.by)
    if refused := app.refused:
        told = {name: fact for name, fact in refused.facts.items() if name in facts.Settings.__struct_fields__}
        known: dict[str, Any] = {"subject": "config", "since": refused.since, "what": refused.what, **told}
        yield facts.Settings(**known)
    for path, word in app.config.not_built():
        yield facts.Settings(subject=path, what="not_built", path=path, word=word)
    for trouble in app.failed_parts():
        yield facts.Program(subject=trouble.subject, since=trouble.since, error=str(trouble.facts.get("error", "")))


def certificates(app: App) -> Iterator[facts.Certificate]:
    """The box's own certificates that the configuration names. Reads files: call it in a thread."""
    named = [broker.cert for broker in app.config.mqtt if broker.cert]
    if app.config.meeting and app.config.meeting.cert:
        named.append(app.config.meeting.cert)
    for file in dict.fromkeys(named):
        days = _days(file)
        yield facts.Certificate(subject="certificate", file=str(file), days=days or 0.0, readable=days is not None)


def _days(file: Path) -> float | None:
    from cryptography import x509  # 60 ms to import, and most boxes have no certificate

    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return None
    return round((certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86_400, 1)
