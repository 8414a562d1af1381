"""The journal's tools: on a journal at rest and on a running agent, with real servers at the other end."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sqlite3
import subprocess
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from edge_agent import redo
from edge_agent.__main__ import main
from edge_agent.body import unpack
from edge_agent.cursor import Cursor
from edge_agent.demo_servers import InfluxDB, VictoriaMetrics
from edge_agent.journal import Journal, Settled
from edge_agent.journal_file import Checked, Exported
from edge_agent.ledger import HOUR_MS
from edge_agent.lines import parse
from edge_agent.quarantine import Handled, Refusal
from edge_agent.redo import Imported, Resent, readable
from edge_agent.rows import Held
from tests.e2e.box import Agent
from tests.edge_agent.tools_box import NOW, box, fill, filled, on, said
from tests.waiting import wait_until


def test_journal_is_verified_row_by_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sound: exit code 0. A changed row, a missing one and a wrong count are each found: exit code 1."""
    file = box(tmp_path)
    fill(file)
    assert main(["journal", "verify", "-c", str(file)]) == 0
    assert "20 rows, 40 readings" in capsys.readouterr().out
    with sqlite3.connect(tmp_path / "state" / "journal.db") as db:
        db.execute("UPDATE blobs SET body = x'1f8b0800' WHERE id = 10")
        db.execute("UPDATE blobs SET readings = 1, crc = NULL WHERE id = 20")
        db.execute("DELETE FROM blobs WHERE id = 30")
    db.close()
    found = said(capsys, Checked, "verify", "-c", str(file))
    assert isinstance(found, Checked)
    assert (found.damaged, found.miscounted, found.missing, found.structure) == (1, 1, 3, "ok")
    assert found.named == [10, 20, 32]


def test_damaged_journal_is_repaired_and_the_rest_is_still_to_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Afterwards it is sound, what was whole is there, and what a sink had it does not get again."""
    file = box(tmp_path)

    async def half(journal: Journal) -> None:
        await filled(journal)
        rows = await journal.call(journal.store.rows, 0, 20, 1000, 1 << 20)
        journal.settle("centre", rows, Settled(20))

    on(file, half)
    db = sqlite3.connect(tmp_path / "state" / "journal.db")
    db.execute("UPDATE blobs SET body = x'1f8b0800' WHERE id = 30")
    db.commit()
    db.close()
    assert main(["journal", "repair", "-c", str(file)]) == 0
    assert "38 readings" in capsys.readouterr().out
    assert main(["journal", "verify", "-c", str(file)]) == 0

    async def rest(journal: Journal) -> None:
        assert journal.waiting("centre") == 18
        assert (await journal.stat()).readings == 38

    on(file, rest)


def test_export_is_taken_by_influxdb_as_it_is(
    tmp_path: Path, shared_influxdb: InfluxDB, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Posted without any option, every reading is in the database with its own time, tags and value."""
    file = box(tmp_path, database=database)
    fill(file)
    target = tmp_path / "out.lp.gz"
    found = said(capsys, Exported, "export", "-c", str(file), "--since", "2020-01-01T00:00:00Z", "--to", str(target))
    assert found == Exported(str(target), 20, 40, 0)
    post(f"{shared_influxdb.url}/write?db={database}", target.read_bytes())
    rows = list(shared_influxdb.query('SELECT * FROM "weather"', database))
    assert len(rows) == 20
    assert (rows[-1]["temp_c"], rows[-1]["sensor"], rows[-1]["src"]) == (39.0, "met 1", "a,b=c")


def test_export_is_taken_by_the_v2_endpoint_as_it_is(tmp_path: Path, victoria_metrics: VictoriaMetrics) -> None:
    """The same at /api/v2/write."""
    file = box(tmp_path)
    fill(file)
    target = tmp_path / "out.lp.gz"
    assert main(["journal", "export", "-c", str(file), "--since", "2020-01-01T00:00:00Z", "--to", str(target)]) == 0
    post(f"{victoria_metrics.url}/api/v2/write?org=o&bucket=b", target.read_bytes())
    assert wait_until(lambda: bool(victoria_metrics.export()), 10)


