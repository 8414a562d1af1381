"""The faults of the soak: what can happen to a box and its servers, drawn from a seed, one after the other.

The first part has the faults after which there is another process: the agent is killed, and its journal meets its limit
with readings that wait. In the second part one process lives through all the others, so that its memory can be watched.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial

from drivers.reading import Readings, Source, quantities
from edge_agent.demo_servers import InfluxDB, Mosquitto, Server
from edge_agent.rows import Group
from edge_agent.store import Store
from tests.e2e.box import Box
from tests.faults.gate import ANSWERS, Gate, Says
from tests.faults.stepped import set_clock
from tests.faults.watched import Use, used_by
from tests.waiting import wait_until

EVERY = 4.0
"""Seconds between two faults, on average."""
OFTEN = 4
"""How often what only a part of the time has comes, compared with the others."""
UNTOLD = 3.0
"""Seconds before a kill in which a reading may have been on its way to the disk: a commit's window and its sync."""
STEPS_MS = (-20_000, -2_000, 0, 700, 20_000)
"""The clock is off by one of these. By more, a device whose numbers have come round could not be told from itself."""
LIMIT = 16 << 20
"""Bytes of the journal, the least that a configuration may say."""
BALLAST = Source("old-1", (quantities()["air_index.main_pollutant"],))
"""Whose readings fill the journal: long texts, no device of the ward."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

Window = tuple[int, int]
"""Of wall time by the ward's clock, ms."""


class Trial:
    """A box with its servers, and what can happen to them."""

    def __init__(self, box: Box, influxdb: InfluxDB, gate: Gate, mosquitto: Mosquitto, chance: random.Random) -> None:
        """`gate`: between the box and the database. `chance` draws which fault comes and how long it lasts."""
        self.box, self.influxdb, self.mosquitto, self._chance = box, influxdb, mosquitto, chance
        self._gate = gate
        self.done: list[str] = []
        self.said = 0
        """How often something else than the database answered."""
        self.uses: list[Use] = []
        """Of the present process."""
        self.kills: list[Window] = []
        """When something may have been lost that no one had acknowledged."""
        self.full: list[Window] = []
        """When readings may have been thinned."""
        self.ballast = 0
        """Readings that filled the journal."""
        self.stops: list[Window] = []
        """When an answer may have come to an agent that was told to end."""
        self._clock = box.folder / "clock"
        set_clock(self._clock, 0)
        box.module = ("tests.faults.stepped", str(self._clock))
        box.file.write_text(
            f"{box.file.read_text(encoding='utf-8')}journal: {{max_bytes: {LIMIT >> 20}MiB}}\n", encoding="utf-8"
        )

    def faults(self) -> dict[str, Callable[[], None]]:
        """Those that the agent's process survives, by name."""
        return {
            "database killed": lambda: self._away(self.influxdb, self.influxdb.kill),
            "database stopped": lambda: self._away(self.influxdb, self.influxdb.stop),
            "database frozen": lambda: self._frozen(self.influxdb.pid),
            "broker restarted": self.mosquitto.restart,
            "broker frozen": lambda: self._frozen(self.mosquitto.pid),
            "agent frozen": lambda: self._frozen(self._pid),
            "configuration read again": lambda: os.kill(self._pid, signal.SIGHUP),
            "clock set": lambda: set_clock(self._clock, self._chance.choice(STEPS_MS)),
            **{f"answer: {name}": partial(self._answered, says) for name, says in ANSWERS.items() if not says.above},
        }

    def deaths(self) -> dict[str, Callable[[], None]]:
        """Those after which there is another process, or that one process remembers."""
        return {"agent killed": self._killed, "answer: too large": self._too_large}

    def run(self, seconds: float, *, deadly: bool = False) -> None:
        """Faults, one after the other with pauses, until the time is over; a look at the agent after each."""
        ends = time.monotonic() + seconds
        cards = sorted([*self.faults(), *(OFTEN * list(self.deaths()) if deadly else ())])
        deck: list[str] = []
        while time.monotonic() < ends:
            deck = deck or self._chance.sample(cards, len(cards))  # each comes before one comes again
            self.strike(deck.pop())
            time.sleep(self._chance.uniform(0.3, 1.7) * EVERY)
            self.uses.append(used_by(self._pid))

    def strike(self, name: str) -> None:
        """One fault."""
        self.done.append(name)
        (self.faults() | self.deaths())[name]()

    # --- the agent's process lives on ---------------------------------------------------------------------------------

    @property
    def _pid(self) -> int:
        assert self.box.process
        return self.box.process.pid

    def _away(self, server: Server, end: Callable[[], None]) -> None:
        end()
        time.sleep(self._chance.uniform(0, 4))
        server.start()

    def _answered(self, says: Says) -> None:
        """The database, or what stands in its place, answers so for a while."""
        self._gate.says, before = says, self._gate.said
        time.sleep(self._chance.uniform(1, 4))
        self._gate.says = None
        self.said += self._gate.said - before

    def _frozen(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.2, 2))
        os.kill(pid, signal.SIGCONT)

    def _too_large(self) -> None:
        """The database takes small requests only; so it is asked from then on."""
        self._answered(ANSWERS["too large"])

    # --- the agent's process ends -------------------------------------------------------------------------------------

    def _killed(self) -> None:
        """kill -9; what no one had acknowledged is gone."""
        now = time.time()
        self.box.kill()
        self.kills.append((int(1000 * (now - UNTOLD)), int(1000 * (time.time() + 0.2))))
        self._start()

    def filled(self) -> None:
        """The centre is away while the journal gets full to its last page: readings are thinned, then all goes out."""
        self.done.append("journal full")
        self._drain()
        began = time.time()
        self.influxdb.stop()
        time.sleep(2 * UNTOLD)  # the ward's own readings are the oldest that wait
        stopped = time.time()
        assert self.box.stop() == 0
        self.stops.append((int(1000 * (stopped - 1)), int(1000 * time.time())))
        self.ballast += self._fill()
        self._start()
        assert wait_until(lambda: any(row.thinned for row in self.box.ledger()), 60, step=0.5), self.box.status()
        self.influxdb.start()
        self._drain()
        self.full.append((int(1000 * began), int(1000 * time.time())))

    def _start(self) -> None:
        self.box.start()
        self.uses.clear()

    def _drain(self) -> None:
        assert wait_until(self._nothing_old_waits, 120, step=0.2), self.box.status()

    def _nothing_old_waits(self) -> bool:
        """Nothing but what came in the last moments."""
        return all(sink.waiting < 500 for sink in self.box.status().sinks)

    def _fill(self) -> int:
        """Put waiting readings into the journal until nothing more fits; how many."""
        store = Store(self.box.folder / "state" / "journal.db", "cl-02", "ballast", LIMIT)
        at = time.time_ns() // 1_000_000 - 86_400_000
        count = 0
        with contextlib.closing(store):
            while True:
                group = Group()
                for some in self._heavy(at + 100 * count):
                    group.add(some)
                try:
                    store.commit(group)
                    count += len(group.readings)
                except sqlite3.OperationalError:
                    store.reopen()
                    if not store.trim(1 << 50, ("centre",)):
                        return count

    def _heavy(self, at: int) -> Iterator[Readings]:
        for k in range(40):
            yield Readings(BALLAST, at + 100 * k, 100 * k, ("".join(self._chance.choices(LETTERS, k=400)),))


def within(windows: list[Window], at: int) -> bool:
    """True where a time lies in one of them."""
    return any(since <= at <= until for since, until in windows)
