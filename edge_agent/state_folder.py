"""The agent's state folder: one agent at a time in it, how the run before ended, and the journal that is there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from edge_agent.config import Config
from edge_agent.journal import Journal
from edge_agent.schema import NewerJournal
from edge_agent.store import Store
from edge_agent.thin import Policy, condition

DISK = frozenset({errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EUCLEAN})
"""Errors of a disk that may take writes again: the agent starts all the same."""
RUNNING = "running"
"""File in the state folder while the agent runs."""


class CannotStart(Exception):
    """The agent cannot run here now."""

    def __init__(self, what: str, **facts: str | int) -> None:
        """`what`: which sentence `run.<what>`; `facts`: its placeholders."""
        super().__init__(what)
        self.what = what
        self.facts = facts


def hold(state: Path) -> ExitStack:
    """Hold the folder for this process until closed; the kernel lets go of it however the process ends.

    Held is the folder itself, which also a full or read-only disk allows. Raises CannotStart.
    """
    held = ExitStack()
    try:
        state.mkdir(parents=True, exist_ok=True)
        folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
        held.callback(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _leave_number(state / "lock")
    except BlockingIOError as error:
        held.close()
        raise CannotStart("already_running", path=str(state), pid=_number(state / "lock")) from error
    except OSError as error:
        held.close()
        raise CannotStart("state_not_writable", path=str(state), error=error.strerror or str(error)) from error
    return held


def _leave_number(file: Path) -> None:
    """For whoever finds the folder held. A disk that takes nothing is no reason not to start."""
    try:
        file.write_text(str(os.getpid()), encoding="ascii")
    except OSError as error:
        if error.errno not in DISK:
            raise


def _number(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip() or "?"
    except (OSError, UnicodeDecodeError):
        return "?"


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


def end_running(state: Path) -> None:
    """Take the mark away."""
    with contextlib.suppress(OSError):  # on a read-only disk it stays: then the next start thinks of a crash
        (state / RUNNING).unlink(missing_ok=True)


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


def open_store(config: Config, *, patient: bool = False) -> Store:
    """The journal's file; `patient`: a disk that does not let it be opened is waited for. Raises CannotStart."""
    path = config.state / "journal.db"
    try:
        alarms = tuple(condition(alarm.when) for alarm in config.alarms)
        policy = Policy(int(config.journal.thin * 1000), alarms)
        return Store(path, config.site, boot_id(), config.journal.max_bytes, policy, patient=patient)
    except NewerJournal as error:
        raise CannotStart("newer_journal", path=str(path), error=str(error)) from error
    except (sqlite3.Error, OSError) as error:
        raise CannotStart("journal_unusable", path=str(path), error=str(error)) from error


def boot_id() -> str:
    """The kernel's name for the time since it started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def takes(config: Config) -> Mapping[str, tuple[str, ...]]:
    """What each sink takes: measurements, empty for all."""
    return {sink.id: sink.only for sink in config.sinks if sink.influxdb}
