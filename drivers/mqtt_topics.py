"""The topics that a session has of us, on disk: what to unsubscribe from after a change of the configuration.

A session outlives the program. A topic that is taken out of the configuration would come for ever, and a broker does
not tell what a session has subscribed to.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from drivers import files

log = logging.getLogger("edge.mqtt")


class _Session(msgspec.Struct):
    where: str
    client_id: str
    topics: list[str]


class Topics:
    """The topics of one session, on disk. Its methods block."""

    def __init__(self, file: Path | None, where: str, client_id: str) -> None:
        """`file`: None keeps nothing. A session is known by broker and client id."""
        self._file, self._where, self._client_id = file, where, client_id

    def left_over(self, wanted: Sequence[str]) -> list[str]:
        """What the session has that is no longer wanted."""
        kept = self._read()
        same = kept is not None and (kept.where, kept.client_id) == (self._where, self._client_id)
        return sorted(set(kept.topics) - set(wanted)) if kept and same else []

    def keep(self, topics: Sequence[str]) -> None:
        """Remember what the session has now."""
        if self._file is None:
            return
        now = _Session(self._where, self._client_id, sorted(set(topics)))
        if self._read() == now:
            return
        try:
            files.replace(self._file, msgspec.json.encode(now))
        except OSError as error:
            log.warning("topics not written file=%s error=%s", self._file, error)

    def _read(self) -> _Session | None:
        return files.read(self._file, _Session) if self._file else None
