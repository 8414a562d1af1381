"""What `edge journal verify` finds in a file."""

from __future__ import annotations

from pathlib import Path

from edge_agent.journal_file import verify
from edge_agent.rows import Group
from edge_agent.schema import checksum
from tests.edge_agent.journal_kept import at, store


def test_row_that_stands_for_numbers_of_the_one_before(tmp_path: Path) -> None:
    """Each row whole in itself, but not one behind the other: the order is wrong, and the row is named."""
    kept = store(tmp_path)
    for n in range(3):
        group = Group()
        group.add(at(n))
        kept.commit(group)
    ((body,),) = kept.select("SELECT body FROM blobs WHERE id = 6")
    with kept.transaction() as db:
        db.execute("UPDATE blobs SET span = 3, crc = ? WHERE id = 6", (checksum(6, 2, 3, body),))
    kept.close()
    found = verify(tmp_path / "journal.db", lambda _: None)
    assert (found.disordered, found.damaged, found.miscounted, found.missing) == (1, 0, 0, 0)
    assert (found.named, found.is_sound) == ([6], False)
