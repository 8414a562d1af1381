"""Which device a message belongs to, and which topics a broker is asked for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from drivers.mqtt import MqttConnection
from drivers.settings import Broker, Subscription
from edge_agent.demo_servers import Mosquitto
from tests.drivers.taking import COUNTER, Taker, broker, numbered, publish
from tests.waiting import until


def test_device_named_like_another_drivers(mosquitto: Mosquitto) -> None:
    """Its readings would be mixed into the other's series: they are left out, counted and said; others come in."""

    async def scenario() -> None:
        connection = MqttConnection(broker(mosquitto.url), "cl-02", taken=lambda name: name == "dev-1")
        batches = connection.readings()
        first = asyncio.ensure_future(anext(batches))
        await until(lambda: connection.connected)
        await publish(mosquitto, numbered(3))
        await publish(mosquitto, numbered(1), "s/dev-2")
        assert [readings.source.device for readings in (await first).readings] == ["dev-2"]
        assert (connection.counts.name_taken, connection.counts.last_name_taken) == (3, "dev-1")
        assert [trouble.what for trouble in connection.troubles()] == ["name_taken"]
        await batches.aclose()

    asyncio.run(scenario())


def test_topic_taken_out_of_the_configuration(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """The session that the broker keeps is told to bring it no more, also after a restart of the program."""
    memory = tmp_path / "mqtt-field.json"

    async def connected_with(*topics: str) -> MqttConnection:
        subscriptions = [COUNTER | {"topic": topic} for topic in topics]
        told = {"id": "field", "broker": mosquitto.url, "subscriptions": subscriptions}
        taker = Taker(Broker.model_validate_json(json.dumps(told)))
        taker.connection = MqttConnection(Broker.model_validate_json(json.dumps(told)), "cl-02", memory=memory)
        task = asyncio.create_task(taker.run())
        await until(lambda: taker.connection.connected)
        await publish(mosquitto, numbered(1), "old/dev-1")
        await publish(mosquitto, numbered(1), "s/dev-1")
        await until(lambda: len(taker.readings) >= len(topics))
        await publish(mosquitto, numbered(1), "s/last")  # comes back once the acknowledgements before it have left
        await until(lambda: taker.readings[-1].source.device == "last")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return taker.connection

    async def scenario() -> None:
        assert (await connected_with("s/+", "old/+")).counts.messages == 3
        assert (await connected_with("s/+")).counts.not_subscribed == 0
        assert json.loads(memory.read_text())["topics"] == ["s/+"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("device", "topic", "what"),
    [
        ("{id}", "s/+", "device_template"),
        ("met-{}", "s/+", "device_template"),
        ("{1", "s/+", "device_template"),
        ("{2}", "s/+", "device_level"),
        ("{7}", "s/#", None),
        ("{0}-{1}", "s/+", None),
    ],
)
def test_template_of_a_devices_name(device: str, topic: str, what: str | None) -> None:
    """What is no level of the topic would give every device one name: it is refused beforehand."""
    told = {"topic": topic, "decoder": "json", "device": device, "points": {"air.co2_ppm": "$.n"}}
    if what is None:
        assert Subscription.model_validate(told).device == device
        return
    with pytest.raises(ValidationError) as refused:
        Subscription.model_validate(told)
    assert [error["type"] for error in refused.value.errors()] == [f"edge.{what}"]
