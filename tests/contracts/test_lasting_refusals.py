"""A real InfluxDB that refuses the same again and again: every other reading goes through, in few requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from drivers.reading import Quantity, Readings, Source, Value, quantities
from edge_agent.body import pack
from edge_agent.config import Influx
from edge_agent.demo_servers import InfluxDB
from edge_agent.journal import Settled
from edge_agent.lines import Encoder
from edge_agent.rows import Row
from edge_agent.sinks.influx import InfluxSink

Q = quantities()
NOW = 1_786_674_000_000
TEMP, HUMIDITY, WIND = Q["weather.temp_c"], Q["weather.rh_pct"], Q["weather.wind_dir_deg"]
WRONG = Quantity("weather", "rh_pct", "str", "", "", None, None)
SICK = Source("met-7", (TEMP, WRONG, WIND))
"""Its humidity has another type than the server knows."""
STATIONS = [Source(f"met-{n}", (TEMP, HUMIDITY)) for n in range(20) if n != 7]
EACH = 2 * len(STATIONS) + 3
"""Readings of a poll, one of them refused."""


class Server:
    """The database of a test, and what a sink that lives on sends there."""

    def __init__(self, server: InfluxDB, database: str) -> None:
        """It knows humidity as a number."""
        self._server, self._database = server, database
        self._settings = Influx.model_validate({"url": server.url, "version": 1, "database": database})
        self.sends([row(-1, [Readings(STATIONS[0], NOW, 0, (20.0, 80.0))])])

    def sends(self, *batches: Sequence[Row]) -> list[tuple[Settled, int]]:
        """What came of each batch, and how many writes it took."""

        async def main() -> list[tuple[Settled, int]]:
            sink = InfluxSink("centre", self._settings, ())
            found = []
            for batch in batches:
                before = self._writes()
                settled = await sink.send(batch)
                found.append((settled, self._writes() - before))
            await sink.close()
            return found

        return asyncio.run(main())

    def _writes(self) -> int:
        (counts,) = [each for each in self._server.query("SHOW STATS FOR 'httpd'") if "writeReq" in each]
        return int(counts["writeReq"] or 0)

    def count(self, field: str) -> int:
        """Values of a field."""
        rows = self._server.query(f'SELECT count("{field}") FROM "weather"', self._database)
        return int(rows[0]["count"] or 0) if rows else 0


def row(n: int, readings: Sequence[Readings]) -> Row:
    """The row of second `n`."""
    count = sum(len(each.values) for each in readings)
    return Row(EACH * (n + 1), count, NOW, pack("".join(map(Encoder("cl-02").encode, readings))))


def poll(n: int, at: int = NOW, sick: Source = SICK) -> Row:
    """All stations at second `n` after `at`."""
    readings = [Readings(each, at + 1000 * n, n, (20.0 + n, 80.0)) for each in STATIONS]
    readings.insert(11, Readings(sick, at + 1000 * n, n, (9.0, "wet", 180.0)))
    return row(n, readings)


def test_field_refused_at_every_poll_takes_two_requests_a_poll(shared_influxdb: InfluxDB, database: str) -> None:
    """Once it is known what is refused: one request for its like, held with the server's words, one for the rest."""
    server = Server(shared_influxdb, database)
    found = server.sends(*([poll(n)] for n in range(1, 31)))
    assert [writes for _, writes in found[1:]] == [2] * 29
    assert found[0][1] <= 14
    for n, (settled, _) in enumerate(found, 1):
        (held,) = settled.held
        assert (settled.delivered, held.sequence, held.blob) == (EACH - 1, EACH * n + 24, EACH * (n + 1))
        assert held.line.startswith('weather,site=cl-02,sensor=met-7 rh_pct="wet"')
        assert "field type conflict" in held.words
    assert (server.count("temp_c"), server.count("wind_dir_deg")) == (30 * 20 + 1, 30)


def test_backlog_full_of_a_refused_field_is_searched_once(shared_influxdb: InfluxDB, database: str) -> None:
    """After an outage: 600 of 24,600 readings are refused, and it is not known of which field before the first."""
    server = Server(shared_influxdb, database)
    ((settled, writes),) = server.sends([poll(n) for n in range(1, 601)])
    assert writes <= 40
    assert (settled.delivered, len(settled.held)) == (600 * (EACH - 1), 600)
    assert [held.sequence for held in settled.held] == [EACH * n + 24 for n in range(1, 601)]
    assert server.count("temp_c") == 600 * 20 + 1


