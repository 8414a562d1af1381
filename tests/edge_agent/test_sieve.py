"""The sieve against servers that refuse in every way a server may, told by a dozen lines of Python."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from edge_agent.lines import Line
from edge_agent.rows import Row
from edge_agent.sinks import SinkDown, sieve
from edge_agent.sinks.sieve import Numbered, Sieve

ROW = Row(100_000, 100_000, 0, b"")
Reading = tuple[str, str, int]


class Server:
    """Refuses some readings, for as long as it pleases."""

    def __init__(self, *, tells: bool) -> None:
        """`tells`: how many lines it dropped, as InfluxDB does."""
        self.tells = tells
        self.bad: set[Reading] = set()
        self.wrong = False
        """True: it refuses every request, also an empty one."""
        self.taken: set[Reading] = set()
        self.posts = 0

    async def post(self, lines: Sequence[Numbered]) -> str | None:
        """Its answer."""
        self.posts += 1
        sick = sum(any(each in self.bad for each in readings([line])) for line in lines)
        if self.wrong or sick:
            return f"partial write: no dropped={sick}" if self.tells and not self.wrong else "no"
        self.taken.update(readings(lines))
        return None

    async def takes_anything(self) -> None:
        """Raises where it does not."""
        if self.wrong:
            raise SinkDown("refused", "wrong parameter")


def batch(at: int, devices: int = 8) -> list[Numbered]:
    """Three readings of each device, numbered."""
    return [
        (ROW, 3 * n + 1, Line(f"weather,sensor=met-{n}", (("a", "1"), ("b", "2"), ("c", "3")), (("q", "0i"),), at))
        for n in range(devices)
    ]


def readings(lines: Sequence[Numbered]) -> list[Reading]:
    """Of some lines."""
    return [(line.series, name, line.time) for _, _, line in lines for name, _ in line.fields]


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("seed", range(150))
def test_exactly_what_is_refused_is_found(seed: int, tells: bool) -> None:
    """Whatever fields are at fault in whichever batch, and whether it is always the same ones: nothing else is held,
    every other reading was in a request that was taken, and each that is held bears its own number."""
    chance, server = random.Random(seed), Server(tells=tells)
    known, lasting = Sieve(server.takes_anything), set[tuple[str, str]]()
    for at in range(12):
        lines = batch(at)
        every = readings(lines)
        if chance.random() < 0.4:
            lasting = {(series, name) for series, name, _ in chance.sample(every, chance.choice((0, 1, 2, 9, 24)))}
        server.bad |= {each for each in every if each[:2] in lasting or chance.random() < 0.02}
        words = asyncio.run(server.post(lines)) if chance.random() < 0.5 else None
        found = asyncio.run(known.pass_on(lines, words, server.post))
        held = [(number, *readings([(row, number, line)])) for (row, number, line), _ in found]
        numbers = {each: n for n, each in enumerate(every, 1)}
        assert sorted(held) == sorted((numbers[each], each) for each in every if each in server.bad)
        assert set(every) - server.bad <= server.taken


@pytest.mark.parametrize("fields", [1, 3])
def test_no_reading_is_held_for_the_size_of_a_request(fields: int) -> None:
    """A server that takes four lines at a time, and refuses two readings of a hundred lines."""
    server = Server(tells=True)
    lines = [(row, n, Line(line.series, line.fields[:fields], (), line.time)) for row, n, line in batch(0, 100)]
    server.bad = set(readings(lines)[17:19])

    async def post(some: Sequence[Numbered]) -> str | None:
        return await server.post(some) if len(some) <= 4 else "Request Entity Too Large"

    found = asyncio.run(Sieve(server.takes_anything).pass_on(lines, None, post))
    assert {readings([each])[0] for each, _ in found} == server.bad
    assert server.taken == set(readings(lines)) - server.bad


@pytest.mark.parametrize("then", ["", " for database: city for retention policy: week"])
def test_what_is_known_is_tried_at_once(then: str) -> None:
    """As InfluxDB 1 says how many it dropped, and as InfluxDB 2 does."""
    server = Server(tells=True)

    async def post(some: Sequence[Numbered]) -> str | None:
        words = await server.post(some)
        return words and words + then

    known = Sieve(server.takes_anything)
    server.bad = {("weather,sensor=met-1", "b", at) for at in range(9)}
    for at in range(9):
        before = server.posts
        assert len(asyncio.run(known.pass_on(batch(at), None, post))) == 1
        assert server.posts - before <= (2 if at else 14)


def test_request_that_is_wrong_holds_no_reading() -> None:
    """Also where some fields are known to be refused: the sink is at fault, and all is kept."""
    server = Server(tells=True)
    known = Sieve(server.takes_anything)
    server.bad = {("weather,sensor=met-1", "b", at) for at in range(9)}
    assert len(asyncio.run(known.pass_on(batch(0), None, server.post))) == 1
    server.wrong = True
    for words in (None, "no"):
        with pytest.raises(SinkDown):
            asyncio.run(known.pass_on(batch(1), words, server.post))
    server.wrong = False
    assert len(asyncio.run(known.pass_on(batch(1), None, server.post))) == 1


def test_field_that_comes_no_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every batch would be taken apart for ever; and never are more than so many remembered."""
    server, now = Server(tells=True), [0.0]
    monkeypatch.setattr("edge_agent.sinks.sieve.time.monotonic", lambda: now[0])
    monkeypatch.setattr(sieve, "MOST", 5)
    known = Sieve(server.takes_anything)
    server.bad = {each for at in range(3) for each in readings(batch(at))[:12]}
    assert len(asyncio.run(known.pass_on(batch(0), None, server.post))) == 12
    before = server.posts
    assert len(asyncio.run(known.pass_on(batch(1), None, server.post))) == 12
    assert server.posts - before > 2
    assert known.is_needed
    now[0] = sieve.LAPSE + 1
    asyncio.run(known.pass_on(batch(1)[5:], None, server.post))
    assert not known.is_needed
