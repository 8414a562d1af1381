"""A whole box on a card that gives trouble for ten minutes: read-only, or slow and stalling. Real ext4 and servers.

Whatever the card does, polls keep their rhythm, the centre keeps getting readings, one process lives through it, and in
the end every reading that the ward generated is in the database once.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from drivers.sim.ledger import Answer
from edge_agent.demo_servers import InfluxDB, Mosquitto
from tests.e2e.box import Box, sinks
from tests.faults.card import Card, card
from tests.faults.scale import scaled_seconds
from tests.faults.watched import newest_ms, used_by
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800), pytest.mark.xdist_group("minutes")]

SECONDS = 600.0
PERIOD = 1.0
"""Seconds between two polls of a device."""
POINT = "weather.temp_c"
"""Of a device on a bus, so that nobody but the agent keeps its readings."""
AHEAD_AFTER = 20.0
"""Seconds after which readings have to come out of memory."""
OLD = 10.0
"""Seconds that the newest reading in the database may be old then."""
GROWS = 24 << 20
"""Bytes of memory for what waits: ten minutes of this ward take half of it."""
WATCHDOG_S = 30
SLOW, STALL, BETWEEN = 1_000_000, 2.0, 5.0
"""Bytes a second; seconds of a stall and between two."""


class Seen(msgspec.Struct):
    """The worst of what was looked at while the card gave trouble."""

    old: float = 0.0
    """Seconds: of the newest reading in the database."""
    grown: int = 0
    """Bytes of memory."""
    unfed: float = 0.0
    """Seconds without a word for the service manager."""
    alarms: set[str] = set()


class Trial:
    """The box, its card and what is looked at."""

    def __init__(self, box: Box, card: Card, server: InfluxDB, manager: socket.socket) -> None:
        """The agent runs and readings arrive."""
        self.box, self.card, self.server, self._manager = box, card, server, manager
        assert box.process
        self._pid, self._began = box.process.pid, time.monotonic()
        self._memory = used_by(self._pid).own
        self._fed = time.monotonic()
        self.seen = Seen()

    def watch(self, seconds: float) -> None:
        """For so long."""
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            time.sleep(0.7)
            self._look(is_ahead=at > AHEAD_AFTER)

    def _look(self, *, is_ahead: bool) -> None:
        seen, status = self.seen, self.box.status()
        seen.alarms |= {f"{status.verdict}: {reason}" for reason in status.reasons}
        seen.grown = max(seen.grown, used_by(self._pid).own - self._memory)
        if is_ahead:
            seen.old = max(seen.old, time.time() - newest_ms(self.server, POINT) / 1000)
        while self._hears():
            self._fed = time.monotonic()
        seen.unfed = max(seen.unfed, time.monotonic() - self._fed)

    def _hears(self) -> bool:
        try:
            return b"WATCHDOG=1" in self._manager.recv(4096)
        except BlockingIOError:
            return False

    def is_well_again(self) -> bool:
        """True when no alarm is about the journal any more."""
        return not any("journal" in reason.lower() for reason in self.box.status().reasons)

    def ends(self) -> tuple[int, float]:
        """All is delivered, once, by the process that began; values, and the longest pause between two polls."""
        assert wait_until(self.is_well_again, 30, step=0.2), self.box.status()
        self.box.end_ward()
        assert wait_until(self.box.drained, 120, step=0.2), self.box.status()
        rows = self.box.ledger()
        assert self.box.process
        assert self.box.process.pid == self._pid
        assert self.box.stop() == 0
        for row in rows:
            assert row.stored == row.delivered.get("centre", 0), row
        found = self.box.compare_influxdb(self.server)
        assert found.exact, found
        return found.delivered, max(self._pauses())

    def _pauses(self) -> Iterator[float]:
        answers = [entry for entry in self.box.generated().entries if isinstance(entry, Answer) and not entry.repeat]
        for device in {answer.device for answer in answers}:
            for one, next_one in pairwise(answer.time for answer in answers if answer.device == device):
                yield (next_one - one) / 1000


@contextmanager
def trial(folder: Path, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto, influxdb: InfluxDB) -> Iterator[Trial]:
    """A box whose state is on a card, and a service manager that listens; readings arrive."""
    influxdb.create_database("city")
    control, address = folder / "control.sock", folder / "notify.sock"
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    monkeypatch.setenv("WATCHDOG_USEC", str(WATCHDOG_S * 1_000_000))
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        card(folder / "state") as made,
        Box(folder, mosquitto.url, sinks(influxdb), f"{PERIOD:.0f}s", PERIOD) as box,
    ):
        manager.bind(str(address))
        manager.setblocking(False)
        box.file.write_text(f"{box.file.read_text(encoding='utf-8')}control: {control}\n", encoding="utf-8")
        box.control = control
        box.start()
        assert wait_until(lambda: newest_ms(influxdb, POINT) > 0, 30), box.log()
        yield Trial(box, made, influxdb, manager)


@contextmanager
def stalling(card: Card) -> Iterator[None]:
    """Every some seconds nothing is written for two."""
    ends = threading.Event()

    def stalls() -> None:
        while not ends.wait(BETWEEN - STALL):
            card.stalls(STALL)

    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(stalls)
        try:
            yield
        finally:
            ends.set()
            stalled.result()


def test_root_that_is_read_only_for_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto, influxdb: InfluxDB
) -> None:
    """An alarm within 20 s; readings go on out of memory; mounted anew, all of them are on disk and delivered, once."""
    seconds = scaled_seconds(SECONDS, 60)
    with trial(tmp_path, monkeypatch, mosquitto, influxdb) as tried:
        time.sleep(5)
        tried.card.turns_read_only()
        assert wait_until(lambda: tried.box.status().verdict == "failed", 20), tried.box.log()
        tried.watch(seconds)
        tried.card.is_mounted_anew()
        values, pause = tried.ends()
    told(f"read-only for {seconds:.0f} s", values, pause, tried.seen)
    assert any(re.search(r"failed: .*read-?only", alarm) for alarm in tried.seen.alarms), tried.seen.alarms
    holds(pause, tried.seen)


def test_card_that_is_slow_and_stalls_for_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mosquitto: Mosquitto, influxdb: InfluxDB
) -> None:
    """A megabyte a second, and every some seconds nothing for two: nobody polls later, and nothing is lost."""
    seconds = scaled_seconds(SECONDS, 60)
    with trial(tmp_path, monkeypatch, mosquitto, influxdb) as tried:
        assert tried.box.process
        tried.card.slows(tried.box.process.pid, SLOW)
        with stalling(tried.card):
            tried.watch(seconds)
        values, pause = tried.ends()
    told(f"slow for {seconds:.0f} s, a stall of {STALL:.0f} s every {BETWEEN:.0f} s", values, pause, tried.seen)
    holds(pause, tried.seen)


def told(what: str, values: int, pause: float, seen: Seen) -> None:
    """The figures."""
    print(
        f"{what}: all of {values} values once; newest at most {seen.old:.1f} s old, polls at most {pause:.2f} s apart"
        f" (due every {PERIOD:.0f} s), memory {seen.grown / 1e6:.1f} MB up, watchdog fed each {seen.unfed:.0f} s"
    )


def holds(pause: float, seen: Seen) -> None:
    """What both promise."""
    assert pause <= 2 * PERIOD
    assert seen.old < OLD
    assert seen.grown < GROWS
    assert seen.unfed < WATCHDOG_S
