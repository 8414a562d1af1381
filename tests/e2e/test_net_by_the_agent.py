"""`edge net` of a technician who does not know the service's secrets: the running agent tries for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.demo_servers import Mosquitto
from edge_agent.net_show import Answer
from tests.e2e.box import Agent

CONFIG = """
site: cl-02
language: en
state: ./state
box: {{disabled: true}}
mqtt: [{{id: field, broker: "{broker}", client_id: c, username: edge, password: !secret broker, subscriptions: [
  {{topic: a/+, decoder: json, points: {{water.level_m: $.l}}}}]}}]
"""
SECRET = "EDGE_SECRET_BROKER"
PASSWORD = "quite-secret-7"


def net(agent: Agent, *words: str) -> str:
    """What a technician's `edge net` prints; the environment has no secret."""
    command = [sys.executable, "-m", "edge_agent", "net", "-c", str(agent.file), *words]
    bare = {name: value for name, value in os.environ.items() if name != SECRET}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=bare)
    assert PASSWORD not in done.stdout + done.stderr
    return done.stdout


def rungs(said: str) -> tuple[str, dict[str, str]]:
    """Who climbed, and the state of each rung."""
    answer: Answer = Answer(**json.loads(said))
    [target] = json.loads(said)["targets"]
    return answer.by, {rung["rung"]: rung["state"] for rung in target["rungs"]}


def test_agent_tries_with_its_own_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It signs in although the technician cannot; without it that rung is said to be out of reach, before all else; a
    file that is not what runs is tried as the file says."""
    monkeypatch.setenv(SECRET, PASSWORD)
    with Mosquitto(tmp_path, passwords={"edge": PASSWORD}) as server:
        agent = Agent(tmp_path)
        agent.file.write_text(CONFIG.format(broker=server.url), encoding="utf-8")
        agent.start()
        try:
            by, states = rungs(net(agent, "--json"))
            assert (by, states["sign_in"], states["keeps"]) == ("agent", "ok", "ok")
            assert "● sign-in" in net(agent)
            agent.file.write_text(agent.file.read_text().replace("a/+", "b/+"), encoding="utf-8")
            assert "is no longer what runs" in " ".join(net(agent).split())
        finally:
            agent.kill()
        said = " ".join(net(agent).split())
        assert said.startswith("The measuring service does not run or may not be asked")
        assert "(broker)" in said
        assert "✖ sign-in" in said
        by, states = rungs(net(agent, "--json"))
        assert (by, states["sign_in"]) == ("command", "failed")
