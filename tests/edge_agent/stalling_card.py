"""A card that stalls: whoever wants something on it waits until it goes on."""

from __future__ import annotations

import os
import threading

import pytest

from tests.waiting import PATIENCE


class Card:
    """The one under all files of this process; SQLite asks the system by itself and does not wait here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It works."""
        self._sync, self._works = os.fsync, threading.Event()
        self._works.set()
        self.waiting = 0
        """How many have come to wait since it stalls."""
        monkeypatch.setattr(os, "fsync", self._synced)

    def stall(self) -> None:
        """From now on."""
        self.waiting = 0
        self._works.clear()

    def go_on(self) -> None:
        """Whoever waits is served."""
        self._works.set()

    def _synced(self, file: int) -> None:
        self.waiting += not self._works.is_set()
        assert self._works.wait(PATIENCE)
        self._sync(file)
