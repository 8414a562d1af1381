"""The program's parts hold on their own: what one of them meets costs the others nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edge_agent.app import App
from edge_agent.config import Config, load

CONFIG = """\
site: cl-02
name: Phường Sao Đỏ
state: ./state
buses:
  - {id: b0, tcp: "127.0.0.1:9", devices: [{id: d0, profile: eastron-sdm630, unit: 1, every: 1s}]}
"""


def with_a_profile_that_cannot_be_decoded(folder: Path) -> Config:
    """As if the check of profiles had let pass what cannot be: a code for "no value" that no register can hold."""
    (folder / "agent.yaml").write_text(CONFIG, encoding="utf-8")
    config = load(folder / "agent.yaml")
    profile = config.used_profiles["eastron-sdm630"]
    config._used = {profile.id: profile.model_copy(update={"invalid": {"f32": -9999}})}
    return config


def test_part_that_cannot_be_made_costs_only_itself(tmp_path: Path) -> None:
    """It is said as a fault of that bus, and the box goes on to measure and keep."""

    async def scenario() -> None:
        app = App(with_a_profile_that_cannot_be_decoded(tmp_path))
        running = asyncio.create_task(app.run())
        async with asyncio.timeout(20):
            while not app.troubles() or (await app.journal.stat()).readings == 0:
                await asyncio.sleep(0.05)
            assert [(trouble.what, trouble.facts["part"]) for trouble in app.troubles()] == [("part_failing", "bus b0")]
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(scenario())