def post(url: str, body: bytes) -> None:
    """Post a gzip body."""
    request = urllib.request.Request(url, body, {"Content-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 204


def test_influx_imports_the_export(tmp_path: Path, shared_influxdb: InfluxDB, database: str) -> None:
    """Debian's `influx -import -compressed` takes the file."""
    file = box(tmp_path, database=database)
    fill(file)
    target = tmp_path / "out.lp.gz"
    main(["journal", "export", "-c", str(file), "--since", "2020-01-01T00:00:00Z", "--to", str(target)])
    port = shared_influxdb.url.rsplit(":", 1)[1]
    words = ["influx", "-host", "127.0.0.1", "-port", port, "-import", "-compressed", "-path", str(target)]
    if not shutil.which("influx") and os.environ.get("CI") != "true":
        pytest.skip("influxdb-client is not installed: make servers")
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert points(shared_influxdb, database) == 20


def test_export_of_a_time_has_only_that_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ends included."""
    file = box(tmp_path)
    fill(file)
    target = tmp_path / "out.lp.gz"
    since, until = (iso(NOW + 1000 * n) for n in (3, 5))
    found = said(capsys, Exported, "export", "-c", str(file), "--since", since, "--until", until, "--to", str(target))
    assert found == Exported(str(target), 3, 6, 0)
    _, _, *lines = gzip.decompress(target.read_bytes()).decode().splitlines()
    assert [int(line.rsplit(" ", 1)[1]) for line in lines] == [(NOW + 1000 * n) * 10**6 for n in (3, 4, 5)]


def test_what_was_exported_is_imported_on_another_box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same lines, counted once, for every sink; a line of another form is counted and left out. A second import, as
    after one that was broken off, puts nothing in."""
    file = box(tmp_path)
    fill(file)
    target = tmp_path / "out.lp.gz"
    main(["journal", "export", "-c", str(file), "--since", "2020-01-01T00:00:00Z", "--to", str(target)])
    lines = gzip.decompress(target.read_bytes()).decode() + "free text\n"
    plain = tmp_path / "out.lp"
    plain.write_text(lines, encoding="utf-8")
    (tmp_path / "other").mkdir()
    other = box(tmp_path / "other")
    assert said(capsys, Imported, "import", str(plain), "-c", str(other)) == Imported(20, 40, 1)
    assert said(capsys, Imported, "import", str(target), "-c", str(other)) == Imported(0, 0, 0, known=20)

    async def look(journal: Journal) -> None:
        rows = await journal.take("centre", 1000, 1 << 20)
        assert [line.time for row in rows for line in parse(unpack(row.body))] == [NOW + 1000 * n for n in range(20)]
        counts = sum((Counter(row) for row in (await journal.ledger(0)).values()), Counter[str]())
        assert (counts["expected"], counts["read"], counts["stored"]) == (40, 40, 40)

    on(other, look)


def test_lines_that_the_journal_cannot_take_are_refused() -> None:
    """No sensor, no time, no field, text: each is counted, none raises."""
    lines, refused = readable("a,site=x f=1 5\nweather,sensor=m t=1\nweather,sensor=m  5\nnothing\n# comment\n\n")
    assert (lines, refused) == ([], 4)


def test_stretch_is_sent_again_to_one_sink_and_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the server lost its database: the stretch waits again; ledger and counter have each reading once."""
    monkeypatch.setattr(redo, "PORTION", 2)
    file = box(tmp_path)

    async def deliver(journal: Journal) -> None:
        await filled(journal) if not journal.top else None
        for sink in ("centre", "ward"):
            while journal.waiting(sink):
                rows = await journal.take(sink, 1000, 1 << 20)
                n = sum(row.readings for row in rows)
                journal.settle(sink, rows, Settled(n) if sink == "centre" else Settled(0, n))
        await journal.flush()
        assert journal.states["centre"].delivered == 40
        counts = sum((Counter(row) for row in (await journal.ledger(0)).values()), Counter[str]())
        assert (counts["delivered:centre"], counts["excluded:ward"], counts["stored"]) == (40, 40, 40)

    on(file, deliver)
    since, until = (iso(NOW + 1000 * n) for n in (5, 9))
    found = said(capsys, Resent, "resend", "-c", str(file), "--sink", "centre", "--from", since, "--to", until)
    assert found == Resent("centre", 10, 5)

    async def waits(journal: Journal) -> None:
        assert journal.waiting("centre") == 10
        assert journal.waiting("ward") == 0
        assert journal.states["centre"].delivered == 30
        await deliver(journal)

    on(file, waits)
    assert main(["journal", "resend", "-c", str(file), "--sink", "nobody", "--from", since]) == 2


def iso(moment_ms: int) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat()


def test_settled_stretch_is_taken_out_of_a_cursor() -> None:
    """Below the low-water mark, in a range above it, and across both."""
    cursor = Cursor(10, [(20, 30), (40, 50)])
    cursor.unsettle(5, 7)
    assert (cursor.low, cursor.ranges) == (5, [(7, 10), (20, 30), (40, 50)])
    cursor.unsettle(25, 45)
    assert (cursor.low, cursor.ranges) == (5, [(7, 10), (20, 25), (45, 50)])
    cursor.unsettle(0, 100)
    assert (cursor.low, cursor.ranges) == (0, [])


def refused(file: Path) -> None:
    """A journal whose centre has refused the first reading and taken the rest."""

    async def work(journal: Journal) -> None:
        await filled(journal)
        rows = await journal.take("centre", 1000, 1 << 20)
        line = next(parse(unpack(rows[0].body))[0].single())
        held = Held("centre", rows[0].id, 1, line.device, "weather", NOW // HOUR_MS, line.text(), "wrong type")
        journal.settle("centre", rows, Settled(39, 0, (held,)))
        rows = await journal.take("ward", 1000, 1 << 20)
        journal.settle("ward", rows, Settled(0, 40))

    on(file, work)


def counts_of(file: Path) -> Counter[str]:
    """The ledger's sums, after everything that waits was delivered."""
    found: Counter[str] = Counter()

    async def work(journal: Journal) -> None:
        for sink in ("centre", "ward"):
            while journal.waiting(sink):
                rows = await journal.take(sink, 1000, 1 << 20)
                n = sum(row.readings for row in rows)
                journal.settle(sink, rows, Settled(n) if sink == "centre" else Settled(0, n))
        for row in (await journal.ledger(0)).values():
            found.update(row)

    on(file, work)
    return found


def test_refused_reading_is_released_once_its_cause_is_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes out again to that sink alone, and the ledger is what it would be had it never been refused."""
    file = box(tmp_path)
    refused(file)
    assert main(["journal", "quarantine", "list", "-c", str(file)]) == 1
    assert "wrong type" in capsys.readouterr().out
    main(["journal", "quarantine", "list", "-c", str(file), "--json"])
    (one,) = msgspec.json.decode(capsys.readouterr().out, type=list[Refusal])
    found = said(capsys, Handled, "quarantine", "release", "-c", str(file), "--sink", "centre", str(one.id))
    assert found == Handled(1, 0)

    async def waits(journal: Journal) -> None:
        assert (journal.waiting("centre"), journal.waiting("ward")) == (1, 0)
        assert journal.states["centre"].quarantined == 0

    on(file, waits)
    counts = counts_of(file)
    assert (counts["stored"], counts["delivered:centre"], counts["quarantined"]) == (40, 40, 0)
    assert counts["excluded:ward"] == 40
    assert main(["journal", "quarantine", "list", "-c", str(file)]) == 0


def test_refused_reading_is_dropped_and_stays_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list is empty, the alarm ends, and the ledger goes on saying that it was quarantined."""
    file = box(tmp_path)
    refused(file)
    assert said(capsys, Handled, "quarantine", "drop", "-c", str(file), "--sink", "centre") == Handled(1, 0)
    counts = counts_of(file)
    assert (counts["stored"], counts["delivered:centre"], counts["quarantined"]) == (40, 39, 1)


def test_wrong_arguments_change_nothing_and_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No folder or a device to write to, an end before the beginning, a sink or a number that nobody knows."""
    file = box(tmp_path)
    fill(file)
    into = ("export", "--to", str(tmp_path / "no" / "out.lp.gz"))
    (tmp_path / "link.gz").symlink_to("/dev/null")
    wrong = (
        (("export", "--to", str(tmp_path)), f"{tmp_path} is there and is no file."),
        (("export", "--to", str(tmp_path / "link.gz")), "link.gz is there and is no file."),
        (("import", str(tmp_path)), f"{tmp_path}: Is a directory"),
        (into, "out.lp.gz cannot be written: No such file or directory."),
        ((*into, "--since", "1h", "--until", "2h"), "The end 2h lies before the beginning 1h."),
        (("resend", "--sink", "centre", "--from", "now", "--to", "1h"), "The end 1h lies before the beginning now."),
        (("quarantine", "list", "--sink", "nobody"), "The configuration has no sink called nobody."),
    )
    for words, sentence in wrong:
        assert main(["journal", *words, "-c", str(file)]) == 2, words
        assert sentence in capsys.readouterr().err
    assert main(["journal", "quarantine", "drop", "--sink", "centre", "-c", str(file), "7", "8"]) == 1
    assert "2 of the numbers are not in the quarantine of centre" in capsys.readouterr().out


def test_running_agent_does_what_the_tools_ask(
    tmp_path: Path, shared_influxdb: InfluxDB, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Import and resend go through its socket and end in the database; repair is refused while it runs."""
    file = box(tmp_path, shared_influxdb.url, database)
    fill(file)
    target = tmp_path / "out.lp.gz"
    main(["journal", "export", "-c", str(file), "--since", "2020-01-01T00:00:00Z", "--to", str(target)])
    agent = Agent(tmp_path)
    agent.start()
    try:
        assert wait_until(lambda: agent.status().sinks[0].waiting == 0, 20)
        shared_influxdb.query('DROP SERIES FROM "weather"', database)
        since = ("--from", "2020-01-01T00:00:00Z")
        found = said(capsys, Resent, "resend", "-c", str(file), "--sink", "centre", *since)
        assert found == Resent("centre", 40, 20)
        assert wait_until(lambda: points(shared_influxdb, database) == 20, 20)
        assert said(capsys, Imported, "import", str(target), "-c", str(file)) == Imported(0, 0, 0, known=20)
        target.write_bytes(gzip.compress(gzip.decompress(target.read_bytes()).replace(b"sensor=", b"sensor=old-")))
        assert said(capsys, Imported, "import", str(target), "-c", str(file)) == Imported(20, 40, 0)
        assert wait_until(lambda: agent.status().sinks[0].delivered == 80, 20)
        assert points(shared_influxdb, database) == 40
        long = "".join(f'weather,site=cl-02,sensor=far note="{"x" * 900}" {NOW + n}\n' for n in range(1500))
        target.write_bytes(gzip.compress(long.encode()))
        assert said(capsys, Imported, "import", str(target), "-c", str(file)) == Imported(1500, 1500, 0)
        assert main(["journal", "verify", "-c", str(file)]) == 0
        audit = (tmp_path / "state" / "audit.jsonl").read_text(encoding="utf-8")
        assert re.search(r"journal resend.*\n.*journal import", audit, re.S)
    finally:
        agent.kill()


def points(server: InfluxDB, database: str) -> int:
    """Points of the station in the database."""
    return len(list(server.query('SELECT * FROM "weather"', database)))
