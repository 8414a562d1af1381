"""The box's own health, measured on this machine."""

from __future__ import annotations

import os
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from drivers import box
from drivers.box import BoxHealth
from drivers.driver import Batch
from drivers.reading import Readings, Reason
from drivers.settings import Box
from tests.conftest import Run
from tests.drivers.polling import take


def health(folder: Path, every: float = 0.02) -> BoxHealth:
    return BoxHealth(Box().model_copy(update={"every": every}), folder, lambda: True)


def fields(readings: Readings) -> dict[str, object]:
    names = [quantity.field for quantity in readings.source.quantities]
    return dict(zip(names, readings.values, strict=True))


async def measured(driver: BoxHealth, count: int = 1) -> list[Batch]:
    async with aclosing(driver.readings()) as batches:
        return await take(batches, count)


def test_the_points_of_this_machine(run: Run, tmp_path: Path) -> None:
    """One Readings of measurement `box`, with the kinds of the naming table and values that can be."""

    async def main() -> None:
        [batch] = await measured(health(tmp_path))
        [readings] = batch.readings
        found = fields(readings)
        assert {"disk_free_pct", "mem_available_mb", "load_1m", "uptime_s", "clock_synced"} <= set(found)
        kinds = {"float": (float, int), "int": (int,), "bool": (bool,)}
        for quantity, value in zip(readings.source.quantities, readings.values, strict=True):
            assert quantity.measurement == readings.source.device == "box"
            assert type(value) in kinds[quantity.kind]
        disk = os.statvfs(tmp_path)
        assert found["disk_free_pct"] == pytest.approx(100 * disk.f_bavail / disk.f_blocks, abs=1)
        assert found["uptime_s"] == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=1)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
        assert isinstance(found["mem_available_mb"], float)
        assert 0 < found["mem_available_mb"] < memory

    run(main())


def test_the_period(run: Run, tmp_path: Path) -> None:
    """At once, then every `every` seconds, from one and the same source, with progress meanwhile."""

    async def main() -> None:
        driver = health(tmp_path, 0.1)
        started = time.monotonic()
        batches = await measured(driver, 4)
        assert time.monotonic() - started == pytest.approx(0.3, abs=0.08)
        assert len({id(batch.readings[0].source) for batch in batches}) == 1
        assert driver.progress() > started + 0.25
        assert driver.troubles() == []

    run(main())


def test_a_machine_without_sensors(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there is no point at all, so it is never expected; what is there is read from the kernel's file."""
    monkeypatch.setattr(box, "THERMAL", tmp_path / "temp")
    monkeypatch.setattr(box, "THROTTLED", tmp_path / "throttled")

    async def main() -> None:
        [bare] = await measured(health(tmp_path))
        assert not {"cpu_temp_c", "throttled"} & set(fields(bare.readings[0]))
        (tmp_path / "temp").write_text("48312\n")
        (tmp_path / "throttled").write_text("50005\n")
        [full] = await measured(health(tmp_path))
        found = fields(full.readings[0])
        assert (found["cpu_temp_c"], found["throttled"]) == (48.312, 0x50005)

    run(main())


def test_a_sensor_that_fails_later(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file that can no longer be read costs its own value and no other."""
    thermal = tmp_path / "temp"
    thermal.write_text("48312\n")
    monkeypatch.setattr(box, "THERMAL", thermal)

    async def main() -> None:
        driver = health(tmp_path)
        thermal.unlink()
        [batch] = await measured(driver)
        found = fields(batch.readings[0])
        assert found.pop("cpu_temp_c") is None
        assert None not in found.values()
        assert list(batch.readings[0].faults.values()) == [Reason.timeout]

    run(main())


def test_a_disk_that_hangs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on and says that nothing was read; only one call waits for the disk, however long."""
    pipe = tmp_path / "temp"
    os.mkfifo(pipe)  # reading it blocks until somebody writes, as a dead disk does
    monkeypatch.setattr(box, "THERMAL", pipe)
    monkeypatch.setattr(box, "PATIENCE", 0.05)

    async def main() -> None:
        driver = health(tmp_path, 0.01)
        started = time.monotonic()
        async with aclosing(driver.readings()) as batches:
            for batch in await take(batches, 4):
                assert set(batch.readings[0].values) == {None}
                assert set(batch.readings[0].faults.values()) == {Reason.timeout}
            assert time.monotonic() - started < 0.5
            writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            (tmp_path / "alive").write_text("40000")
            (tmp_path / "alive").replace(pipe)
            os.write(writer, b"39000")  # the disk is back: the call that hung ends, the next one does not hang
            os.close(writer)
            temperatures = [fields(batch.readings[0])["cpu_temp_c"] for batch in await take(batches, 2)]
        assert temperatures == [39.0, 40.0]

    run(main())
