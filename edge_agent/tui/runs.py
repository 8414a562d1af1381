"""Commands of `edge` run beside the screen, their lines shown as they come; long work can be stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

MOST_LINES = 2_000
"""Of one run; older ones are let go."""
LEAVING = 3.0
"""Seconds that a command may take to leave things in order."""
LONGEST_LINE = 1 << 16
LINES, MARK = {"EDGE_PROGRESS": "lines"}, "\x1e"
"""As `bench_ask.Bar` takes them, which is not imported here; a test holds them together."""


def report_file(wall: datetime) -> Path:
    """Where a support bundle of this moment goes: here, or where anybody may write."""
    folder = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
    return folder / f"edge-report-{wall:%Y%m%d-%H%M%S}.tar.gz"


def manner(language: str, columns: int) -> dict[str, str]:
    """How a command speaks: of wrong arguments, which come before the file with its language; in lines so long."""
    return {"EDGE_LANGUAGE": language, "COLUMNS": str(columns)}


PLAINLY: Mapping[str, str] = {}
"""As at a shell."""


class Progress(msgspec.Struct, frozen=True):
    """How far long work is."""

    done: int
    total: int
    words: str


class Run:
    """The newest run of one screen."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self.words: tuple[str, ...] = ()
        self.lines: deque[str] = deque(maxlen=MOST_LINES)
        self.running = False
        self.at: float | None = None
        """Monotonic seconds of its end."""
        self.begun = 0.0
        """Monotonic seconds of its start."""
        self.progress: Progress | None = None
        """Where the command tells it, while it runs."""
        self._process: asyncio.subprocess.Process | None = None

    async def go(
        self,
        words: Sequence[str],
        file: Path,
        now: Callable[[], float],
        told: Callable[[], None],
        manner: Mapping[str, str] = PLAINLY,
    ) -> int:
        """Run `edge WORDS -c FILE` to its end; `told` is called after each line. Gives its exit code.

        `manner`: see `manner`.
        """
        self.words, self.running, self.at = tuple(words), True, None
        self.begun, self.progress = now(), None
        self.lines.clear()
        command = [sys.executable, "-m", "edge_agent", *words, "-c", str(file)]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=LONGEST_LINE,
                env={**os.environ, **LINES, **manner},
            )
            return await self._read(self._process, told)
        finally:
            await self._end()
            self.running, self.at, self.progress = False, now(), None

    async def _read(self, process: asyncio.subprocess.Process, told: Callable[[], None]) -> int:
        assert process.stdout is not None
        async for line in process.stdout:
            self._take(line.decode("utf-8", "replace").rstrip())
            told()
        return await process.wait()

    def _take(self, line: str) -> None:
        """A line of its answer, or how far it is."""
        if not line.startswith(MARK):
            self.lines.append(line)
            return
        done, total, words = line.removeprefix(MARK).split(" ", 2)
        self.progress = Progress(int(done), int(total), words)

    def left(self, now: float) -> float | None:
        """Seconds that it will still take, by what it took so far; None: it does not tell, or has only begun."""
        if not self.running or self.progress is None or not self.progress.done:
            return None
        return (now - self.begun) * (self.progress.total - self.progress.done) / self.progress.done

    def stop(self) -> None:
        """As Ctrl-C would."""
        if self._process and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    async def _end(self) -> None:
        """Nothing runs on after the screen."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.stop()
        try:
            async with asyncio.timeout(LEAVING):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
