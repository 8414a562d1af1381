"""One of the two clients that `bench.modbus` compares: `python -m bench.modbus_client ours|bare PROFILE SECONDS PORT…`

Prints how many transactions were done, in how many seconds of processor time. Bare: pymodbus alone on uvloop, its
answers thrown away. Ours: the whole driver, with every answer checked and decoded into readings.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path

import uvloop
from pymodbus.client import AsyncModbusTcpClient

from bench.machine import own_cpu_seconds
from bench.ward import UNIT
from drivers.modbus import ModbusBus
from drivers.profile import Profile, read_profile
from drivers.settings import Bus, Device


class Bare:
    """pymodbus as its documentation uses it."""

    def __init__(self, profile: Profile, port: int) -> None:
        """Only the number of registers is taken from `profile`."""
        self._registers = len(profile.registers)
        self._client = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0)

    async def run(self, seconds: float) -> int:
        """Ask until the time is over; the number of answers."""
        await self._client.connect()
        loop, count = asyncio.get_running_loop(), 0
        end = loop.time() + seconds
        while loop.time() < end:
            answer = await self._client.read_holding_registers(0, count=self._registers, device_id=UNIT)
            if answer.isError():
                raise ConnectionError(f"no answer: {answer}")
            count += 1
        self._client.close()
        return count


class Ours:
    """`drivers/modbus.py`."""

    def __init__(self, profile: Profile, port: int) -> None:
        """A bus with one device."""
        device = Device.model_construct(id="dev", profile=profile.id, unit=UNIT, every=1.0)
        self._driver = ModbusBus(
            Bus(id=f"bus-{port}", tcp=f"127.0.0.1:{port}", devices=(device,)), {profile.id: profile}
        )

    async def run(self, seconds: float) -> int:
        """Poll, and have the next poll due at once, until the time is over; the number of answers."""
        loop, (unit,) = asyncio.get_running_loop(), self._driver.units()
        end = loop.time() + seconds
        async for _ in self._driver.readings():
            unit.due = time.monotonic()
            if loop.time() >= end:
                break
        state = self._driver.devices["dev"]
        if state.timeout or state.garbled or state.short:
            raise ConnectionError(f"no answer: {state}")
        return state.ok


async def _main(client: type[Bare] | type[Ours], profile: Profile, seconds: float, ports: list[int]) -> None:
    clients = [client(profile, port) for port in ports]
    gc.freeze()  # as the agent does once it is ready
    began = own_cpu_seconds()
    counts = await asyncio.gather(*(each.run(seconds) for each in clients))
    print(sum(counts), own_cpu_seconds() - began)


if __name__ == "__main__":
    which = Bare if sys.argv[1] == "bare" else Ours
    uvloop.run(_main(which, read_profile(Path(sys.argv[2])), float(sys.argv[3]), [int(port) for port in sys.argv[4:]]))
