"""Every model that ships, on one real TCP line: simulated from its profile, read by the driver."""

from __future__ import annotations

import asyncio

from drivers.modbus import ModbusBus
from drivers.profile import Profile, library, read_profile
from drivers.profile_view import settle
from drivers.reading import Quality
from drivers.settings import Bus
from tests.drivers.ward_process import WardProcess

PATIENCE = 60.0
"""Seconds for one round of all, on a machine that is busy with others."""


def test_every_model_on_the_wire() -> None:
    """Each gives every one of its points as a good value, or as an uncertain one, all behind one endpoint."""
    profiles = {name: read_profile(path) for name, path in library().items()}
    chosen = {name: settle(profile)[0] for name, profile in profiles.items()}
    polled = [name for name in profiles if profiles[name].points(chosen[name])]
    units = {name: number for number, name in enumerate(polled, 1)}
    words = [f"{name}:{'+'.join([name, *chosen[name]])}:{units[name]}@tcp" for name in polled]
    with WardProcess("--port-modbus", "0", *(word for each in words for word in ("--device", each))) as sim:
        devices = [
            {"id": name, "profile": name, "unit": units[name], "every": "1s", "variant": tuple(chosen[name])}
            for name in polled
        ]
        bus = Bus.model_validate({"id": "all", "tcp": f"127.0.0.1:{sim.port}", "devices": devices})
        seen = asyncio.run(_seen(ModbusBus(bus, profiles), _expected(profiles, chosen)))
    assert len(polled) >= 32
    assert {
        name: points for name, points in _expected(profiles, chosen).items() if points - seen.get(name, set())
    } == {}


def _expected(profiles: dict[str, Profile], chosen: dict[str, list[str]]) -> dict[str, set[str]]:
    """The points of each model."""
    return {
        name: {str(register.canonical) for register in profile.points(chosen[name])}
        for name, profile in profiles.items()
    }


async def _seen(bus: ModbusBus, expected: dict[str, set[str]]) -> dict[str, set[str]]:
    """The points that had a usable value, once all had one, or when there is no more patience."""
    seen: dict[str, set[str]] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            async for batch in bus.readings():
                for readings in batch.readings:
                    for reading in readings:
                        if reading.value is not None and reading.reason.quality is not Quality.BAD:
                            quantity = readings.source.quantities[reading.index]
                            name = f"{quantity.measurement}.{quantity.field}"
                            seen.setdefault(readings.source.device, set()).add(name)
                if all(points <= seen.get(name, set()) for name, points in expected.items()):
                    break
    except TimeoutError:
        pass
    return seen
