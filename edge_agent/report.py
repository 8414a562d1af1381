"""The support bundle: what somebody far away needs to see what is wrong here, as one tar.gz without a secret in it.

Made by the agent; `edge report` writes it, and makes a smaller one by itself where no agent answers.
"""

from __future__ import annotations

import io
import sqlite3
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent import diagnosis, status
from edge_agent.config import Config
from edge_agent.findings import Finding
from edge_agent.redact import Redactor
from edge_agent.uplink import uplinks

if TYPE_CHECKING:
    from edge_agent.app import App

LEDGER_HOURS = 48
NOBODY = {"root", "edge-agent", "?"}
"""Names that stand for no person."""
MOST_BYTES = 4 << 20
"""Of one file in the bundle; its end is what counts."""


async def bundle(app: App) -> bytes:
    """The bundle of a running agent."""
    names = {name for done in app.audit.newest() for name in (done.by, done.user)} - NOBODY
    hide = Redactor(app.config, names)
    box, _ = await app.machine.now()
    hour = int(time.time() / status.HOUR_S) - LEDGER_HOURS
    found = await diagnosis.findings(app)
    now = await status.status(app)
    parts: dict[str, object] = {
        "status.json": now,
        "findings.json": found,
        "points.json": app.board.points(),
        "trends.json": app.board.trends(),
        "box.json": box,
        "uplink.json": await uplinks(app),
        "journal.json": await status.journal_stat(app),
        "ledger.json": await _ledger(app, hour),
        "log.json": app.logbook.since(0),
        "audit.json": app.audit.newest(),
    }
    files = {name: _json(part) for name, part in parts.items()}
    files["summary.txt"] = _summary(now, found)
    return pack({**files, **_texts(app.config)}, hide)


async def _ledger(app: App, since_hour: int) -> object:
    """Or why the disk does not give it: that is when somebody asks for a bundle."""
    try:
        return await status.ledger(app, since_hour)
    except sqlite3.Error as error:
        return {"error": str(error)}


def without_agent(config: Config | None, file: Path) -> bytes:
    """What can be told while no agent runs: the configuration, as far as it can be read, and the machine."""
    from edge_agent.machine import look

    files = {"box.json": _json(look(config.state if config and config.state.is_dir() else Path("/")))}
    files["agent.yaml"] = _read(file)
    return pack(files, Redactor(config))


def pack(files: Mapping[str, str], hide: Redactor) -> bytes:
    """A tar.gz in a folder of its own, every file without secrets."""
    out = io.BytesIO()
    folder = time.strftime("edge-report-%Y%m%d-%H%M%S", time.gmtime())
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in sorted(files.items()):
            body = hide(text).encode()[-MOST_BYTES:]
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(body), int(time.time()), 0o600
            tar.addfile(entry, io.BytesIO(body))
    return out.getvalue()


def _summary(now: status.Status, found: list[Finding]) -> str:
    lines = [f"{now.site} {now.name} edge {now.version}: {now.verdict}", ""]
    for each in found:
        lines.append(f"[{each.severity}] {each.key} {each.subject}: {each.sentence}")
        lines += [f"    {number}. {step}" for number, step in enumerate(each.steps, 1)]
    return "\n".join(lines) + "\n"


def _texts(config: Config) -> dict[str, str]:
    """The configuration and the profiles of this site's own devices."""
    found = {"agent.yaml": _read(config.file), "candidate.yaml": _read(config.state / "config" / "candidate.yaml")}
    for folder in config.profiles:
        found |= {f"devices/{file.name}": _read(file) for file in sorted(folder.glob("*.yaml"))}
    return {name: text for name, text in found.items() if text}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json(part: object) -> str:
    return msgspec.json.format(msgspec.json.encode(part), indent=1).decode()
