"""Fixtures for real servers on loopback. A test whose server is not installed is skipped, by the package's name."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from edge_agent.demo_servers import InfluxDB, MissingServer, Mosquitto, Server, VictoriaMetrics

_number = itertools.count(1)

Run = Callable[[Coroutine[Any, Any, None]], None]
"""The fixture `run`."""
S = TypeVar("S", bound=Server)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long runs take turns on the machine (`make faults`, `--dist loadgroup`), and so do all that have a browser.

    Beside them run those that mostly wait, in groups of their own: lines, and what has to be watched for ten minutes.
    """
    for item in items:
        if item.get_closest_marker("faults") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("machine"))


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine to its end, once on each event loop that the services may have."""
    return uvloop.run if request.param == "uvloop" else asyncio.run


def _running(server: S) -> Iterator[S]:
    try:
        server.start()
    except MissingServer as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of this test alone, with the settings of config/mosquitto/edge.conf, open to this machine."""
    yield from _running(Mosquitto(tmp_path))


@pytest.fixture(scope="session")
def shared_influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    """One InfluxDB for all tests that do not stop it."""
    yield from _running(InfluxDB(tmp_path_factory.mktemp("influxdb")))


@pytest.fixture
def database(shared_influxdb: InfluxDB) -> Iterator[str]:
    """Name of an empty database in `shared_influxdb`."""
    name = f"test_{next(_number)}"
    shared_influxdb.create_database(name)
    yield name
    shared_influxdb.drop_database(name)


@pytest.fixture
def influxdb(tmp_path: Path) -> Iterator[InfluxDB]:
    """An InfluxDB of this test alone, to be stopped and killed."""
    yield from _running(InfluxDB(tmp_path))


@pytest.fixture
def victoria_metrics(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    """A victoria-metrics of this test alone: it has no databases to keep tests apart."""
    yield from _running(VictoriaMetrics(tmp_path))
