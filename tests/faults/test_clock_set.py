"""A whole agent whose clock is set back and forth by an hour, ten years and half a century while it runs."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from edge_agent.client import ask
from edge_agent.demo_servers import InfluxDB
from edge_agent.status import LedgerRow
from tests.e2e.box import Agent
from tests.faults.stepped import set_clock
from tests.faults.test_start_on_a_bad_disk import AGENT
from tests.waiting import wait_until

HOUR = 3_600_000
YEAR = 365 * 24 * HOUR
STEPS = (-50 * YEAR, 0, -HOUR, 0, 10 * YEAR, 0, -10 * YEAR, 0)
"""The clock is off by one of these after the other, ms."""
EACH = 8.0
"""Seconds: the clock is looked at every two."""


@pytest.mark.faults
@pytest.mark.xdist_group("minutes")
def test_clock_set_back_and_forth_by_years(tmp_path: Path, shared_influxdb: InfluxDB, database: str) -> None:
    """Each second of the box is in the database once, in order of its number; every step is told; the sum is exact."""
    sink = f"{{id: centre, influxdb: {{url: '{shared_influxdb.url}', version: 1, database: {database}}}}}"
    config = AGENT.format(state=tmp_path / "state", control=tmp_path / "control.sock")
    (tmp_path / "agent.yaml").write_text(f"{config}sinks: [{sink}]\n", encoding="utf-8")
    clock = tmp_path / "clock"
    set_clock(clock, STEPS[0])
    agent = Agent(tmp_path, control=tmp_path / "control.sock")
    agent.module = ("tests.faults.stepped", str(clock))
    agent.start()
    try:
        for off in STEPS:
            set_clock(clock, off)
            time.sleep(EACH)
        assert wait_until(lambda: agent.status().sinks[0].waiting < 20, 30), agent.log()
        rows: list[LedgerRow] = ask(agent.control, "/ledger?since=0", list[LedgerRow])
    finally:
        agent.kill()
    assert all(row.stored >= row.delivered["centre"] >= row.stored - 20 for row in rows), rows
    up = sorted(seconds_of(shared_influxdb, database))
    apart = [later - earlier for earlier, later in pairwise(up)]
    assert len(up) > 0.8 * EACH * len(STEPS)
    assert 0.5 < min(apart) <= max(apart) < 2.5, "none twice, none left out"
    told = shared_influxdb.query("SELECT clock_step_s FROM box", database)
    steps = [after - before for before, after in pairwise(STEPS)]
    assert sorted(round(cast(float, row["clock_step_s"])) for row in told) == sorted(step // 1000 for step in steps)


def seconds_of(server: InfluxDB, database: str) -> list[float]:
    """The box's uptime, in each reading of it."""
    return [cast(float, row["uptime_s"]) for row in server.query("SELECT uptime_s FROM box", database)]
