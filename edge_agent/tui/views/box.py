"""Screen 8: the box itself: clock, power, heat, storage and its wear, addresses, services, versions, configuration."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from edge_agent.findings import Finding
from edge_agent.show import service_state
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Piece, Row, Span, fields, paragraph, row, stated
from edge_agent.tui.views.frame import Frame, as_old, away, left_of_trial, title, unknown
from edge_agent.tui.views.network import plugs

if TYPE_CHECKING:
    from edge_agent.box_now import BoxNow, PowerNow, StorageNow
    from edge_agent.trial_now import ConfigNow

HOT, WARM = 80.0, 70.0
"""Degrees Celsius: at the first a Raspberry Pi slows down."""
LITTLE = 15.0
"""Percent of the disk that should be free."""
MOST_AUDIT = 10
PARTS = ("clock", "power", "heat", "storage", "memory")
"""Kinds of findings that have a line here."""

Pairs = list[tuple[str, Piece]]


def rows(picture: Picture, frame: Frame) -> list[Row]:
    """The machine, the program, the configuration, and what was changed last."""
    found, box = away(picture, frame), picture.box.value
    told = len(found)
    if box is None:
        found += unknown(picture.box, picture, frame)
    else:
        pairs = as_old([*_machine(box, frame), *plugs(box, frame), *_services(box, frame)], picture, frame)
        found += [title(frame.text("tui.box.self"), frame.columns), *fields(pairs, frame.columns, _keys(frame))]
    config, now = _config(picture, frame), picture.config.value
    if now is not None and now.diff:  # what is being done now comes first
        found = [*found[:told], *config, row(), *found[told:]]
        return [*found, row(), *_program(picture, frame), *_changes(picture, frame)]
    return [*found, row(), *_program(picture, frame), row(), *config, *_changes(picture, frame)]


def item(finding: Finding) -> str:
    """The line for a finding: its own part of the machine, else the file that is to be corrected."""
    return finding.of if finding.of in PARTS else "storage" if finding.of == "journal" else "file"


def _keys(frame: Frame) -> dict[str, str]:
    return {frame.text(f"tui.box.{part}"): part for part in (*PARTS, "file")}


def _machine(box: BoxNow, frame: Frame) -> Pairs:
    text = frame.text
    clock = text("tui.box.synced" if box.clock.synced else "tui.box.unsynced", source=box.clock.source)
    pairs: Pairs = [
        (text("tui.box.clock"), stated("good" if box.clock.synced else "attention", clock)),
        (text("tui.box.power"), _power(box.power, frame)),
        (text("tui.box.heat"), _heat(box.celsius, frame)),
        (text("tui.box.storage"), _storage(box.storage, frame)),
        (text("tui.box.wear"), _wear(box.storage, frame)),
        (text("tui.box.load"), text("tui.box.load.of", load=box.load_1m, cpus=box.cpus)),
        (text("tui.box.machine_up"), text.duration(box.up_s)),
    ]
    if box.memory_available_mb is not None:
        pairs.insert(6, (text("tui.box.memory"), text.size(box.memory_available_mb * 1_000_000)))
    if box.model:
        pairs.append((text("tui.box.model"), box.model))
    return pairs


def _power(power: PowerNow, frame: Frame) -> Piece:
    if not power.known:
        return Span(frame.text("tui.box.unknown"), "dim")
    if power.low_now or power.throttled_now:
        return stated("bad", frame.text("tui.box.low_now" if power.low_now else "tui.box.throttled_now"))
    if power.low_before or power.throttled_before:
        return stated("attention", frame.text("tui.box.low_before" if power.low_before else "tui.box.throttled_before"))
    return stated("good", frame.text("tui.state.good"))


def _heat(celsius: float | None, frame: Frame) -> Piece:
    if celsius is None:
        return Span(frame.text("tui.box.unknown"), "dim")
    state = "bad" if celsius >= HOT else "attention" if celsius >= WARM else "good"
    return stated(state, f"{frame.text.number(celsius, 1)} °C")


def _storage(storage: StorageNow, frame: Frame) -> Piece:
    words = frame.text("tui.box.free", free=float(storage.free_bytes), pct=storage.free_pct, folder=storage.folder)
    if storage.read_only:
        return stated("bad", frame.text("tui.box.read_only", folder=storage.folder))
    return stated("attention" if storage.free_pct < LITTLE else "good", words)


def _wear(storage: StorageNow, frame: Frame) -> Piece:
    if storage.wear_pct is None:
        return Span(frame.text("tui.box.unknown"), "dim")
    return stated("attention" if storage.wear_pct >= 80 else "good", frame.text("tui.box.worn", pct=storage.wear_pct))


def _services(box: BoxNow, frame: Frame) -> Pairs:
    text = frame.text
    pairs: Pairs = []
    for service in box.services:
        state = {"active": "good", "failed": "bad"}.get(service.state, "left_out")
        words = text("tui.box.service", state=service_state(service.state, text), restarts=service.restarts)
        pairs.append((service.name, stated(state, words)))
    pairs += [(name, version) for name, version in box.versions.items()]
    return pairs


def _program(picture: Picture, frame: Frame) -> list[Row]:
    text, status = frame.text, picture.status.value
    pairs: Pairs = [(text("tui.box.file"), str(picture.file)), (text("tui.box.socket"), str(picture.socket))]
    if status is not None:
        site = f"{status.site} {status.name}".strip()
        head: Pairs = [(text("tui.box.site"), site), (text("tui.box.version"), status.version)]
        pairs = [*head, (text("tui.box.up"), text.duration(status.uptime_s)), *pairs]
    pairs = as_old(pairs, picture, frame)
    return [title(text("tui.box.program"), frame.columns), *fields(pairs, frame.columns, _keys(frame))]


def _config(picture: Picture, frame: Frame) -> list[Row]:
    """The configuration: whether a candidate is on trial, and what it changes."""
    now: ConfigNow | None = picture.config.value
    if now is None:
        return unknown(picture.config, picture, frame)
    found = [title(frame.text("tui.box.config"), frame.columns), *_standing(picture, frame, now)]
    for line in now.diff.splitlines():
        style = {"+": "good", "-": "bad", "@": "dim"}.get(line[:1], "")
        found += paragraph(line, frame.columns - 1, 1, style)
    return found


def _standing(picture: Picture, frame: Frame, now: ConfigNow) -> list[Row]:
    """On trial, gone back, refused, to be applied, or nothing; what can be done next is said only where it can."""
    text, columns = frame.text, frame.columns - 1
    if (left := left_of_trial(picture, frame)) is not None:
        return paragraph(f"▲ {text('tui.config.trial', name=now.trial_by, left=left)}", columns, 1, "attention")
    if now.problems or now.restart:
        why = now.problems or [text("trial.restart_needed", keys=", ".join(now.restart))]
        head = paragraph(f"✖ {text('tui.config.refused')}", columns, 1, "bad")
        return [*head, *(line for words in why for line in paragraph(words, columns, 3))]
    found: list[Row] = []
    if now.returned:
        words = text(f"tui.config.returned.{now.returned}", name=now.returned_by)
        found += paragraph(f"▲ {words}", columns, 1, "attention")
    elif not now.candidate:
        found += paragraph(text("tui.config.none"), columns, 1, "dim")
    if now.candidate is not None:
        found += paragraph(text("tui.config.next"), columns, 1, "strong")
    return found


def _changes(picture: Picture, frame: Frame) -> list[Row]:
    """Who maintains, and what was done last."""
    text, held = frame.text, picture.maintenance.value
    found = [row(), title(text("tui.box.changes"), frame.columns)]
    if held and held.name is not None:
        idle = held.idle_s + frame.now - (picture.maintenance.at or frame.now)
        found.append(row(f" {text('tui.box.held', name=held.name, idle=idle)}"))
    for done in (picture.audit.value or [])[:MOST_AUDIT]:
        moment = datetime.fromtimestamp(done.time, frame.wall.tzinfo).strftime("%d/%m %H:%M")
        words = " ".join(filter(None, (moment, done.by, done.action, done.about, f"({done.result})")))
        found += paragraph(words, frame.columns - 1, 1)
    if not picture.audit.value:
        found += paragraph(text("tui.box.no_changes"), frame.columns - 1, 1, "dim")
    return found
