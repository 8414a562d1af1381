"""The probe tells a broker that keeps messages from one that drops them, by trying."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from drivers.settings import Broker
from edge_agent.broker_probe import Finding, probe
from edge_agent.demo_servers import EDGE_CONF, Mosquitto, free_port
from edge_agent.text import LANGUAGES, texts


def broker(url: str) -> Broker:
    """A broker of the configuration."""
    return Broker.model_validate({"id": "field", "broker": url})


def keys(finding: Finding) -> list[str]:
    """The finding's sentences, each of which must be there in both languages with all its facts."""
    for language in LANGUAGES:
        for key, facts in finding.sentences():
            assert texts(language, strict=True)(key, **facts)
    return [key for key, _ in finding.sentences()]


def test_broker_with_our_settings(mosquitto: Mosquitto) -> None:
    """config/mosquitto/edge.conf keeps every message, and sends enough of them ahead."""
    finding = asyncio.run(probe(broker(mosquitto.url)))
    assert (finding.kept, finding.sent, finding.keeps) == (1500, 1500, True)
    assert keys(finding) == ["net.broker_keeps"]


@pytest.mark.parametrize("config", ["", EDGE_CONF.read_text(encoding="utf-8") + "\nmax_queued_messages 1000\n"])
def test_broker_that_drops(tmp_path: Path, config: str) -> None:
    """mosquitto's defaults, and our settings with its short queue, lose what is above 1,000."""
    with Mosquitto(tmp_path, config=config) as server:
        finding = asyncio.run(probe(broker(server.url)))
    assert not finding.keeps
    assert finding.kept < 1200
    assert keys(finding)[0] == "net.broker_drops"


def test_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its session is gone from the broker afterwards, with its queue."""
    with Mosquitto(tmp_path, extra="sys_interval 1\nlog_type all") as server:
        asyncio.run(probe(broker(server.url), messages=200))
        saved = tmp_path / "mosquitto" / "mosquitto.db"
        server.stop()
        assert b"edge-probe" not in saved.read_bytes()


def test_broker_that_cannot_be_tried(tmp_path: Path) -> None:
    """A broker that is not there, or does not let us in, is said so, soon."""
    before = time.monotonic()
    absent = asyncio.run(probe(broker(f"mqtt://127.0.0.1:{free_port()}")))
    with Mosquitto(tmp_path, passwords={"edge": "secret"}) as server:
        denied = asyncio.run(probe(broker(server.url)))
    assert (absent.error, denied.error) == ("connection refused", "not authorized")
    assert keys(absent) == keys(denied) == ["net.broker_not_probed"]
    assert time.monotonic() - before < 5
