"""One open Modbus connection: pymodbus carries the bytes, a guard decides what is an answer. The only seam to pymodbus.

pymodbus never retries and never reconnects here: both are the bus's, which knows what else the line has to do.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import termios
from collections.abc import Callable

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from drivers.frames import Guard, Outcome, Request, RtuGuard, TcpGuard
from drivers.settings import Bus

# pymodbus logs an error of its own, with a dump of frames, for each time-out and each refused connection. The bus says
# the same once, by name; so pymodbus is silenced here and nowhere else.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

LARGEST_TCP, LARGEST_RTU = 1 << 19, 528
"""Bytes that pymodbus keeps; beyond, it drops all unseen. Its own 264 would lose an answer that comes with a late one.
On TCP more than one read of the event loop, so that a flood is seen and ends the connection; on RTU two frames, as the
guard goes through them again with each byte that comes."""


class Wire:
    """A connection of one bus, from `open` to the first `lost` or `close`. One request at a time."""

    def __init__(self, bus: Bus, late: Callable[[int], bool]) -> None:
        """Needs a running loop. `late` as for Guard."""
        rtu = bus.is_serial or bus.framer == "rtu"
        self.guard: Guard = RtuGuard(late) if rtu else TcpGuard(late)
        self.lost = False
        self._client = self._serial(bus) if bus.is_serial else self._tcp(bus, rtu)
        self._context = self._client.ctx
        self._context.max_buffer_size = LARGEST_RTU if rtu else LARGEST_TCP
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        """Done once nothing more is waited for."""
        self.guard.over = self._end

    async def open(self, timeout: float) -> None:
        """Connect. Raises OSError (of which TimeoutError is one) with the reason, which `client.connect()` hides."""
        context = self._client.ctx
        try:
            context.transport, _ = await asyncio.wait_for(context.call_create(), timeout)
        except (termios.error, ValueError) as error:  # a setting that this port does not have, an impossible host name
            raise OSError(errno.EINVAL, str(error)) from error

    async def ask(self, request: Request, patience: float) -> Outcome:
        """Send `request` and wait `patience` seconds for its answer; `guard` then has the answer's data.

        As `execute` of pymodbus, less what the bus and the guard do themselves: retries, decoding, who answers.
        """
        guard, context = self.guard, self._context
        guard.expect(request)
        request.transaction_id = context.getNextTID()
        self._over = self._loop.create_future()
        context.pdu_send(request)
        timer = self._loop.call_later(patience, self._end)
        try:
            if not self.lost:
                await self._over
        finally:
            timer.cancel()
        if guard.waits and not self.lost:
            # After a stall of the box the timer comes before bytes that lie in the kernel: it is no silent device.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if guard.waits:
            guard.expire()
            return Outcome.lost if self.lost else guard.outcome
        return guard.outcome

    def _end(self) -> None:
        """The answer is there, or the time for it is over."""
        if not self._over.done():
            self._over.set_result(None)

    def tune(self, baud: int, framing: str) -> None:
        """Give the open serial port other settings. Raises OSError where it does not have them."""
        port = self._client.ctx.transport.sync_serial  # type: ignore[attr-defined]  # pymodbus's own, without types
        try:
            port.apply_settings(
                {
                    "baudrate": baud,
                    "bytesize": int(framing[0]),
                    "parity": framing[1],
                    "stopbits": int(framing[2]),
                }
            )
        except (termios.error, ValueError) as error:
            raise OSError(errno.EINVAL, str(error)) from error

    def close(self) -> None:
        """Close the port or connection."""
        self.lost = True
        self._client.close()

    def _connected(self, up: bool) -> None:
        """pymodbus says that the connection is up or gone: then no answer comes any more."""
        if not up:
            self.lost = True
            self._end()

    def _serial(self, bus: Bus) -> AsyncModbusSerialClient:
        return AsyncModbusSerialClient(
            str(bus.serial),
            framer=FramerType.RTU,
            baudrate=bus.baud,
            bytesize=int(bus.framing[0]),
            parity=bus.framing[1],
            stopbits=int(bus.framing[2]),
            name=bus.id,
            reconnect_delay=0,
            retries=0,
            trace_packet=self.guard.trace,
            trace_connect=self._connected,
        )

    def _tcp(self, bus: Bus, rtu: bool) -> AsyncModbusTcpClient:
        return AsyncModbusTcpClient(
            bus.host,
            port=bus.port,
            framer=FramerType.RTU if rtu else FramerType.SOCKET,
            name=bus.id,
            reconnect_delay=0,
            retries=0,
            trace_packet=self.guard.trace,
            trace_connect=self._connected,
        )
