"""A Modbus bus under test: profiles, devices and what its batches say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from drivers.driver import Batch
from drivers.modbus import ModbusBus
from drivers.profile import Profile
from drivers.reading import Reason
from drivers.settings import Bus, Device
from tests.drivers.liar import Slave

PATIENCE = 0.1
"""Time-out of the buses here, in seconds."""


def profile(*rows: dict[str, Any], **more: Any) -> Profile:
    about = dict.fromkeys(("id", "vendor", "model", "kind", "confidence", "transport"), "test")
    form = {"schema": "chilinh.device-profile/0.1-draft", "unit_id": {}, "registers": list(rows)}
    return Profile.model_validate(about | form | more)


def row(key: str, addr: int, canonical: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "addr": addr, "unit": "1", "canonical": canonical, **more}


WEATHER = profile(row("t", 0, "weather.temp_c"), row("h", 1, "weather.rh_pct"))
FAR_APART = profile(
    row("t", 0, "weather.temp_c"), row("h", 3000, "weather.rh_pct"), row("p", 6000, "weather.pressure_hpa")
)
"""Three blocks of one register: answers of equal length."""


def device(unit: int = 1, every: float = 0.01) -> Device:
    told = Device.model_validate({"id": f"d{unit}", "profile": "test", "unit": unit, "every": "1s"})
    return told.model_copy(update={"every": every})


def bus(where: str | int, *devices: Device, timeout: float = PATIENCE, **more: Any) -> Bus:
    """On the TCP port, or the serial port of that name."""
    place = {"tcp": f"127.0.0.1:{where}"} if isinstance(where, int) else {"serial": where, "baud": 115200}
    told = Bus.model_validate({"id": "line", **place, **more})
    return told.model_copy(update={"devices": devices or (device(),), "timeout": timeout})


@asynccontextmanager
async def polled(
    told: Bus, of: Profile = WEATHER, memory: Path | None = None
) -> AsyncIterator[tuple[ModbusBus, AsyncIterator[Batch]]]:
    driver = ModbusBus(told, {"test": of}, memory)
    async with aclosing(driver.readings()) as batches:
        yield driver, batches


async def take(batches: AsyncIterator[Batch], count: int) -> list[Batch]:
    return [await anext(batches) for _ in range(count)]


async def until(batches: AsyncIterator[Batch], seen: Callable[[Batch], bool]) -> list[Batch]:
    """All batches up to the first that is `seen`."""
    found: list[Batch] = []
    async for batch in batches:
        found.append(batch)
        if seen(batch):
            break
    return found


def values(batch: Batch) -> tuple[Any, ...]:
    """Values of the batch's last readings."""
    return batch.readings[-1].values


def reasons(batch: Batch) -> set[Reason]:
    last = batch.readings[-1]
    return {last.reason(i) for i in range(len(last.values))}


def was_read(batch: Batch) -> bool:
    return None not in values(batch)


def expected(batches: list[Batch]) -> int:
    """Polls that the batches stand for."""
    return sum(readings.polls for batch in batches for readings in batch.readings)


def right(slave: Slave, unit: int, fc: int, *addresses: int) -> tuple[int, ...]:
    return tuple(slave.value(unit, fc, address) for address in addresses)
