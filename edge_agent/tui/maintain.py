"""The right to change something: one technician at a time, by name, as long as this terminal shows signs of life."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.client import Failed, NotAllowed, NotRunning
from edge_agent.maintain import Held, Maintenance
from edge_agent.text import Text
from edge_agent.trial_now import Candidate, ConfigNow
from edge_agent.tui.ask import NotThere, Refused, Silent, ask
from edge_agent.tui.picture import Picture

RENEW = 30.0
"""Seconds between signs of life."""
STEPS = ("apply", "confirm", "back")
"""What can be done with a candidate, by their routes."""
YES = ("y", "yes", "c", "co", "có")
"""Answers that mean it."""

RESTARTS = {"box": "/restart", "meeting": "/meeting/restart"}
"""By screen: whose service it is."""
TRIES = 60
"""Seconds in which a restarted agent is looked for."""


class Cannot(Exception):
    """It was not done; the message is for the person."""


class _Wish(msgspec.Struct, frozen=True):
    name: str
    steal: bool = False


def said_of(found: Candidate, file: Path, text: Text) -> list[str]:
    """What there is to say of a candidate for this file."""
    unwritable = [] if found.writable else [text("tui.config.unwritable", file=str(file))]
    return [*unwritable, *found.problems, *found.restart] or [text("tui.config.ready")]


def why_not(why: Cannot | OSError, file: str, text: Text) -> str:
    """Why a candidate could not be looked at."""
    if isinstance(why, FileNotFoundError):
        return text("tui.config.no_file", file=file)
    return f"{file}: {why.strerror}" if isinstance(why, OSError) else str(why)


class Maintain:
    """The lock as this terminal has it."""

    def __init__(self, picture: Picture, name: str) -> None:
        """`name`: of the technician; empty: only looks."""
        self._picture, self.name = picture, name
        self._token = ""

    @property
    def held(self) -> bool:
        """True while things may be changed from here."""
        return bool(self._token)

    async def take(self, *, steal: bool) -> str:
        """Get the lock; gives who had it before. Raises Cannot, with the holder's name, where it is taken."""
        held: Held = await self._do("POST /maintain", Held, _Wish(self.name, steal))
        self._token = held.token
        return held.taken_from

    async def renew(self) -> None:
        """A sign of life. Raises Cannot where another has taken over; then this terminal only looks."""
        try:
            await self._do("POST /maintain/renew", Maintenance)
        except Cannot:
            self._token = ""
            raise

    async def free(self) -> None:
        """Give it back."""
        if self._token:
            await self._do("DELETE /maintain", Maintenance)
            self._token = ""

    async def propose(self, content: bytes) -> Candidate:
        """A candidate for the configuration."""
        found: Candidate = await self._do("POST /config/candidate", Candidate, content)
        return found

    async def again(self, sink: str) -> None:
        """Try a sink at once instead of waiting for its turn."""
        await self._do(f"POST /uplink/{sink}/again", Any)

    async def step(self, name: str) -> ConfigNow:
        """One of STEPS."""
        found: ConfigNow = await self._do(f"POST /config/{name}", ConfigNow)
        return found

    async def restart(self, route: str) -> None:
        """Have a service end itself, for systemd to start it again: one of RESTARTS."""
        await self._do(f"POST {route}", Any)

    async def again_after_restart(self) -> None:
        """Take the lock anew from the agent that comes up: the one before took it along."""
        self._token = ""
        for _ in range(TRIES):
            await asyncio.sleep(1.0)
            with suppress(Cannot):
                await self.take(steal=False)
                return

    async def _do(self, question: str, kind: Any, body: object = None) -> Any:
        try:
            return await ask(self._picture.socket, question, kind, body, self._token)
        except (NotRunning, NotAllowed, Silent, NotThere, Refused, Failed) as fault:
            raise Cannot(str(fault)) from fault
