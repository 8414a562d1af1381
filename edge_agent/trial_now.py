"""What the control socket says of a configuration on trial; apart, so that the terminal need not import pydantic."""

from __future__ import annotations

import msgspec


class Candidate(msgspec.Struct, frozen=True):
    """POST /config/candidate: what the change would be."""

    usable: bool
    problems: list[str]
    """Each as `file:line:column: path: sentence`."""
    diff: str
    """Unified, from the file to the candidate, passwords hidden; empty: no difference."""
    restart: list[str]
    """Keys whose change needs a restart of the service: such a candidate cannot be tried."""
    writable: bool
    """The agent may replace the file, so a confirmation can succeed."""


class ConfigNow(msgspec.Struct, frozen=True):
    """GET /config."""

    file: str
    text: str
    candidate: str | None
    diff: str
    trial_by: str | None
    """Who applied the candidate that now runs; None: the file runs."""
    left_s: float
    """Seconds to confirm it."""
    returned: str
    """Why the last trial went back: time, restart, asked; empty: it did not."""
    returned_by: str
    returned_at: float
    problems: list[str] = []
    """What is wrong with the newest candidate, which therefore was not kept; its `diff` stands above."""
    restart: list[str] = []
    """Keys in it that need a restart of the service: neither was that one kept."""
