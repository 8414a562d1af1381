"""The agent's state folder: one agent at a time in it, how the run before ended, and the journal that is there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from edge_agent.config import Config
from edge_agent.journal import Journal
from edge_agent.schema import NewerJournal
from edge_agent.store import Store
from edge_agent.thin import Policy, condition

RUNNING = "running"
"""File in the state folder while the agent runs."""


class CannotStart(Exception):
    """The agent cannot run here now."""

    def __init__(self, what: str, **facts: str | int) -> None:
        """`what`: which sentence `run.<what>`; `facts`: its placeholders."""
        super().__init__(what)
        self.what = what
        self.facts = facts


def hold(state: Path) -> IO[str]:
    """Hold the state folder for this process; the kernel lets go of it however the process ends."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / "lock").open("a+")
    except OSError as error:
        raise CannotStart("state_not_writable", path=str(state), error=error.strerror or str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        pid = lock.read().strip() or "?"
        lock.close()
        raise CannotStart("already_running", path=str(state), pid=pid) from error
    with contextlib.suppress(OSError):  # on a full disk the number is missing, the lock holds all the same
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    return lock


def mark_running(state: Path) -> str:
    """Leave a mark that a clean end takes away; how the run that left the one before ended."""
    mark, boot = state / RUNNING, boot_id()
    try:
        before = mark.read_text(encoding="ascii").strip() if mark.exists() else ""
        mark.write_text(boot, encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return "well"  # on a full or read-only disk the rest of the program has more to say
    if not before:
        return "well"
    return "killed" if before == boot else "cut"


@asynccontextmanager
async def journal_alone(config: Config) -> AsyncIterator[Journal]:
    """The journal without an agent, for the tools. Raises CannotStart, also where an agent runs."""
    lock = hold(config.state)
    try:
        settings = config.journal
        journal = Journal(open_store(config), takes(config), settings.commit_window, settings.keep_days)
        try:
            yield journal
        finally:
            await journal.close()
    finally:
        lock.close()


def open_store(config: Config) -> Store:
    path = config.state / "journal.db"
    try:
        alarms = tuple(condition(alarm.when) for alarm in config.alarms)
        policy = Policy(int(config.journal.thin * 1000), alarms)
        return Store(path, config.site, boot_id(), config.journal.max_bytes, policy)
    except NewerJournal as error:
        raise CannotStart("newer_journal", path=str(path), error=str(error)) from error
    except (sqlite3.Error, OSError) as error:
        raise CannotStart("journal_unusable", path=str(path), error=str(error)) from error


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def takes(config: Config) -> Mapping[str, tuple[str, ...]]:
    """What each sink takes: measurements, empty for all."""
    return {sink.id: sink.only for sink in config.sinks if sink.influxdb}
