"""The log in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from edge_agent import logbook as module
from edge_agent.logbook import Logbook

log = logging.getLogger("edge.test")


@pytest.fixture
def book() -> Iterator[Logbook]:
    """Listens to `edge`."""
    log.setLevel(logging.INFO)
    book = Logbook()
    logging.getLogger("edge").addHandler(book)
    yield book
    book.detach()


def test_repeats_are_folded(book: Logbook) -> None:
    """412 alike are one line that counts, at the place of the newest; another line between stays one of its own."""
    for _ in range(411):
        log.warning("device unreachable device=%s", "met-1")
    log.info("device back device=met-2")
    log.warning("device unreachable device=%s", "met-1")
    assert [(line.text, line.count) for line in book.since(0)] == [
        ("device back device=met-2", 1),
        ("device unreachable device=met-1", 412),
    ]


def test_ring_is_bounded(book: Logbook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest lines go, and a long line is cut."""
    monkeypatch.setattr(module, "MOST_LINES", 10)
    for number in range(25):
        log.info("line %d %s", number, "x" * 5000)
    lines = book.since(0)
    assert len(lines) == 10
    assert lines[-1].text.startswith("line 24")
    assert all(len(line.text) <= module.MOST_LETTERS for line in lines)


def test_follower_gets_each_line_once(book: Logbook) -> None:
    """It waits without asking, and a repeat comes as the same line with its count."""

    async def follow() -> list[tuple[str, int]]:
        book.attach()
        found, number = [], 0
        for text in ("one", "two", "two"):
            asyncio.get_running_loop().call_later(0.01, log.info, text)
            async with asyncio.timeout(5):
                for line in await book.wait(number):
                    number = line.number
                    found.append((line.text, line.count))
        return found

    assert asyncio.run(follow()) == [("one", 1), ("two", 1), ("two", 2)]


def test_stack_trace_is_one_line(book: Logbook) -> None:
    """The kind of error and its words; the trace is in the journal of the service."""
    try:
        raise ValueError("no such thing")
    except ValueError:
        log.exception("part failed part=%s", "bus")
    assert book.since(0)[-1].text == "part failed part=bus (ValueError: no such thing)"
