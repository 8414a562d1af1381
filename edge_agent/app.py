"""The program: builds every part from the configuration and holds them in one task group. The map, in code.

drivers -> Intake -> Journal -> sinks; beside them the control socket and the watchdog. A part is one task with the
settings it was made from, so that SIGHUP restarts just the parts whose settings changed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from drivers.box import BoxHealth
from drivers.driver import Driver, Trouble
from drivers.marked import Problems
from drivers.meeting import EVERY as MEETING_EVERY
from drivers.meeting import MeetingWatch
from drivers.modbus import ModbusBus
from drivers.reading import Source
from drivers.settings import Limit
from drivers.splits import memory_of
from edge_agent import config as configuration
from edge_agent.board import Board
from edge_agent.checks import Checks, Stamps
from edge_agent.clock import Clock
from edge_agent.config import FIXED, Config
from edge_agent.config import Sink as Way
from edge_agent.control import serve
from edge_agent.dating import Dating, StepEvents
from edge_agent.delivery import SinkNow, forward
from edge_agent.diagnosis import Machine
from edge_agent.disk import TROUBLES, cause
from edge_agent.habits import Habits, rules_of
from edge_agent.journal import Journal
from edge_agent.logbook import Logbook
from edge_agent.maintain import Audit, Lock
from edge_agent.meeting_config import control_of
from edge_agent.pipeline import Intake, collect
from edge_agent.report_ledger import LedgerReport
from edge_agent.sinks import Sink
from edge_agent.sinks.influx import InfluxSink
from edge_agent.state_folder import DISK, CannotStart, end_running, hold, mark_running, open_store, takes
from edge_agent.text import Text, texts
from edge_agent.trial import Trial
from edge_agent.uplink import Backlog
from edge_agent.watchdog import feed, notify

if TYPE_CHECKING:
    from drivers.mqtt import MqttConnection

log = logging.getLogger("edge.app")

RESTART_PAUSE = 5.0
"""Seconds before a part that failed by a fault of the program is started again."""


class Part(msgspec.Struct, frozen=True, eq=False):
    """One running task, with the settings it was made from and what it runs."""

    settings: object
    task: asyncio.Task[None]
    runs: Driver | SinkNow


class App:
    """One box."""

    def __init__(self, config: Config) -> None:
        """Open the journal. Raises CannotStart."""
        self.config = config
        self.started = time.monotonic()
        self._lock = hold(config.state)
        store = open_store(config, patient=True)
        self.board = Board(_periods(config))
        settings = config.journal
        self.journal = Journal(
            store, takes(config), settings.commit_window, settings.keep_days, write_budget=settings.daily_writes
        )
        self._stamps = Stamps(store.last_stamps())
        self.clock = Clock()
        self.dating = Dating(self.clock, self.journal, self._stamps, config.clock.patience)
        self._habits = Habits(partial(rules_of, config), config.state / "counters.json")
        checks = Checks(self.limits)
        self._intake = Intake(config.site, checks, self.dating, self.board, self.journal, habits=self._habits)
        self._parts: dict[str, Part] = {}
        self._refused: Trouble | None = None
        self._failed: dict[str, Trouble] = {}
        """Parts that failed by a fault of the program, since the configuration was last read."""
        self._stop = asyncio.Event()
        self.ended = mark_running(config.state)
        """How the run before this one ended: `well`, `cut` (the machine went down with it), `killed`."""
        self.machine = Machine(self)
        self.logbook = Logbook()
        self.lock = Lock()
        self.audit = Audit(config.state)
        self.backlog = Backlog(config.state, self._waiting)
        self.trial = Trial(config.state, lambda: self.config, self._adopt)

    # --- running ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; then stop the parts, commit what they brought, and close. Raises CannotStart."""
        self._listen_to_signals()
        self.logbook.attach()
        for path, word in self.config.not_built():
            log.warning("not available yet path=%s part=%s", path, word)
        try:
            async with self._answering() as later, asyncio.TaskGroup() as self._group:
                answering = self._group.create_task(later(), name="control")
                committing = self._group.create_task(self.journal.run(), name="journal")
                keeping = self._group.create_task(self._habits.keep(), name="counters")
                await self.dating.begin()
                looking = self._group.create_task(self.backlog.run(), name="backlog")
                dating = self._group.create_task(self.dating.run(), name="clock")
                self._arrange()
                watching = self._group.create_task(feed(self.progress, self._summary), name="watchdog")
                gc.freeze()
                notify("READY=1")
                log.info("ready site=%s parts=%d", self.config.site, len(self._parts))
                await self._stop.wait()
                notify("STOPPING=1")
                await self.journal.flush()
                own = (watching, looking, dating, committing, keeping, answering)
                for task in (*own, *(part.task for part in self._parts.values())):
                    task.cancel()
        finally:
            await self.journal.close()
            self.machine.close()
            self.logbook.detach()
            end_running(self.config.state)
            self._lock.close()

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[Callable[[], Coroutine[object, object, None]]]:
        """Answer on the control socket; where the disk does not let it be made now, what is given tries again."""
        async with AsyncExitStack() as stack:
            answers = await self._answer(stack)

            async def later() -> None:
                while not answers and not await self._answer(stack):
                    await asyncio.sleep(RESTART_PAUSE)

            yield later

    async def _answer(self, stack: AsyncExitStack) -> bool:
        try:
            await stack.enter_async_context(serve(self))
        except OSError as error:
            facts = {"path": str(self.config.control), "error": error.strerror or str(error)}
            if error.errno not in DISK:
                raise CannotStart("control_unusable", **facts) from error
            log.error("no control socket for now path=%(path)s error=%(error)s", facts)
            return False
        return True

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)

    def _arrange(self) -> None:
        """Start the parts that are configured and do not run; where the box stops, none."""
        if self._stop.is_set():
            return
        for name, settings, start in self._wanted():
            if name in self._parts:
                continue
            try:
                task, runs = start(name)
            except Exception as error:  # noqa: BLE001  # what passed the check and still cannot be made costs only itself
                self._fails(name, error)
            else:
                self._parts[name] = Part(settings, task, runs)

    async def _clear(self) -> None:
        """Stop the parts that are no longer configured, or differently."""
        wanted = {name: settings for name, settings, _ in self._wanted()}
        gone = [name for name, part in self._parts.items() if wanted.get(name) != part.settings]
        tasks = [self._parts.pop(name).task for name in gone]
        for name, task in zip(gone, tasks, strict=True):
            log.info("part stops part=%s", name)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wanted(self) -> Iterator[tuple[str, object, Callable[[str], tuple[asyncio.Task[None], Driver | SinkNow]]]]:
        """Name, settings and start of every part: the list of what this program does."""
        for bus in self.config.buses:
            profiles = {device.profile: self.config.used_profiles[device.profile] for device in bus.devices}
            line = partial(ModbusBus, bus, profiles, memory_of(self.config.state, bus.id))
            yield f"bus {bus.id}", (bus, profiles), partial(self._start_driver, line)
        for broker in self.config.mqtt:
            from drivers.mqtt import MqttConnection  # 1.5 MB and 20 ms that a box without brokers does without

            connection = partial(
                MqttConnection,
                broker,
                self.config.site,
                self.clock.synced,
                taken=lambda name: self.config.has_device(name),  # noqa: PLW0108  # of the configuration then
                memory=self.config.state / f"mqtt-{broker.id}.json",
            )
            yield f"broker {broker.id}", broker, partial(self._start_driver, connection)
        if not self.config.box.disabled:
            health = partial(BoxHealth, self.config.box, self.config.state, self.clock.synced)
            yield "box", self.config.box, partial(self._start_driver, health)
        if self.config.meeting:
            control = control_of(self.config, self.config.meeting)
            yield "meeting", control, partial(self._start_driver, partial(MeetingWatch, control))
        yield "ledger", None, partial(self._start_driver, partial(LedgerReport, self.journal))
        yield "clock", None, partial(self._start_driver, partial(StepEvents, self.dating))
        for sink in self.config.sinks:
            if sink.influxdb:
                influx = partial(InfluxSink, sink.id, sink.influxdb, sink.only)
                yield f"sink {sink.id}", sink, partial(self._start_sink, influx, sink)

    def _start_driver(self, make: Callable[[], Driver], name: str) -> tuple[asyncio.Task[None], Driver]:
        driver = make()
        return self._group.create_task(self._keep_up(name, partial(collect, driver, self._intake)), name=name), driver

    def _start_sink(self, make: Callable[[], Sink], how: Way, name: str) -> tuple[asyncio.Task[None], SinkNow]:
        sink = make()
        now = SinkNow(sink.id, sink.where)
        work = partial(forward, sink, self.journal, now, how.rate, how.spread)
        return self._group.create_task(self._keep_up(name, work), name=name), now

    def limits(self, source: Source) -> Mapping[str, Limit]:
        """A source's own limits: those of its Modbus device, or of the subscription that it came by."""
        for bus in self.config.buses:
            for device in bus.devices:
                if device.id == source.device:
                    return device.limits
        return next((found for each in self.brokers() if (found := each.limits(source))), {})

    async def _keep_up(self, name: str, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run a part for ever. A fault of the program in one of them must not cost the others a reading."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001  # said with its trace, and tried again: this place must hold
                self._fails(name, error)
            await asyncio.sleep(RESTART_PAUSE)

    def _fails(self, name: str, error: Exception) -> None:
        log.exception("part failed part=%s", name)
        facts = {"part": name, "error": f"{type(error).__name__}: {error}"}
        self._failed[name] = Trouble("part_failing", name, time.time(), facts, failed=True)

    # --- the configuration read again ---------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again; a faulty one is refused and the running one stays. It ends a trial."""
        self._group.create_task(self._reload(), name="reload")

    async def _reload(self) -> None:
        async with self.trial.steps:
            try:  # in a thread: a large file takes seconds, which no poll has to wait for
                config = await asyncio.to_thread(configuration.load, self.config.file)
            except Problems as problems:
                self._refuse("config_rejected", count=len(problems.problems))
                return
            fixed = [name for name in FIXED if getattr(config, name) != getattr(self.config, name)]
            if fixed:
                self._refuse("restart_needed", keys=", ".join(fixed))
                return
            if await self._adopt(config):
                await self.trial.overtaken()

    def _refuse(self, what: str, **facts: str | int) -> None:
        log.error("configuration refused file=%s why=%s %s", self.config.file, what, facts)
        self._refused = Trouble(what, "config", time.time(), {"file": str(self.config.file), **facts})

    async def _adopt(self, config: Config) -> bool:
        """Run another configuration (with the trial's `steps` held); False: the one before runs on.

        Stop what is no longer wanted, let the journal know its sinks, start what is new, and that whatever happens.
        """
        before, self.config = self.config, config
        try:
            await self._clear()
            await self.journal.adopt(takes(config))
        except sqlite3.Error as error:
            self.config = before
            self._refuse("reload_failed", error=str(error))
        except BaseException:
            self.config = before
            raise
        else:
            self._adopted(config)
        finally:
            self._arrange()
        return self.config is config

    def _adopted(self, config: Config) -> None:
        self._refused = None
        self._failed.clear()
        self.dating.patience = config.clock.patience
        self.board.set_periods(_periods(config))
        self._intake.checks = Checks(self.limits)
        self._habits.adopt(partial(rules_of, config))

    # --- questions ----------------------------------------------------------------------------------------------------

    def drivers(self) -> list[Driver]:
        """What reads, in order of the configuration."""
        return [part.runs for part in self._parts.values() if not isinstance(part.runs, SinkNow)]

    def brokers(self) -> list[MqttConnection]:
        """Of these the connections to brokers."""
        if not self.config.mqtt:
            return []
        from drivers.mqtt import MqttConnection

        return [driver for driver in self.drivers() if isinstance(driver, MqttConnection)]

    def sinks(self) -> list[SinkNow]:
        """Every configured sink; one whose kind is not built yet is `unavailable`."""
        running = {part.runs.id: part.runs for part in self._parts.values() if isinstance(part.runs, SinkNow)}
        return [running.get(sink.id) or SinkNow(sink.id, "", state="unavailable") for sink in self.config.sinks]

    def _waiting(self) -> Mapping[str, int]:
        return {name: self.journal.waiting(name) for name in self.journal.states}

    @property
    def text(self) -> Text:
        """The sentences in this box's language."""
        return texts(self.config.language)

    @property
    def refused(self) -> Trouble | None:
        """Why a changed configuration is not used."""
        return self._refused

    def failed_parts(self) -> list[Trouble]:
        """Parts that failed by a fault of the program."""
        return list(self._failed.values())

    @property
    def copies(self) -> int:
        """Messages that came a second time and were left out."""
        return self._stamps.copies

    def troubles(self) -> list[Trouble]:
        """What is wrong with the box's parts, in no order. (Sinks: see `status.py`.)"""
        found = [trouble for driver in self.drivers() for trouble in driver.troubles()]
        found += self._failed.values()
        if self._refused:
            found.append(self._refused)
        if self.journal.error is not None:
            what, facts = TROUBLES[cause(self.journal.error, self.config.state)], {"error": self.journal.error}
            found.append(Trouble(what, "journal", self.journal.failing_since, facts, failed=True))
        return found

    def progress(self) -> Mapping[str, float]:
        """When each bus and the journal last completed a turn, for the watchdog.

        While the disk takes nothing the drivers wait for room and cannot move: a restart would only lose what waits.
        """
        now = time.monotonic()
        moved = {driver.name: now if self.journal.is_full else driver.progress() for driver in self.drivers()}
        return {"journal": self.journal.progress, **moved}

    def _summary(self) -> str:
        waiting = max((self.journal.waiting(name) for name in self.journal.states), default=0)
        return f"{len(self.troubles())} troubles, {waiting} readings waiting"


# --- what the parts are made from -------------------------------------------------------------------------------------


def _periods(config: Config) -> Mapping[str, float]:
    own = {"box": config.box.every, "meeting": MEETING_EVERY}
    return {device.id: device.every for bus in config.buses for device in bus.devices} | own
