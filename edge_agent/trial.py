"""A changed configuration on trial: checked, applied, and confirmed within two minutes, or the old one comes back.

During the trial the configuration file is untouched: the candidate runs from the state folder. So the way back cannot
fail: a power cut, a crash or a restart begins with the old file, and else the old configuration is still in memory.
Only the confirmation replaces the file, at one stroke.
Always on disk before anything is applied: the candidate, the text that ran before it, and the deadline. A step reads
and writes files beside the event loop: a large configuration takes seconds, and so does a card that stalls.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from drivers import files
from drivers.marked import Problems
from edge_agent import config as configuration
from edge_agent.config import FIXED, Config, render
from edge_agent.text import texts
from edge_agent.trial_now import Candidate, ConfigNow

if TYPE_CHECKING:
    from edge_agent.redact import Redactor

log = logging.getLogger("edge.config")

CONFIRM_S = 120.0
"""Seconds within which a change must be confirmed."""
AGAIN_S = 5.0
"""Seconds until the next try where the journal could not take over the old sinks: the card may be busy."""
REFUSED_S = 900.0
"""Seconds for which a candidate that cannot be tried is told of."""
NONE = Candidate(True, [], "", [], True)
"""No candidate was refused."""


class Note(msgspec.Struct, frozen=True):
    """What is kept on disk of a trial, from the moment before it begins (`trial.json`)."""

    by: str
    began: float
    deadline: float
    """Unix seconds."""
    returned: str = ""
    """Empty while it runs; then why it went back: time, restart, asked."""


class _Compared(msgspec.Struct, frozen=True):
    """What was last compared, under what runs (whose secrets are hidden), and how it is shown."""

    running: Config
    before: str
    after: str
    shown: str


class Refused(Exception):
    """It cannot be done; `what` names the sentence `trial.<what>`."""

    def __init__(self, what: str, **facts: str) -> None:
        """`facts`: placeholders of the sentence."""
        super().__init__(what)
        self.what, self.facts = what, facts


class Trial:
    """The candidate and its trial, one at a time."""

    def __init__(self, state: Path, running: Callable[[], Config], adopt: Callable[[Config], Awaitable[bool]]) -> None:
        """`running`: what runs now; `adopt`: run another, False where it could not be taken over."""
        self._folder = state / "config"
        self._running, self._adopt = running, adopt
        self._note = self._read_note()
        self._old = running()
        """What ran before the trial."""
        self._before_it, self._applied = "", ""
        """The file's text, and the candidate's, that is on trial in its place."""
        self._compared = _Compared(self._old, "", "", "")
        self._refused = NONE
        """The newest candidate, where it cannot be tried; it is not kept on disk, for it may hold a password."""
        self._refused_at = 0.0
        self._timer: asyncio.Task[None] | None = None
        self.steps = asyncio.Lock()
        """Held for each step, and while the file is read again."""
        if self._note and not self._note.returned:
            self._after_restart(self._note)

    # --- questions ---

    @property
    def left_s(self) -> float:
        """Seconds to confirm; 0: no trial."""
        return max(0.0, self._note.deadline - time.time()) if self._on() and self._note else 0.0

    @property
    def note(self) -> Note | None:
        """The trial that runs, or the one that went back last and has not been followed by another."""
        return self._note

    async def now(self) -> ConfigNow:
        """Everything."""
        text, candidate, shown = await asyncio.to_thread(self._on_disk)
        file, note = self._running().file, self._note
        if time.monotonic() - self._refused_at > REFUSED_S:
            self._refused = NONE
        return ConfigNow(
            file=str(file),
            text=text,
            candidate=candidate,
            diff=shown if candidate is not None else self._refused.diff,
            trial_by=note.by if note and self._on() else None,
            left_s=round(self.left_s, 1),
            returned=note.returned if note else "",
            returned_by=note.by if note and note.returned else "",
            returned_at=note.deadline if note and note.returned else 0.0,
            problems=self._refused.problems,
            restart=self._refused.restart,
        )

    def _on_disk(self) -> tuple[str, str | None, str]:
        """Text of the file (empty: it cannot be read), candidate, and what that changes."""
        text, candidate = _text(self._running().file) or "", _text(self._candidate)
        return text, candidate, "" if candidate is None else self._shown(candidate)

    # --- steps ---

    async def propose(self, text: str) -> Candidate:
        """Say what is wrong with a candidate and what it changes, and keep it where it can be tried. Raises Refused."""
        async with self.steps:
            if self._on():
                raise Refused("on_trial", who=self._note.by if self._note else "")
            found = await asyncio.to_thread(self._proposed, text)
            self._refused = msgspec.structs.replace(found, diff="") if found.usable else found
            self._refused_at = time.monotonic()
            return found

    def _proposed(self, text: str) -> Candidate:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._candidate.unlink(missing_ok=True)
        found = self._looked_at(text)
        if found.usable:
            _write(self._candidate, text)
        return found

    def _looked_at(self, text: str) -> Candidate:
        running = self._running()
        shown, writable = self._shown(text), os.access(running.file.parent, os.W_OK)
        try:
            config = self._read(text)
        except Problems as problems:
            hidden = _redactor(running)
            lines = [hidden(line) for line in render(problems.problems, texts(running.language))]
            return Candidate(False, lines, shown, [], writable)
        restart = [name for name in FIXED if getattr(config, name) != getattr(running, name)]
        return Candidate(not restart, [], shown, restart, writable)

    def _read(self, text: str) -> Config:
        """As if it stood in the file. Raises Problems."""
        path = self._folder / "proposed.yaml"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        try:
            return self._load(path)
        finally:
            path.unlink()

    def _shown(self, text: str) -> str:
        """What a candidate changes, without the passwords that somebody wrote into it.

        Compared anew only where it or the file is another text: the terminal asks every second.
        """
        running = self._running()
        before, last = _text(running.file) or "", self._compared
        if last.running is not running or (last.before, last.after) != (before, text):
            shown = diff(before, text, running.file.name, _redactor(running))
            self._compared = last = _Compared(running, before, text, shown)
        return last.shown

    async def apply(self, by: str, seconds: float = CONFIRM_S) -> None:
        """Run the candidate until it is confirmed, `seconds` at most, or the old one again. Raises Refused, OSError."""
        async with self.steps:
            if self._on():
                raise Refused("on_trial", who=self._note.by if self._note else "")
            before, text, config = await asyncio.to_thread(self._ready)
            now, self._old = time.time(), self._running()
            note = Note(by, now, now + seconds)
            await asyncio.to_thread(self._keep, note)
            self._note, self._before_it, self._applied = note, before, text
            log.warning("configuration on trial by=%s seconds=%.0f", by, seconds)
            self._begin_timer(seconds, "time")
            if not await self._adopt(config):
                self._end_timer()
                await self._end("asked")
                raise Refused("not_adopted")

    async def confirm(self) -> None:
        """Keep it: the file is replaced at one stroke. Raises Refused."""
        async with self.steps:
            if not self._on() or not self._applied:
                raise Refused("no_trial")
            file = self._running().file
            try:
                await asyncio.to_thread(self._confirmed, file)
            except OSError as error:
                raise Refused("not_writable", file=str(file), error=error.strerror or str(error)) from error
            self._end_timer()
            self._note, self._applied = None, ""
            log.warning("configuration confirmed file=%s", file)

    def _confirmed(self, file: Path) -> None:
        if _text(file) not in (self._before_it, self._applied, None):
            raise Refused("file_changed", file=str(file))
        _write(file, self._applied)
        self._forget()

    async def back(self) -> None:
        """Run the old one again, now. Raises Refused."""
        async with self.steps:
            if not self._on():
                raise Refused("no_trial")
            if not await self._return("asked"):
                self._end_timer()
                self._begin_timer(AGAIN_S, "asked")
                raise Refused("not_back")
            self._end_timer()

    async def overtaken(self) -> None:
        """The file was read again (with `steps` held) and is what runs now: a trial is over."""
        if self._on():
            self._end_timer()
            await self._end("asked")

    # --- how ---

    @property
    def _candidate(self) -> Path:
        return self._folder / "candidate.yaml"

    @property
    def _before(self) -> Path:
        return self._folder / "before.yaml"

    def _on(self) -> bool:
        return self._note is not None and not self._note.returned

    def _load(self, path: Path) -> Config:
        return configuration.load(path, stands_for=self._running().file)

    def _usable(self) -> tuple[str, Config]:
        running = self._running()
        if self._refused.problems:
            raise Refused("faulty", count=str(len(self._refused.problems)))
        if self._refused.restart:
            raise Refused("restart_needed", keys=", ".join(self._refused.restart))
        if not (text := _text(self._candidate)):
            raise Refused("no_candidate")
        if error := _unwritable(running.file.parent):
            raise Refused("not_writable", file=str(running.file), error=error)
        try:
            config = self._read(text)
        except Problems as problems:
            raise Refused("faulty", count=str(len(problems.problems))) from None
        if restart := [name for name in FIXED if getattr(config, name) != getattr(running, name)]:
            raise Refused("restart_needed", keys=", ".join(restart))
        return text, config

    def _ready(self) -> tuple[str, str, Config]:
        """The file's text, which must be what runs and is the way back; the candidate's, and what that means."""
        (text, config), running = self._usable(), self._running()
        try:
            same = self._load(running.file) == running
        except Problems:
            same = False
        if not same:
            raise Refused("file_changed", file=str(running.file))
        before = running.file.read_text(encoding="utf-8")
        _write(self._before, before)
        return before, text, config

    def _begin_timer(self, seconds: float, why: str) -> None:
        self._timer = asyncio.create_task(self._expire(seconds, why), name="config-trial")

    async def _expire(self, seconds: float, why: str) -> None:
        returned = False
        while not returned:
            await asyncio.sleep(seconds)
            seconds = AGAIN_S
            async with self.steps:
                returned = await self._return(why)

    async def _return(self, why: str) -> bool:
        """Run the old one again, from memory; False: it could not be taken over now, and the candidate runs on."""
        if not self._on():
            return True
        if not await self._adopt(self._old):
            log.warning("configuration cannot go back yet why=%s", why)
            return False
        await self._end(why)
        return True

    async def _end(self, why: str) -> None:
        """It went back, unless that is known already."""
        if self._on() and self._note:
            log.warning("configuration went back why=%s by=%s", why, self._note.by)
            self._note = msgspec.structs.replace(self._note, returned=why, deadline=time.time())
            await asyncio.to_thread(self._try_to_keep, self._note)

    def _end_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _keep(self, note: Note) -> None:
        """First on disk: a trial that cannot be noted does not begin. Raises OSError."""
        _write(self._folder / "trial.json", msgspec.json.encode(note).decode())

    def _try_to_keep(self, note: Note) -> None:
        """On a card that takes nothing it is known until the next start, which then says the same once more."""
        try:
            self._keep(note)
        except OSError as error:
            log.warning("trial not noted error=%s", error.strerror)

    def _after_restart(self, note: Note) -> None:
        """The power failed in a trial: it went back, unless it failed while the file had just been replaced."""
        if _text(self._running().file) == _text(self._candidate):
            self._note = None
            self._forget()
            return
        log.warning("configuration went back why=restart by=%s", note.by)
        self._note = msgspec.structs.replace(note, returned="restart")
        self._try_to_keep(self._note)

    def _forget(self) -> None:
        """It was confirmed. The candidate last: as long as it is the file, no start says that it went back."""
        try:
            (self._folder / "trial.json").unlink(missing_ok=True)
            self._candidate.unlink(missing_ok=True)
        except OSError as error:
            log.warning("trial not forgotten error=%s", error.strerror)

    def _read_note(self) -> Note | None:
        try:
            return msgspec.json.decode((self._folder / "trial.json").read_bytes(), type=Note)
        except (OSError, ValueError):  # msgspec's errors are of the latter, and so is a text that is not UTF-8
            return None


def _redactor(config: Config) -> Redactor:
    from edge_agent.redact import Redactor  # its patterns are wanted only where a change is looked at

    return Redactor(config)


def diff(before: str, after: str, name: str, hide: Callable[[str], str]) -> str:
    """What changes, line by line, as `hide` shows it: the whole text, for a piece of it may not tell a secret."""
    from difflib import SequenceMatcher  # hardly ever wanted

    old, new = before.splitlines(), after.splitlines()
    shown, lines = (hide(before).splitlines(), hide(after).splitlines()), [f"--- {name}", f"+++ {name} (new)"]
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes():
        (_, top, _, first, _), (_, _, bottom, _, last) = group[0], group[-1]
        lines.append(f"@@ -{top + 1},{bottom - top} +{first + 1},{last - first} @@")
        for kind, a, b, c, d in group:
            lines += [f" {line}" for line in shown[0][a:b] if kind == "equal"]
            lines += [f"-{line}" for line in shown[0][a:b] if kind != "equal"]
            lines += [f"+{line}" for line in shown[1][c:d] if kind != "equal"]
    return "\n".join(lines) if len(lines) > 2 else ""


def _unwritable(folder: Path) -> str:
    """Why no file can be replaced there; empty: it can."""
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    return os.strerror(errno.EROFS if read_only else errno.EACCES)


def _text(path: Path) -> str | None:
    """None: it cannot be read, or is no text (a card may give anything back)."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> None:
    """All or nothing, and on disk when it returns. Raises OSError."""
    files.replace(path, text.encode())
    files.sync_folder(path.parent)
