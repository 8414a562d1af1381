"""Who is believed about the box's clock, and what happens to readings while nobody vouches for it."""

from __future__ import annotations

import asyncio
import ctypes
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from drivers.reading import Readings, Reason
from edge_agent import recovery
from edge_agent.checks import Stamps
from edge_agent.clock import Told, ask
from edge_agent.demo_servers import free_port
from tests.edge_agent.clock_box import HOUR, LEVEL, SERIES, SYNCED, WAITING, YEAR_1970, YEAR_2096, Box, run
from tests.waiting import wait_until

# --- who is asked -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["local stratum 10", ""], ids=["synced", "waiting"])
def chronyd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[tuple[str, int], str]]:
    """A real chronyd that leaves the clock alone; with and without a time of its own."""
    program = shutil.which("chronyd", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        pytest.skip("chronyd is not installed: apt-get install chrony")
    port, file = free_port(), tmp_path / "chrony.conf"
    places = f"bindcmdaddress 127.0.0.1\nbindcmdaddress {tmp_path}/sock\npidfile {tmp_path}/pid\n"
    file.write_text(f"cmdport {port}\nport 0\n{places}{request.param}\n", encoding="utf-8")
    process = subprocess.Popen([program, "-x", "-d", "-U", "-f", str(file)], stderr=subprocess.DEVNULL)
    try:
        if not wait_until(lambda: asyncio.run(ask(("127.0.0.1", port))).by == "chrony", 5):
            pytest.skip("chronyd does not run here without more rights")
        yield ("127.0.0.1", port), "synced" if request.param else "waiting"
    finally:
        process.terminate()
        process.wait(10)


def test_chrony_is_asked_first(chronyd: tuple[tuple[str, int], str], tmp_path: Path) -> None:
    """Its word counts, whatever timesyncd has left behind."""
    address, state = chronyd
    (tmp_path / "synchronized").touch()
    assert asyncio.run(ask(address, tmp_path)) == Told(state, "chrony")  # type: ignore[arg-type]  # a parameter


def test_timesyncd_is_asked_next(tmp_path: Path) -> None:
    """Its mark says that the clock was set; without the mark it is still at it."""
    nobody = ("127.0.0.1", free_port())
    assert asyncio.run(ask(nobody, tmp_path)) == Told("waiting", "timesyncd")
    (tmp_path / "synchronized").touch()
    assert asyncio.run(ask(nobody, tmp_path)) == Told("synced", "timesyncd")


def test_box_without_a_time_source_is_not_kept_waiting(tmp_path: Path) -> None:
    """The kernel may call the clock right; where nobody is there to set it, it is unknown and believed."""
    told = asyncio.run(ask(("127.0.0.1", free_port()), tmp_path / "none"))
    assert told.state in ("synced", "unknown")
    assert told.by in ("kernel", "none")


@pytest.mark.parametrize(("said", "state"), [(0, "synced"), (4, "synced"), (5, "unknown"), (-1, "unknown")])
def test_kernel_is_asked_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: int, state: str) -> None:
    """By the number that adjtimex(2) returns: 5 is "not synchronised", below 0 the sandbox forbids the question."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(adjtimex=lambda _: said))
    told = asyncio.run(ask(("127.0.0.1", free_port()), tmp_path / "none"))
    assert (told.state, told.by) == (state, "none" if said < 0 else "kernel")


@pytest.mark.parametrize("answer", [b"", b"x", b"\6\2" + bytes(102), bytes(200)])
def test_answer_that_is_not_chronys_is_none(answer: bytes) -> None:
    """Whoever else has that port is not believed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))

        async def main() -> Told:
            asking = asyncio.ensure_future(ask(other.getsockname(), Path("none")))
            await asyncio.sleep(0.05)
            _, place = other.recvfrom(512)
            other.sendto(answer, place)
            return await asking

        assert asyncio.run(main()).by != "chrony"


# --- readings of a clock that is not right ----------------------------------------------------------------------------


