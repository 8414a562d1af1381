"""The journal after random damage to file and log: it opens, and what stood on no damaged page is delivered."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.reading import Readings, Source, quantities
from edge_agent import recovery
from edge_agent.body import unpack
from edge_agent.journal import Journal, Settled
from edge_agent.pages import FRAME, WAL_HEADER, Pages, frames
from edge_agent.rows import Group
from edge_agent.salvage import Salvage, Stored, stored
from edge_agent.schema import PAGE
from edge_agent.store import Store
from tests.e2e.box import Agent
from tests.faults.scale import scaled
from tests.waiting import wait_until

Q = quantities()
NAMES = [name for name, quantity in Q.items() if quantity.kind == "float"]
STATIONS = [Source(f"met-{n}", tuple(Q[name] for name in NAMES if name.startswith("weather."))) for n in range(8)]
NOW = 1_786_674_000_000
COMMITS = 150
AGENT = """
site: cl-02
language: en
state: ./state
box: {disabled: true}
"""
START_WITHIN = 3.0


class Original(Pages):
    """A journal before it is damaged, with what each row stands on."""

    def __init__(self, folder: Path) -> None:
        """Read it."""
        super().__init__(folder / "journal.db", folder / "journal.db-wal")
        self.used: set[int] = set()
        self.wal = (folder / "journal.db-wal").read_bytes()
        self.file = (folder / "journal.db").read_bytes()
        self.lines: dict[int, set[str]] = {}
        """Of each row."""
        self.pages: dict[int, set[int]] = {}
        """Pages that each row stands on."""
        self.of_commit: dict[int, set[int]] = {}
        """Frames of the WAL that belong to the commit of each row."""
        for row in self._rows():
            self.lines[row.id] = set(unpack(row.body).splitlines())
        self._find_commits()

    def get(self, number: int, *, wal_first: bool) -> bytes:
        """Note which pages a record stands on."""
        self.used.add(number)
        return super().get(number, wal_first=wal_first)

    def _rows(self) -> Iterator[Stored]:
        newest = {number: super(Original, self).get(number, wal_first=True) for number in range(1, len(self) + 1)}
        for number, page in newest.items():
            self.used = {number}
            for record in self.records(number, page):
                if (row := stored(record)) is not None:
                    self.pages.setdefault(row.id, set()).update(self.used)
                    yield row
                self.used = {number}

    def _find_commits(self) -> None:
        """A row's commit is the transaction in which its id first stands in the WAL."""
        transaction: list[int] = []
        for n, frame in enumerate(frames(self.wal)):
            transaction.append(n)
            for record in self.records(frame.page, frame.image):
                if (row := stored(record)) is not None:
                    self.of_commit.setdefault(row.id, set()).update(transaction)
            if frame.commits:
                for used in self.of_commit.values():
                    if used & set(transaction):
                        used.update(transaction)
                transaction = []

    def may_be_lost(self, of_file: set[int], of_wal: set[int]) -> set[int]:
        """Rows on the damaged pages of the file, or of whose commit a frame is damaged, or a page stood there."""
        list_of_frames = list(frames(self.wal))
        pages = of_file | {list_of_frames[n].page for n in of_wal if n < len(list_of_frames)}
        lost = {id_ for id_, used in self.pages.items() if used & pages}
        return lost | {id_ for id_, used in self.of_commit.items() if used & of_wal}


