"""Fixtures of the meeting's tests."""

from __future__ import annotations

import pytest


class Clock:
    """Unix seconds that pass when a test says so."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock of this test alone."""
    return Clock()
