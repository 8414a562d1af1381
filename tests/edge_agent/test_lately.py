"""Which readings are of the last minute, whatever the wall clock says."""

from __future__ import annotations

import pytest

from edge_agent import lately
from edge_agent.lately import EVERY, Lately


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(lately, "_now", lambda: seconds)


def test_what_the_file_had_before_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what this agent commits is young, and only for a minute."""
    at(monkeypatch, 1000.0)
    young = Lately()
    assert young.before(500) == 500
    young.note(500)
    assert young.before(503) == 500
    at(monkeypatch, 1059.9)
    young.note(503)
    assert young.before(506) == 500
    at(monkeypatch, 1060.1)
    assert young.before(506) == 503
    at(monkeypatch, 1200.0)
    assert young.before(506) == 506


def test_many_commits_a_second_keep_few_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes at fifty commits a second costs a minute's marks, and the boundary is a second from the truth at most."""
    young = Lately()
    for n in range(20_000):
        at(monkeypatch, n / 50)
        young.note(n)
    assert len(young._marks) <= 62
    assert 0 <= young.before(20_000) - (20_000 - 60 * 50) <= EVERY * 50
