"""`edge sim ward` as a process: what it serves over real wires is what its ledger says, and it ends when told to."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from drivers.planner import plan, tcp_line
from drivers.profile import library, read_profile
from drivers.register import Decoder
from drivers.sim import ward
from drivers.sim.ledger import Answer, read_ledger
from drivers.sim.unit import point_names
from drivers.sim.wire import crc
from tests.drivers.ward_process import WardFailed, WardProcess
from tests.waiting import wait_until

METER = "power-1:eastron-sdm630:1@tcp"


@contextlib.asynccontextmanager
async def tcp(port: int) -> AsyncIterator[AsyncModbusTcpClient]:
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=0.5, retries=0)
    await client.connect()
    try:
        yield client
    finally:
        client.close()


@contextlib.asynccontextmanager
async def serial(path: Path, timeout: float = 0.5) -> AsyncIterator[AsyncModbusSerialClient]:
    client = AsyncModbusSerialClient(str(path), baudrate=9600, timeout=timeout, retries=0)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


# --- on the wire ------------------------------------------------------------------------------------------------------


def test_what_a_reader_gets_over_tcp(tmp_path: Path) -> None:
    """Every value that pymodbus reads is in the ledger, under its number."""
    path = tmp_path / "ledger.jsonl"
    seen: list[list[int]] = []

    async def read(port: int) -> None:
        async with tcp(port) as client:
            for _ in range(5):
                answer = await client.read_input_registers(0, count=76, device_id=1)
                seen.append(list(answer.registers))
                await asyncio.sleep(0.06)

    with WardProcess("--port-modbus", "0", "--ledger", str(path)) as sim:
        asyncio.run(read(sim.port))
        assert sim.stop() == 0
    ledger = read_ledger(path)
    points = read_profile(library()["eastron-sdm630"]).points()
    block = next(block for block in plan(points, tcp_line()) if block.start == 0)
    names = point_names(block.registers)
    assert len(seen) == 5
    assert "answers=5 " in sim.summary()
    for words, line in zip(seen, ledger.entries, strict=True):
        values, _ = Decoder(block).decode(words[: block.count])
        assert {name: line.values[name] for name in names} == dict(zip(names, values, strict=True))
    assert [line.n for line in ledger.entries] == [1, 2, 3, 4, 5]
    assert ledger.summary
    assert ledger.summary.answers == 5


def test_what_a_reader_gets_over_a_pty(tmp_path: Path) -> None:
    """A serial reader finds both units of the line, and nobody at a third address."""
    line = tmp_path / "line.tty"

    async def read() -> tuple[int, int, bool]:
        async with serial(line) as client:
            station = await client.read_holding_registers(500, count=16, device_id=1)
            cabinet = await client.read_input_registers(1, count=2, device_id=2)
            try:
                await client.read_input_registers(1, count=2, device_id=3)
            except ModbusIOException:
                return len(station.registers), len(cabinet.registers), True
            return 0, 0, False

    with WardProcess("--pty", str(line)) as sim:
        assert sim.ready == f"ready pty={line}\n"
        assert asyncio.run(read()) == (16, 2, True)
    assert not line.is_symlink()


def test_an_unknown_unit_over_tcp() -> None:
    """A TCP gateway says by exception 11 that nobody is there."""

    async def read(port: int) -> int:
        async with tcp(port) as client:
            return int((await client.read_input_registers(0, count=2, device_id=99)).exception_code)

    with WardProcess("--port-modbus", "0") as sim:
        assert asyncio.run(read(sim.port)) == 11


def test_rtu_over_tcp() -> None:
    """`@rtutcp:PORT` speaks RTU in a TCP stream."""

    async def read(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = bytes((1, 4, 0, 0, 0, 2))
        writer.write(body + crc(body).to_bytes(2, "little"))
        answer = await asyncio.wait_for(reader.readexactly(9), 2)
        writer.close()
        return answer

    with WardProcess("--device", "m-1:eastron-sdm630:1@rtutcp:0") as sim:
        answer = asyncio.run(read(sim.port))
    assert answer[:3] == bytes((1, 4, 4))
    assert crc(answer) == 0


def test_a_garbled_answer_on_a_line(tmp_path: Path) -> None:
    """Its CRC is wrong, so a reader drops it; the ledger knows that nobody may deliver it."""
    line, path = tmp_path / "line.tty", tmp_path / "ledger.jsonl"

    async def read() -> None:
        async with serial(line, 0.2) as client:
            with pytest.raises(ModbusIOException):
                await client.read_input_registers(1, count=2, device_id=2)

    with WardProcess("--pty", str(line), "--fault", "garbled:cab-1:1", "--ledger", str(path)):
        asyncio.run(read())
    (entry,) = read_ledger(path).entries
    assert (entry.fault, entry.allowed) == ("garbled", False)


def test_a_late_answer_on_a_line(tmp_path: Path) -> None:
    """It comes after the next request, like on a real line, and has a column of its own in the ledger."""
    line, path = tmp_path / "line.tty", tmp_path / "ledger.jsonl"

    async def read() -> None:
        async with serial(line, 0.15) as client:
            with pytest.raises(ModbusIOException):
                await client.read_input_registers(1, count=2, device_id=2)
            await asyncio.sleep(0.3)

    options = ("--fault", "late:cab-1:300:1", "--client-timeout", "0.15", "--ledger", str(path))
    with WardProcess("--pty", str(line), *options) as sim:
        asyncio.run(read())
    (entry,) = read_ledger(path).entries
    assert (entry.late, entry.required) == (True, False)
    assert "late=1 " in sim.summary()


def test_a_line_that_is_unplugged(tmp_path: Path) -> None:
    """The link goes away, comes back, and works again."""
    line = tmp_path / "line.tty"

    async def read() -> int:
        async with serial(line) as client:
            return len((await client.read_input_registers(1, count=2, device_id=2)).registers)

    with WardProcess("--pty", str(line), "--fault", "unplug:1.2"):
        assert asyncio.run(read()) == 2
        assert wait_until(lambda: not line.is_symlink())
        assert wait_until(line.is_symlink)
        assert asyncio.run(read()) == 2


def test_constant_answers() -> None:
    """With --static the same request gets the same answer, from the first to the thousandth."""

    async def read(port: int) -> set[tuple[int, ...]]:
        async with tcp(port) as client:
            answers = [await client.read_input_registers(0, count=76, device_id=1) for _ in range(200)]
            return {tuple(answer.registers) for answer in answers}

    with WardProcess("--device", "m-1:eastron-sdm630:1@tcp:0", "--static") as sim:
        assert len(asyncio.run(read(sim.port))) == 1
    assert "answers=200 " in sim.summary()


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_ward_that_is_told_to_end(tmp_path: Path) -> None:
    """SIGTERM ends it within two seconds, code 0, summary written, with a reader connected and a broker missing."""
    path, line = tmp_path / "ledger.jsonl", tmp_path / "line.tty"
    options = ("--port-modbus", "0", "--pty", str(line), "--mqtt", "mqtt://127.0.0.1:9", "--ledger", str(path))
    with WardProcess(*options) as sim:

        async def ended() -> tuple[int, float]:
            async with tcp(sim.port) as client:
                await client.read_input_registers(0, count=2, device_id=1)
                began = time.monotonic()
                return await asyncio.to_thread(sim.stop), time.monotonic() - began

        code, seconds = asyncio.run(ended())
    assert (code, seconds < 2) == (0, True)
    assert "answers=1 " in sim.summary()
    assert read_ledger(path).summary
    assert not line.is_symlink()


def test_a_ward_for_some_seconds() -> None:
    """--seconds ends it by itself."""
    with WardProcess("--port-modbus", "0", "--seconds", "0.2") as sim:
        assert sim.wait(5) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing to simulate"),
        (("--port-modbus", "0", "--fault", "loud"), "'loud' is not a fault"),
        (("--port-modbus", "0", "--fault", "silent:met-9"), "no device 'met-9'"),
        (("--device", "m-1:none-such:1@tcp:0"), "no profile 'none-such'"),
        (("--device", "m-1:vega-level-modbus:1@tcp:0"), "choose_variant"),
        (("--device", "m-1:xy-md02:1@rtu"), "no path is given"),
        (("--device", METER), "no port is given"),
        (("--device", METER, "--device", METER, "--port-modbus", "0"), "given twice"),
        (("--mqtt", "http://127.0.0.1"), "expected mqtt://"),
        (("--port-modbus", "0", "--static", "--ledger", "x"), "exclude each other"),
    ],
)
def test_options_that_cannot_be_used(
    options: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """One sentence that names the thing, and exit code 2."""
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    ward.add_arguments(parser)
    assert ward.main(parser.parse_args(options)) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_port_that_is_taken() -> None:
    """One sentence that names it, and exit code 2."""
    with WardProcess("--port-modbus", "0") as sim, pytest.raises(WardFailed) as refused:
        WardProcess("--port-modbus", str(sim.port)).start()
    assert re.search(rf"127\.0\.0\.1:{sim.port}: [^\n]+$", str(refused.value))


def test_a_ledger_file_that_is_something_else(tmp_path: Path) -> None:
    """It is named, and left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("mine\n")
    with pytest.raises(WardFailed, match="is no ledger"):
        WardProcess("--port-modbus", "0", "--ledger", str(path)).start()
    assert path.read_text() == "mine\n"


def test_a_path_that_is_something_else(tmp_path: Path) -> None:
    """A file in the place of the line's link is left as it is."""
    path = tmp_path / "line.tty"
    path.write_text("mine")
    with pytest.raises(WardFailed, match="is no link"):
        WardProcess("--pty", str(path)).start()
    assert path.read_text() == "mine"


def test_a_ledger_that_is_continued(tmp_path: Path) -> None:
    """After kill -9 the next run drops the half line and counts on; a reader may doubt what comes first."""
    path = tmp_path / "ledger.jsonl"

    async def read(port: int) -> None:
        async with tcp(port) as client:
            for _ in range(3):
                await client.read_input_registers(0, count=2, device_id=1)
                await asyncio.sleep(0.06)

    for killed in (True, False):
        with WardProcess("--port-modbus", "0", "--ledger", str(path)) as sim:
            asyncio.run(read(sim.port))
            if killed:
                sim.kill()
                with path.open("ab") as file:
                    file.write(b'{"kind":"modbus","n":4,"dev')
    answers = [entry for entry in read_ledger(path).entries if isinstance(entry, Answer)]
    assert [answer.n for answer in answers] == [1, 2, 3, 4, 5, 6]
    assert [answer.n for answer in answers if answer.doubted] == [4]
