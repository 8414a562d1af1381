"""Own addresses: those of this moment."""

import asyncio
from pathlib import Path

import pytest

from conference import addresses
from conference.addresses import FRESH, Addresses
from tests.conference.conftest import Clock
from tests.conference.live import Page, live


class System:
    """What the system says of the box's addresses."""

    def __init__(self) -> None:
        self.found = ["127.0.0.1"]
        self.asked = 0
        self.broken = False

    def __call__(self, use_ipv4: bool, use_ipv6: bool) -> list[str]:
        self.asked += 1
        if self.broken:
            raise OSError("netlink")
        return list(self.found)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    found = System()
    monkeypatch.setattr(addresses, "get_host_addresses", found)
    return found


def test_addresses_that_come_and_go(system: System, clock: Clock) -> None:
    """They are asked for anew after a second, not for each viewer; one that cannot be told keeps those before."""
    own = Addresses("0.0.0.0", clock=clock)
    assert own.now() == own.now() == ("127.0.0.1",)
    assert system.asked == 1
    system.found = ["fd00::1", "10.9.9.9"]
    clock.now += FRESH
    assert own.now() == ("10.9.9.9", "fd00::1")
    system.broken = True
    clock.now += FRESH
    assert own.now() == ("10.9.9.9", "fd00::1")


def test_addresses_that_were_configured(system: System) -> None:
    """Fixed ones are told whatever the system has, and so is the one that is listened on."""
    assert Addresses("0.0.0.0", ("10.1.2.10",)).now() == ("10.1.2.10",)
    assert Addresses("127.0.0.3").now() == ("127.0.0.3",)
    assert system.asked == 0


def test_lease_that_comes_after_the_start(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next to call is told the new address as a candidate, and the status names its page."""
    monkeypatch.setattr(addresses, "FRESH", 0.0)

    async def scenario() -> None:
        async with live(tmp_path, listen="0.0.0.0:0") as meeting:
            early = await meeting.join(site="cl-01")
            assert candidates(early) == {"127.0.0.1"}
            system.found = ["127.0.0.1", "10.9.9.9"]
            page = f"https://10.9.9.9:{meeting.port}/"
            assert page in (await meeting.status()).pages
            late = await meeting.join(site="cl-02")
            assert candidates(late) == {"127.0.0.1", "10.9.9.9"}
            for each in (early, late):
                await each.drop()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def candidates(page: Page) -> set[str]:
    lines = [line.split() for line in page.answer.splitlines() if line.startswith("a=candidate")]
    return {words[4] for words in lines}