@pytest.mark.parametrize("off", [YEAR_1970, -HOUR, 10 * 60_000, YEAR_2096], ids=["1970", "-1h", "+10min", "2096"])
def test_readings_before_the_first_sync_are_held_and_dated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: int
) -> None:
    """None is sent before; then each has the time at which it was read, in order, marked; later ones are plain."""

    async def work(box: Box) -> None:
        began = time.time_ns() // 1_000_000
        for n in range(30):
            box.read(float(n))
            if n % 10 == 0:
                await box.journal.flush()
        await box.journal.flush()
        assert (box.journal.held, await box.sent()) == (30, [])
        assert box.journal.clock_doubtful  # by such a clock nothing is old enough to be deleted
        assert [trouble.what for trouble in box.dating.troubles()] == ["clock_unsynced"]
        box.off, box.told = 0, SYNCED
        await box.dating._turn()
        box.read(99.0)
        await box.journal.flush()
        sent = await box.sent()
        assert [float(value) for _, value, _ in sent] == [*map(float, range(30)), 99.0]
        assert all(began - 1500 <= stamp <= began + 20_000 for stamp, _, _ in sent), sent
        assert [stamp for stamp, _, _ in sent] == sorted({stamp for stamp, _, _ in sent})
        assert {reason for _, _, reason in sent[:-1]} == {'"clock_unsynced"'}
        assert (sent[-1][2], box.dating.troubles()) == ("", [])
        hours = {hour for hour, _ in await box.journal.ledger(0)}
        assert all(abs(hour - began // HOUR) <= 1 for hour in hours)

    run(tmp_path, monkeypatch, work, off=off, told=WAITING)


def test_boot_that_never_had_the_time_is_kept_and_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a sink has answered and patience is over they go out as they are; the next boot's wait for theirs."""

    async def work(box: Box) -> None:
        box.read(1.0)
        await box.journal.flush()
        await box.dating._turn()
        assert (box.journal.held, box.journal.unheard) == (1, True)  # nobody to deliver to: waiting costs nothing
        box.journal.heard()
        await asyncio.sleep(0.02)
        await box.dating._turn()
        box.read(2.0)
        await box.journal.flush()
        sent = await box.sent()
        assert [(value, reason) for _, value, reason in sent] == [(v, '"clock_unsynced"') for v in ("1.0", "2.0")]
        assert all(stamp < time.time_ns() // 1_000_000 - 40 * 365 * 24 * HOUR for stamp, _, _ in sent)

    run(tmp_path, monkeypatch, work, off=YEAR_1970, told=WAITING, patience=0.01)


@pytest.mark.parametrize("boot", ["boot", "next boot"])
def test_agent_that_ended_meanwhile_dates_what_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str
) -> None:
    """In the same boot the monotonic time still tells; after another one nothing does, and they keep what they have."""

    async def main() -> None:
        box = Box(tmp_path, monkeypatch)
        box.off, box.told = YEAR_1970, WAITING
        await box.dating.begin()
        box.read(1.0)
        await box.journal.close()
        box = Box(tmp_path, monkeypatch, boot=boot)
        box.told = SYNCED
        await box.dating.begin()
        ((stamp, _, reason),) = await box.sent()
        assert (abs(stamp - time.time_ns() // 1_000_000) < 20_000) == (boot == "boot")
        assert reason == '"clock_unsynced"'
        await box.journal.close()

    asyncio.run(main())


@pytest.mark.parametrize("running", [True, False], ids=["while-running", "before-the-start"])
def test_readings_that_wait_for_their_time_survive_a_damaged_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, running: bool
) -> None:
    """Brought back, they still wait, and get the right time: none goes out in 1970."""
    monkeypatch.setattr(recovery, "RETRY", 0.02)

    async def main() -> None:
        box = Box(tmp_path, monkeypatch)
        box.off, box.told = YEAR_1970, WAITING
        await box.dating.begin()
        for n in range(30):
            box.read(float(n))
            await box.journal.flush()
        if not running:
            await box.journal.close()
            box = Box(tmp_path, monkeypatch)
            box.off, box.told = YEAR_1970, WAITING
        await box.journal.call(box.store.begin_anew, "test")
        box.journal.moved()
        box.told, box.off = SYNCED, 0
        await box.dating._turn()
        box.read(30.0)
        await box.journal.flush()
        assert await box.sent() == []
        bringing = asyncio.create_task(box.journal.recovery.bring_back())
        async with asyncio.timeout(10):
            while box.journal.salvaging:
                await asyncio.sleep(0.02)
        bringing.cancel()
        await box.dating._turn()
        now, sent = time.time_ns() // 1_000_000, await box.sent()
        assert sorted(float(value) for _, value, _ in sent) == list(map(float, range(31)))
        assert all(abs(stamp - now) < 20_000 for stamp, _, _ in sent), sent
        await box.journal.close()

    asyncio.run(main())


def test_full_journal_is_thinned_where_the_time_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its time goes on waiting, and gets it; only where nothing else is left, patience ends."""

    async def work(box: Box) -> None:
        for n in range(30):
            box.read(float(n))
            await box.journal.flush()
        box.off, box.told = YEAR_1970, WAITING
        await box.dating._turn()
        for n in range(30, 35):
            box.read(float(n))
            await box.journal.flush()
        assert await box.journal.recovery.make_room()
        assert box.store.stat().thinned >= 28
        assert (box.journal.held, box.store.undated.after) == (5, 30)
        box.off, box.told = 0, SYNCED
        await box.dating._turn()
        last = (await box.sent())[-5:]
        assert [float(value) for _, value, _ in last] == [30, 31, 32, 33, 34]
        assert {reason for _, _, reason in last} == {'"clock_unsynced"'}
        assert all(abs(stamp - time.time_ns() // 1_000_000) < 20_000 for stamp, _, _ in last), last

    run(tmp_path, monkeypatch, work)


def test_rows_keep_their_dates_once_they_may_be_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is lost again later: what was there before stays as it is."""

    async def work(box: Box) -> None:
        box.read(1.0)
        await box.journal.flush()
        box.told = WAITING
        await box.dating._turn()
        box.read(2.0)
        await box.journal.flush()
        assert [value for _, value, _ in await box.sent()] == ["1.0"]
        assert box.journal.clock_doubtful
        box.told = SYNCED
        await box.dating._turn()
        assert not box.journal.clock_doubtful
        assert [value for _, value, _ in await box.sent()] == ["2.0"]

    run(tmp_path, monkeypatch, work)


def test_step_of_the_clock_is_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noticed with its size, and nothing becomes old by it on nobody's word."""

    async def work(box: Box) -> None:
        await box.dating._turn()
        assert (box.clock.step_s, box.dating.steps.empty()) == (0.0, True)
        box.off = YEAR_2096
        await box.dating._turn()
        assert abs(box.dating.steps.get_nowait() - YEAR_2096 / 1000) < 2
        assert box.journal.clock_doubtful
        box.off, box.told = 0, SYNCED
        await box.dating._turn()
        assert abs(box.clock.step_s + YEAR_2096 / 1000) < 2
        assert not box.journal.clock_doubtful

    run(tmp_path, monkeypatch, work)


# --- stamps -----------------------------------------------------------------------------------------------------------


def stamped(stamps: Stamps, time_ms: int) -> tuple[int, bool]:
    """The stamp that a reading gets, and whether it is marked."""
    found = stamps.rise(SERIES, Readings(LEVEL, time_ms, 0, (1.0,)))
    assert found is not None
    return found.time, found.reason(0) is Reason.clock_unsynced


def test_hour_in_another_century_does_not_hold_the_stamps_there() -> None:
    """A step to 2096 and back: true stamps again at once, and none is given twice."""
    stamps, now = Stamps({}), 1_786_674_000_000
    given = [stamped(stamps, now + 1000 * n)[0] for n in range(10)]
    given += [stamped(stamps, now + YEAR_2096 + 1000 * n)[0] for n in range(10)]
    back = [stamped(stamps, now + 20_000 + 1000 * n) for n in range(10)]
    assert back == [(now + 20_000 + 1000 * n, False) for n in range(10)]
    again = [stamped(stamps, now + YEAR_2096 + 1000 * n)[0] for n in range(10)]
    given += [stamp for stamp, _ in back] + again
    assert len(set(given)) == len(given)


def test_stamp_of_2096_on_disk_does_not_hold_the_stamps_there() -> None:
    """The agent restarted during the excursion."""
    now = 1_786_674_000_000
    assert stamped(Stamps({SERIES: now + YEAR_2096}), now) == (now, False)


def test_clock_that_goes_back_an_hour_gives_no_stamp_twice() -> None:
    """The hour was used: stamps stand still at its end, marked, until the clock is past it."""
    stamps, now = Stamps({}), 1_786_674_000_000
    first = [stamped(stamps, now + 60_000 * n)[0] for n in range(60)]
    second = [stamped(stamps, now + 60_000 * n) for n in range(1, 62)]
    assert len({*first, *(stamp for stamp, _ in second)}) == 121
    assert all(marked for _, marked in second[:58])
    assert second[-1] == (now + 60_000 * 61, False)