def test_readings_of_a_mended_field_are_delivered(shared_influxdb: InfluxDB, database: str) -> None:
    """The device sends numbers again: they are taken at once, and then all goes out as one request as before."""
    server = Server(shared_influxdb, database)
    mended = Source("met-7", (TEMP, Quantity("weather", "rh_pct", "float", "", "", None, None), WIND))
    good = [row(n, [Readings(mended, NOW + 1000 * n, n, (9.0, 55.0, 180.0))]) for n in (3, 4)]
    found = server.sends([poll(1)], [poll(2)], [good[0]], [good[1]])
    assert [(settled.delivered, len(settled.held)) for settled, _ in found] == [(40, 1), (40, 1), (3, 0), (3, 0)]
    assert [writes for _, writes in found[1:]] == [2, 2, 1]
    assert server.count("rh_pct") == 1 + 2 * 19 + 2


def test_backlog_older_than_the_server_keeps_is_held_beside_live_readings(
    shared_influxdb: InfluxDB, database: str
) -> None:
    """All of it is refused, in turns with live readings of the same fields, which are all taken."""
    shared_influxdb.query(f'CREATE RETENTION POLICY "short" ON "{database}" DURATION 1h REPLICATION 1 DEFAULT')
    old = [row(n, [Readings(each, 1000 * n, n, (1.0, 2.0)) for each in STATIONS]) for n in range(100)]
    now = time.time_ns() // 1_000_000
    live = [row(n, [Readings(each, now + n, n, (1.0, 2.0)) for each in STATIONS]) for n in range(100, 104)]
    server = Server(shared_influxdb, database)
    found = server.sends(old[:50], live[:2], old[50:], live[2:])
    count = 2 * len(STATIONS)
    held = [(settled.delivered, len(settled.held)) for settled, _ in found]
    assert held == [(0, 50 * count), (2 * count, 0), (0, 50 * count), (2 * count, 0)]
    assert all("retention policy" in each.words for settled, _ in found for each in settled.held)
    assert max(writes for _, writes in found) <= 4
    ((settled, writes),) = server.sends([*old, *live])
    assert (settled.delivered, len(settled.held)) == (4 * count, 100 * count)
    assert writes <= 40


def test_refused_field_across_two_shards_is_found_in_few_requests(shared_influxdb: InfluxDB, database: str) -> None:
    """The server says of one shard only how many points it dropped."""
    shared_influxdb.query(
        f'CREATE RETENTION POLICY "day" ON "{database}" DURATION 24h REPLICATION 1 SHARD DURATION 1h DEFAULT'
    )
    hour = (time.time_ns() // 3_600_000_000_000 - 3) * 3_600_000
    server = Server(shared_influxdb, database)
    for each in (hour - 1, hour + 1):  # it knows the number in both
        server.sends([row(-1, [Readings(STATIONS[0], each, 0, (20.0, 80.0))])])
    batch = [poll(n, hour - 50_000) for n in range(1, 101)]
    ((_, first), (settled, writes)) = server.sends([poll(1, hour + 60_000)], batch)
    assert (settled.delivered, len(settled.held)) == (100 * (EACH - 1), 100)
    assert (first <= 14, writes <= 20) == (True, True)


@pytest.mark.parametrize("fields", [1, 2, 3])
def test_device_refused_as_a_whole_is_held_reading_by_reading(
    shared_influxdb: InfluxDB, database: str, fields: int
) -> None:
    """Several of its fields have another type: each reading of them is held, those of others are stored."""
    server = Server(shared_influxdb, database)
    wrong = [Quantity("weather", f"{name}", "str", "", "", None, None) for name in ("temp_c", "rh_pct", "wind_dir_deg")]
    right = Source("met-8", (TEMP, HUMIDITY, WIND))
    sick = Source("met-7", (*wrong[:fields], *right.quantities[fields:]))
    values: tuple[Value, ...] = (*("wet",) * fields, *(1.0,) * (3 - fields))
    batches = [
        [row(n, [Readings(right, NOW + n, n, (1.0, 2.0, 3.0)), Readings(sick, NOW + n, n, values)])]
        for n in range(1, 5)
    ]
    found = server.sends([row(0, [Readings(right, NOW, 0, (1.0, 2.0, 3.0))])], *batches)
    assert [len(settled.held) for settled, _ in found] == [0, *(fields,) * 4]
    assert [writes for _, writes in found[2:]] == [2] * 3
    assert server.count("wind_dir_deg") == 1 + 4 + (4 if fields < 3 else 0)
