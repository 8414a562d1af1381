"""What the simulated ward publishes over MQTT is what its ledger says, faults and lost brokers included."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from drivers.sim.ledger import Message, read_ledger
from edge_agent.demo_servers import Mosquitto
from tests.drivers.ward_process import WardProcess
from tests.waiting import wait_until


async def _collect(broker: Mosquitto, into: list[aiomqtt.Message], listening: asyncio.Event) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("#", qos=1)
        listening.set()
        async for message in client.messages:
            into.append(message)


async def _published(broker: Mosquitto, seconds: float, *options: str) -> list[aiomqtt.Message]:
    """What a subscriber hears of a ward that runs for some seconds."""
    heard: list[aiomqtt.Message] = []
    listening = asyncio.Event()
    collecting = asyncio.create_task(_collect(broker, heard, listening))
    await asyncio.wait_for(listening.wait(), 5)
    with WardProcess("--mqtt", broker.url, "--every-mqtt", "0.02", *options) as sim:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(sim.stop)
    await asyncio.sleep(0.1)
    collecting.cancel()
    await asyncio.wait([collecting])
    return heard


def _json(message: aiomqtt.Message) -> dict[str, object]:
    return msgspec.json.decode(bytes(message.payload), type=dict[str, object])


def test_traffic_intervals(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Each has the form of the contract, its own stamp and its number as the count; the ledger has all of them."""
    path = tmp_path / "ledger.jsonl"
    heard = asyncio.run(_published(mosquitto, 0.6, "--device", "cnt-1:traffic@mqtt", "--ledger", str(path)))
    ledger = read_ledger(path)
    assert len(heard) == len(ledger.entries) > 5
    for message, entry in zip(heard, ledger.entries, strict=True):
        told = _json(message)
        assert isinstance(entry, Message)
        assert str(message.topic) == "traffic/cnt-1/interval"
        assert {key: str(told[key]) for key in ("lane", "dir", "class")} == entry.tags
        assert (told["count"], told["speed"]) == tuple(entry.values.values())
        assert told["count"] == entry.n
        assert entry.required
    assert len({entry.time for entry in ledger.entries}) == len(ledger.entries)


def test_uplinks_of_a_weather_station(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """They look like ChirpStack v4's, with the number as the rain gauge's counter."""
    path = tmp_path / "ledger.jsonl"
    heard = asyncio.run(_published(mosquitto, 0.4, "--device", "rain-1:chirpstack@mqtt", "--ledger", str(path)))
    ledger = read_ledger(path)
    sequence = ledger.sequences["rain-1"]
    assert len(heard) == len(ledger.entries) > 5
    for message, entry in zip(heard, ledger.entries, strict=True):
        told = _json(message)
        fields = told["object"]
        assert isinstance(fields, dict)
        assert re.fullmatch(r"application/[0-9a-f-]{36}/device/[0-9a-f]{16}/event/up", str(message.topic))
        assert list(fields.values()) == list(entry.values.values())
        assert sequence.code(fields["rainfall_total"]) == entry.n


def test_messages_that_nobody_subscribed_to(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The broker says so, and nobody has to deliver them."""
    path = tmp_path / "ledger.jsonl"
    with WardProcess("--mqtt", mosquitto.url, "--every-mqtt", "0.02", "--ledger", str(path)):
        time.sleep(0.3)
    ledger = read_ledger(path)
    assert ledger.entries
    assert not any(entry.required for entry in ledger.entries)
    assert ledger.summary
    assert ledger.summary.unheard == len(ledger.entries)


def test_a_broker_that_goes_away(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """What was not acknowledged is sent again with the same content, and the counting goes on without a gap."""
    path = tmp_path / "ledger.jsonl"
    with WardProcess(
        "--mqtt", mosquitto.url, "--every-mqtt", "0", "--device", "cnt-1:traffic@mqtt", "--ledger", str(path)
    ):
        time.sleep(0.3)
        mosquitto.kill()
        before = len(read_ledger(path).entries)
        time.sleep(0.3)
        mosquitto.start()
        assert wait_until(lambda: len(read_ledger(path).entries) > before + 5)
    entries = [entry for entry in read_ledger(path).entries if isinstance(entry, Message)]
    assert [entry.n for entry in entries] == list(range(1, len(entries) + 1))
    assert all(entry.acked for entry in entries[:-1])
    assert all(entry.repeat == (entry.copies > 1) for entry in entries)


def test_malformed_payloads(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """They are no JSON, and hold nothing that could be delivered."""
    path = tmp_path / "ledger.jsonl"
    options = ("--fault", "malformed:1", "--device", "cnt-1:traffic@mqtt", "--ledger", str(path))
    heard = asyncio.run(_published(mosquitto, 0.3, *options))
    assert heard
    with pytest.raises(msgspec.DecodeError):
        _json(heard[0])
    assert all(not entry.values and not entry.required for entry in read_ledger(path).entries)


@pytest.mark.parametrize(("fault", "value", "generated"), [("nan:1", "NaN", None), ("out-of-range:1", 260.0, 260.0)])
def test_value_faults_of_mqtt(
    mosquitto: Mosquitto, tmp_path: Path, fault: str, value: object, generated: float | None
) -> None:
    """NaN is no value and out of range is one, in the message as in the ledger."""
    path = tmp_path / "ledger.jsonl"
    options = ("--fault", fault, "--device", "cnt-1:traffic@mqtt", "--ledger", str(path))
    heard = asyncio.run(_published(mosquitto, 0.3, *options))
    assert {_json(message)["speed"] for message in heard} == {value}
    assert {entry.values["traffic.speed_avg_kmh"] for entry in read_ledger(path).entries} == {generated}
