"""The journal whose file or disk is at fault: it opens, goes on, and stores each reading once."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from edge_agent.journal import Journal
from edge_agent.rows import Group
from edge_agent.schema import NewerJournal
from edge_agent.store import Store
from tests.edge_agent.journal_kept import ALL, LEVEL, NOW, at, journal, put, run, store
from tests.waiting import until


def test_commit_that_fails_is_tried_again_with_the_same_readings(tmp_path: Path) -> None:
    """A disk that does not take the commit loses nothing; the acknowledgement waits, and the journal is not stuck."""

    async def work(kept: Journal) -> None:
        blocker = sqlite3.connect(tmp_path / "journal.db", timeout=0)
        blocker.execute("BEGIN IMMEDIATE")
        kept._store._db.execute("PRAGMA busy_timeout=50")
        committed, before = put(kept, at(0)), kept.progress
        await until(lambda: kept.error is not None)
        assert not committed.done()
        assert kept.progress > before, "a disk that fails for an hour is no reason for the watchdog"
        blocker.rollback()
        await committed
        assert kept.error is None
        assert (await kept.stat()).readings == 2

    run(work, lambda: journal(tmp_path))


def test_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    """Whatever is in the file, the journal opens; the damaged one is kept."""
    (tmp_path / "journal.db").write_bytes(b"not a database at all" * 500)
    opened = store(tmp_path)
    assert opened.stat().readings == 0
    assert opened.stat().damaged_files == 1
    assert next(tmp_path.glob("journal.db.damaged-*")).read_bytes().startswith(b"not a database")


def test_newer_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A schema from a later version is not guessed at."""
    store(tmp_path).close()
    file = sqlite3.connect(tmp_path / "journal.db")
    file.execute("PRAGMA user_version=99")
    file.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    file.commit()
    file.close()
    with pytest.raises(NewerJournal, match="99"):
        store(tmp_path)


def test_commit_whose_sync_failed_is_stored_once(tmp_path: Path) -> None:
    """After an error the file may hold the rows all the same: they are not put in a second time."""
    kept = store(tmp_path)
    group = Group()
    group.add(at(0))
    kept.commit(group)
    kept.last_id = 0  # as if the commit had been reported as failed
    kept.reopen()
    kept.commit(group)
    assert kept.stat().readings == 2
    kept.close()


def test_file_that_cannot_be_opened_again_is_tried_until_it_can(tmp_path: Path) -> None:
    """While the folder is away nothing is acknowledged and nothing is lost."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        blocker = sqlite3.connect(tmp_path / "journal.db", timeout=0)
        blocker.execute("BEGIN IMMEDIATE")
        kept._store._db.execute("PRAGMA busy_timeout=50")
        away = tmp_path.with_name(tmp_path.name + "-away")
        os.rename(tmp_path, away)
        committed = put(kept, at(1))
        await asyncio.sleep(1.5)
        assert not committed.done()
        os.rename(away, tmp_path)
        blocker.rollback()
        await committed
        assert (await kept.stat()).readings == 4

    run(work, lambda: journal(tmp_path))


def test_damaged_row_does_not_keep_the_journal_from_opening(tmp_path: Path) -> None:
    """Its stamps are not known, the others are."""

    async def work(kept: Journal) -> None:
        await put(kept, at(0))
        await put(kept, at(1, 4.0, source=LEVEL))

    run(work, lambda: journal(tmp_path))
    with sqlite3.connect(tmp_path / "journal.db") as file:
        file.execute("UPDATE blobs SET body = x'1f8b0800' WHERE id = 2")
    assert store(tmp_path).last_stamps() == {"water,site=cl-02,sensor=water-1": NOW + 1}


def test_damaged_file_on_a_full_disk_stays_until_a_new_one_can_be_begun(tmp_path: Path) -> None:
    """What cannot be written is not begun: the old file is set aside only when the new one is whole."""
    kept = store(tmp_path)
    group = Group()
    group.add(at(0))
    kept.commit(group)
    (tmp_path / "journal.db.new").mkdir()  # as a disk that takes no new file
    with pytest.raises(OSError, match=r"journal\.db\.new"):
        kept.begin_anew("test")
    kept.reopen()
    assert (kept.stat().readings, kept.stat().damaged_files) == (2, 0)
    (tmp_path / "journal.db.new").rmdir()
    kept.begin_anew("test")
    assert (kept.salvaging is not None, kept.stat().damaged_files) == (True, 1)
    kept.close()
    (tmp_path / "journal.db").rename(tmp_path / "journal.db.new")  # as after a cut between the two renamings
    assert store(tmp_path).salvaging is not None


def test_changes_that_need_a_commit_while_the_disk_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another list of sinks and dates for waiting readings are refused then, and nothing has changed."""

    def takes_nothing(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async def work(kept: Journal) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(Store, "commit", takes_nothing)
            await refused(kept)
        await kept.adopt({"other": ALL})
        assert list(kept.states) == ["other"]

    async def refused(kept: Journal) -> None:
        before = kept.states
        kept.put([at(0)])
        with pytest.raises(sqlite3.OperationalError):
            await kept.adopt({"other": ALL})
        with pytest.raises(sqlite3.OperationalError):
            await kept.date(None)
        assert kept.states is before

    run(work, lambda: journal(tmp_path))
