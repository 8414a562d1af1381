"""Simulated sites make a living meeting."""

import asyncio
from pathlib import Path

from conference import sim
from tests.conference.live import live


def test_simulated_sites_are_seen_and_speak_in_turn(tmp_path: Path) -> None:
    """Two of them: a member sees both and hears them, and the stage follows the speaker."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting, asyncio.TaskGroup() as tasks:
            sites = [
                tasks.create_task(
                    sim.site(meeting.url, "giao-ban", meeting.ticket("site", f"cl-0{at}"), at, 2), name=f"site {at}"
                )
                for at in range(2)
            ]
            viewer = await meeting.join("chair")
            await viewer.until(lambda: len(viewer.sees()) == 2, within=30)
            first = await speaker(viewer.slots)
            await viewer.until(lambda: viewer.slots().speaker not in (0, first), within=5 * sim.TURN)
            await viewer.until(lambda: viewer.slots().video[0].member == viewer.slots().speaker)
            for site in sites:
                site.cancel()
            await viewer.drop()

    async def speaker(slots: object) -> int:
        for _ in range(400):
            found: int = slots().speaker  # type: ignore[operator]
            if found:
                return found
            await asyncio.sleep(0.1)
        raise AssertionError("nobody spoke")

    asyncio.run(scenario())
