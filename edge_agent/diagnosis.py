"""What is wrong with this box now, asked of all its parts at once: the verdict and the findings, worst first."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from edge_agent import gather
from edge_agent.box_now import BoxNow
from edge_agent.facts import Certificate, Facts
from edge_agent.findings import Finding, Findings, judge
from edge_agent.machine import look
from edge_agent.text import Text

if TYPE_CHECKING:
    from edge_agent.app import App

PATIENCE = 2.0
"""Seconds that the machine's files have to answer; a card that hangs must not hang the answer."""
KEEP = 10.0
"""Seconds for which what was read of the machine is used again."""


class Machine:
    """The machine's own state, read in a thread of its own and kept for a while."""

    def __init__(self, app: App) -> None:
        """Nothing is read yet."""
        self._app = app
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="machine")
        self._asked: asyncio.Future[tuple[BoxNow, list[Certificate]]] | None = None
        self._asked_at = 0.0

    async def now(self) -> tuple[BoxNow | None, list[Certificate]]:
        """The machine and the certificates; None while the disk does not answer."""
        old = time.monotonic() - self._asked_at > KEEP
        if self._asked is None or (self._asked.done() and old):
            self._asked_at = time.monotonic()
            self._asked = asyncio.get_running_loop().run_in_executor(self._thread, self._read)
        done, _ = await asyncio.wait([self._asked], timeout=PATIENCE)
        return self._asked.result() if done else (None, [])

    def _read(self) -> tuple[BoxNow, list[Certificate]]:
        return look(self._app.config.state), list(gather.certificates(self._app))

    def close(self) -> None:
        """Wait for nothing: a card that hangs would never let go."""
        self._thread.shutdown(wait=False)


async def facts(app: App, text: Text) -> list[Facts]:
    """Everything that is known; what is already in words is in those of `text`."""
    now = time.time()
    stat = await app.journal.stat()
    box, certificates = await app.machine.now()
    ages = {sink: await app.journal.oldest_waiting_ms(sink) for sink in app.journal.states}
    oldest = {sink: max(0.0, now - at / 1000) for sink, at in ages.items() if at is not None}
    return [
        *gather.of_drivers(app, now, text),
        *gather.of_values(app.board.wrong(), app, text),
        *gather.of_sinks(app, stat, oldest, text),
        gather.of_journal(app, stat),
        *gather.of_machine(app, box, stat),
        *gather.of_settings(app),
        *certificates,
    ]


async def findings(app: App, text: Text | None = None) -> list[Finding]:
    """What is wrong, worst first; in another language than the box's where one is given."""
    return judge(await facts(app, text or app.text), text or app.text, time.time())


def summed(found: list[Finding], verdict: str, text: Text) -> Findings:
    """With the verdict in words."""
    count = sum(each.severity != "info" for each in found)
    return Findings(verdict, text(f"verdict.{verdict}", count=count), found)