def readings(n: int) -> Iterator[Readings]:
    """One commit: of eight stations, every fifth one large enough for overflow pages."""
    chance = random.Random(n)
    for station in STATIONS if n % 5 == 0 else STATIONS[: 1 + n % 3]:
        for k in range(12 if n % 5 == 0 else 1):
            values = tuple(round(chance.uniform(0, 50), 6) for _ in station.quantities)
            yield Readings(station, NOW + 1000 * n + k, n, values)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A journal as a power cut leaves it: part of it in the file, part in the log, nothing delivered."""
    folder = tmp_path_factory.mktemp("original")
    kept = Store(folder / "journal.db", "cl-02", "boot-1", 64 << 20)
    for n in range(COMMITS):
        group = Group()
        for some in readings(n):
            group.add(some)
        kept.commit(group)
        if n == COMMITS // 2:
            kept.ledger.fold(kept.last_id)
    found = Original(folder)
    assert len(found.lines) == COMMITS
    assert found.of_commit
    kept.close()
    return found


def damaged(content: bytes, chance: random.Random) -> tuple[bytes, int, int, str]:
    """The content with one bit flipped, 4 KiB of zeros or of noise, or an end missing; what that touched."""
    at, kind = chance.randrange(len(content)), chance.choice(["bit", "zeros", "noise", "end"])
    if kind == "bit":
        return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :], at, at + 1, kind
    if kind == "end":
        at = len(content) - chance.randint(1, PAGE)
        return content[:at], at, len(content), kind
    end = min(len(content), at + PAGE)
    instead = bytes(end - at) if kind == "zeros" else chance.randbytes(end - at)
    return content[:at] + instead + content[end:], at, end, kind


async def delivered(folder: Path) -> tuple[set[str], int, float]:
    """Open the journal and deliver all there is: the lines, how many files were set aside, seconds of the start."""
    began = time.monotonic()
    store = Store(folder / "journal.db", "cl-02", "boot-2", 64 << 20)
    kept = Journal(store, {"centre": ()}, window=0.01, keep_days=30)
    took = time.monotonic() - began
    running = asyncio.create_task(kept.run())
    lines: set[str] = set()
    try:
        async with asyncio.timeout(60):
            while store.salvaging or kept.waiting("centre"):
                try:
                    rows = await asyncio.wait_for(kept.take("centre", 100_000, 1 << 20), 0.2)
                except TimeoutError:
                    continue
                lines.update(line for row in rows for line in unpack(row.body).splitlines())
                kept.settle("centre", rows, Settled(sum(row.readings for row in rows)))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        aside = store.stat().damaged_files
        await kept.close()
    return lines, aside, took


def one_case(original: Original, folder: Path, seed: int) -> None:
    """Damage, open, deliver; nothing is missing that did not stand on what was damaged."""
    chance = random.Random(seed)
    file, wal, of_file, of_wal = original.file, original.wal, set[int](), set[int]()
    if chance.random() < 0.5:
        file, start, end, kind = damaged(file, chance)
        of_file = set(range(start // PAGE + 1, (end - 1) // PAGE + 2))
    else:
        wal, start, end, kind = damaged(wal, chance)
        of_wal = set(range((start - WAL_HEADER) // FRAME, (end - 1 - WAL_HEADER) // FRAME + 1))
    folder.mkdir()
    (folder / "journal.db").write_bytes(file)
    (folder / "journal.db-wal").write_bytes(wal)
    lines, aside, took = asyncio.run(delivered(folder))
    may = original.may_be_lost(of_file, of_wal)
    lost = {id_ for id_, own in original.lines.items() if not own <= lines}
    what = f"seed={seed} {kind} file={sorted(of_file)} wal={sorted(of_wal)} lost={sorted(lost)} may={sorted(may)}"
    assert lost <= may, what
    assert took < START_WITHIN, what
    assert aside or not lost or of_wal, what


def cases(original: Original, folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many cases, one seed each."""
    monkeypatch.setattr(recovery, "RETRY", 0.01)
    for seed in range(count):
        one_case(original, folder / str(seed), seed)


def test_journal_after_random_damage(original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens within 3 s every time; at most the readings on damaged pages are lost, and the damage is said."""
    cases(original, tmp_path, 50, monkeypatch)


def test_row_under_a_wrong_number_hides_no_other(tmp_path: Path) -> None:
    """A bit of its number flipped, so that it stands where a sound row has its readings: the sound one comes first."""
    kept = Store(tmp_path / "journal.db", "cl-02", "boot-1", 64 << 20)
    ids = []
    for n in (1, 2, 5):  # the last one is large
        group = Group()
        for some in readings(n):
            group.add(some)
        kept.commit(group)
        ids.append(kept.last_id)
    kept.close()
    with sqlite3.connect(tmp_path / "journal.db") as file:
        file.execute("UPDATE blobs SET id = ? WHERE id = ?", (ids[2] - 1, ids[0]))
    salvage, found = Salvage(tmp_path / "journal.db"), list[int]()
    while (rows := salvage.portion()) is not None:
        found += [row.id for row in rows]
    doubtful = found.index(ids[2] - 1)
    assert ids[2] in found[:doubtful]
    assert set(found[doubtful:]) == {ids[2] - 1}


@pytest.mark.faults
def test_journal_after_much_random_damage(original: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, 500 times."""
    cases(original, tmp_path, scaled(500, 100), monkeypatch)


def test_agent_is_up_at_once_with_a_damaged_journal_and_says_so(tmp_path: Path) -> None:
    """Its first page is gone: the agent answers, brings back what stands on the others, and its status has an alarm."""
    (tmp_path / "agent.yaml").write_text(AGENT, encoding="utf-8")
    (tmp_path / "state").mkdir()
    kept = Store(tmp_path / "state" / "journal.db", "cl-02", "boot-1", 64 << 20)
    for n in range(COMMITS):
        group = Group()
        for some in readings(n):
            group.add(some)
        kept.commit(group)
    total = kept.last_id
    kept.close()
    with (tmp_path / "state" / "journal.db").open("r+b") as file:
        file.write(bytes(PAGE))  # the first page: nothing of the file can be opened
    agent = Agent(tmp_path)
    began = time.monotonic()
    agent.start()
    try:
        assert time.monotonic() - began < 10  # Python's own start on a busy machine is in it
        assert wait_until(lambda: agent.status().journal.readings > 0.9 * total, 20), agent.log()
        now = agent.status()
        assert any("damaged" in reason for reason in now.reasons), now.reasons
        assert "journal damaged, set aside" in agent.log()
    finally:
        agent.kill()
