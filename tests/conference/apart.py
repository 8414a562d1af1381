"""A meeting in a process of its own, as on a box, so that its processor time, descriptors and log can be looked at."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from conference.settings import Settings
from tests.conference.live import Live

FILES = 1_024
"""Descriptors that the meeting may open."""
SERVE = """\
import asyncio, gc, json, logging, sys
import uvloop
from conference import server
from conference.settings import Settings

def ready(port):
    gc.freeze()
    print(port, flush=True)

logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
settings = Settings.model_validate(json.loads(sys.argv[1]))
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(server.run(settings, ready))
"""


class Apart(Live):
    """The running process."""

    def __init__(self, settings: Settings, port: int, session: aiohttp.ClientSession, pid: int, log: Path) -> None:
        super().__init__(settings, port, session)
        self.pid = pid
        self._log = log

    def cpu(self) -> float:
        """Seconds of processor time it has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def lines(self) -> list[str]:
        """What it has logged."""
        return self._log.read_text().splitlines()


@contextlib.asynccontextmanager
async def apart(folder: Path, **settings: Any) -> AsyncIterator[Apart]:
    """Serve on a free port of 127.0.0.1 while the block runs; the process must still be alive at its end."""
    told = {"listen": "127.0.0.1:0", "state": str(folder), **settings}
    log = folder / "meet.log"
    process = _started(json.dumps(told), log)
    assert process.stdout is not None
    try:
        port = int(await asyncio.to_thread(process.stdout.readline))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
            yield Apart(Settings.model_validate(told), port, session, process.pid, log)
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)
        process.stdout.close()


def _started(settings: str, log: Path) -> subprocess.Popen[bytes]:
    few = ["prlimit", f"--nofile={FILES}:{FILES}"]
    with log.open("wb") as errors:
        return subprocess.Popen([*few, sys.executable, "-c", SERVE, settings], stdout=subprocess.PIPE, stderr=errors)
