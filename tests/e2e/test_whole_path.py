"""The whole path on real servers: simulated ward -> agent -> InfluxDB 1.6 (v1) and victoria-metrics (v2)."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

from edge_agent.body import unpack
from edge_agent.demo_servers import InfluxDB, Mosquitto, VictoriaMetrics
from edge_agent.lines import parse
from tests.e2e.box import Box, descriptors, sinks
from tests.waiting import wait_until

ROUNDS = 20


def test_every_generated_value_is_in_both_databases(
    tmp_path: Path, mosquitto: Mosquitto, influxdb: InfluxDB, victoria_metrics: VictoriaMetrics
) -> None:
    """TCP, RTU and MQTT; one database away for a while: generated = delivered + rejected, value by value, in both."""
    influxdb.create_database("city")
    with Box(tmp_path, mosquitto.url, sinks(influxdb, victoria_metrics)) as box:
        box.start()
        time.sleep(4)
        influxdb.stop()
        assert wait_until(lambda: box.status().sinks[0].state == "down", 10)
        assert wait_until(lambda: box.status().sinks[0].waiting > 100, 10)
        assert "safe on the box" in " ".join(box.status().reasons)
        influxdb.start()
        assert wait_until(lambda: box.status().sinks[0].state == "up", 20)
        time.sleep(1)
        box.end_ward()
        assert wait_until(box.drained, 20), box.log()
        centre = box.compare_influxdb(influxdb)
        wanted = ("air", "weather", "water")
        # victoria-metrics may show a new series only after some seconds, whatever was flushed.
        wait_until(lambda: box.compare_victoria(victoria_metrics, wanted).exact, 20, step=1)
        province = box.compare_victoria(victoria_metrics, wanted)
        rows = box.ledger()
        assert box.stop() == 0
    assert centre.exact, centre
    assert province.exact, province
    assert centre.delivered > 300
    for row in rows:
        assert row.stored == row.delivered["centre"], row
        assert row.stored == row.delivered.get("province", 0) + row.excluded.get("province", 0), row


def test_killed_agent_loses_nothing_that_was_acknowledged(
    tmp_path: Path, mosquitto: Mosquitto, influxdb: InfluxDB
) -> None:
    """kill -9 in mid-stream, again and again: every message that MQTT acknowledged and every reading that the journal
    took is in the database exactly once, and nothing that was never generated."""
    influxdb.create_database("city")
    chance = random.Random(7)
    with Box(tmp_path, mosquitto.url, sinks(influxdb), every="200ms", period=0.05) as box:
        for _ in range(ROUNDS):
            box.start()
            time.sleep(chance.uniform(0.2, 1.2))
            box.kill()
        box.start()
        time.sleep(1)
        box.end_ward()
        assert wait_until(box.drained, 30), box.log()
        result = box.compare_influxdb(influxdb)
        stored = {(row.device, row.point, row.time) for row in box.influxdb_rows(influxdb)}
        assert box.stop() == 0
    assert result.delivered > 500
    assert not result.wrong, result.wrong[:5]
    assert not result.unexpected, result.unexpected[:5]
    assert result.twice == []
    lost = [found for found in result.missing if found.device in ("rain-1", "cnt-1")]
    assert not lost, lost[:5]
    kept = _kept(tmp_path)
    assert set(kept) == stored
    polled = [
        each for each in kept if each[0] not in ("rain-1", "cnt-1")
    ]  # MQTT may deliver again what it was not told
    assert len(polled) == len(set(polled))


def _kept(folder: Path) -> list[tuple[str, str, int]]:
    """Device, point and time of every reading in the journal."""
    rows = sqlite3.connect(folder / "state" / "journal.db").execute("SELECT body FROM blobs").fetchall()
    lines = [line for (body,) in rows for line in parse(unpack(body))]
    return [(line.device, f"{line.measurement}.{name}", line.time) for line in lines for name, _ in line.fields]


def test_agent_ends_on_sigterm_and_starts_again_with_its_journal(
    tmp_path: Path, mosquitto: Mosquitto, influxdb: InfluxDB
) -> None:
    """SIGTERM ends it within 5 s with exit code 0; what it had not delivered is delivered by the next run."""
    with Box(tmp_path, mosquitto.url, sinks(influxdb)) as box:
        box.start()
        time.sleep(2)
        assert wait_until(lambda: "no database" in " ".join(box.status().reasons), 10)
        box.end_ward()
        waiting = box.status().sinks[0].waiting
        assert waiting > 0
        began = time.monotonic()
        assert box.stop() == 0
        assert time.monotonic() - began < 5
        influxdb.create_database("city")
        box.start()
        assert wait_until(box.drained, 20), box.log()
        assert box.compare_influxdb(influxdb).exact
        assert box.stop() == 0


def test_descriptors_stay_flat_while_the_database_flaps(
    tmp_path: Path, mosquitto: Mosquitto, influxdb: InfluxDB
) -> None:
    """Every lost connection is let go of."""
    influxdb.create_database("city")
    with Box(tmp_path, mosquitto.url, sinks(influxdb)) as box:
        agent = box.start()
        assert wait_until(lambda: box.status().sinks[0].delivered > 0, 10)
        before = descriptors(agent.pid)
        for _ in range(3):
            influxdb.kill()
            assert wait_until(lambda: box.status().sinks[0].state == "down", 10)
            influxdb.start()
            assert wait_until(lambda: box.status().sinks[0].state == "up", 20)
        assert descriptors(agent.pid) <= before + 2
        assert box.stop() == 0
