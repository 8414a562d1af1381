"""A configuration on trial: confirmed it stays, otherwise the old one is back, whatever happens in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent import config as configuration
from edge_agent import trial
from edge_agent.config import Config
from edge_agent.redact import Redactor
from edge_agent.trial import Refused, Trial, diff
from tests.edge_agent.stalling_card import Card
from tests.waiting import until

OLD = "site: cl-02\nname: old\nstate: ./state\n"
NEW = "site: cl-02\nname: new\nstate: ./state\nbuses: [{id: line-1, serial: ./tty}]\n"


class Agent:
    """What a trial needs of the agent: a configuration that runs, and another that can be run instead."""

    def __init__(self, folder: Path, *, takes: bool = True) -> None:
        """Runs what is in the file."""
        self.file = folder / "agent.yaml"
        if not self.file.exists():
            self.file.write_text(OLD, encoding="utf-8")
        self.config = configuration.load(self.file)
        self.takes, self.tries, self.breaks = takes, 0, False
        self.config.state.mkdir(exist_ok=True)
        self.trial = Trial(self.config.state, lambda: self.config, self.adopt)

    async def adopt(self, config: Config) -> bool:
        """Run another configuration."""
        self.tries += 1
        if self.takes:
            self.config = config
        if self.breaks:
            self.breaks = False
            raise RuntimeError("broken off")
        return self.takes


def test_candidate_is_checked_and_compared(tmp_path: Path) -> None:
    """Its errors stand at the lines of the file it would become; nothing runs yet."""
    agent = Agent(tmp_path)
    found = asyncio.run(agent.trial.propose("site: cl-02\nnmae: x\n"))
    assert not found.usable
    assert f"{agent.file}:2:" in found.problems[0]
    good = asyncio.run(agent.trial.propose(NEW))
    assert good.usable
    assert "-name: old" in good.diff.splitlines()
    assert "+name: new" in good.diff.splitlines()
    assert agent.config.name == "old"
    assert agent.file.read_text() == OLD


def test_change_that_needs_a_restart_is_not_tried(tmp_path: Path) -> None:
    """It could not go back by itself."""
    agent = Agent(tmp_path)
    found = asyncio.run(agent.trial.propose(OLD.replace("./state", "./elsewhere")))
    assert (found.usable, found.restart) == (False, ["state", "control"])
    with pytest.raises(Refused) as refused:
        asyncio.run(agent.trial.apply("An"))
    assert refused.value.what == "restart_needed"


def test_password_in_a_refused_candidate_is_neither_shown_nor_kept(tmp_path: Path) -> None:
    """A password belongs into the secrets; one that was written here stays out of the difference and off the disk."""
    agent = Agent(tmp_path)
    mqtt = "mqtt: {host: localhost, user: edge, password: hunter2-hunter2}\n"
    found = asyncio.run(agent.trial.propose(OLD + mqtt))
    now = asyncio.run(agent.trial.now())
    assert not found.usable
    assert (now.candidate, now.problems, now.diff) == (None, found.problems, found.diff)
    assert "+mqtt:" in now.diff
    assert "hunter2" not in "\n".join([now.diff, *now.problems])
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"hunter2" in file.read_bytes()]


def test_password_over_several_lines_is_not_shown(tmp_path: Path) -> None:
    """Also where the difference shows a part of it only, far below its key."""
    agent = Agent(tmp_path)
    block = "mqtt:\n  - password: |\n      hunter2\n      hunter3\n    client_id: x\n"
    found = asyncio.run(agent.trial.propose(OLD + block))
    assert "client_id" in found.diff
    assert "hunter" not in "\n".join([found.diff, *found.problems])
    old = "\n".join(["a: 1", "password: |", *(f"  line-{i}" for i in range(12)), "b: 2"])
    shown = diff(old, old.replace("line-11", "new"), "agent.yaml", Redactor(None)).splitlines()
    assert shown[2:] == ["@@ -11,5 +11,5 @@", *["   •••"] * 3, "-  •••", "+  •••", " b: 2"]


def test_refused_candidate_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """What is shown is what would be applied: after a faulty candidate nothing is."""
    agent = Agent(tmp_path)
    asyncio.run(agent.trial.propose(NEW))
    asyncio.run(agent.trial.propose("site: cl-02\nnmae: x\n"))
    with pytest.raises(Refused) as refused:
        asyncio.run(agent.trial.apply("An"))
    assert (refused.value.what, agent.config.name) == ("faulty", "old")
    asyncio.run(agent.trial.propose(NEW))
    now = asyncio.run(agent.trial.now())
    assert (now.problems, now.candidate) == ([], NEW)


def test_confirmed_change_is_in_the_file(tmp_path: Path) -> None:
    """In the trial, of 120 s, the file is the old one; then, at one stroke, the new one, with the file's own mode."""
    agent = Agent(tmp_path)
    agent.file.chmod(0o640)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")
        assert (agent.config.name, agent.file.read_text()) == ("new", OLD)
        assert 0 < agent.trial.left_s <= 120
        await agent.trial.confirm()

    asyncio.run(visit())
    assert agent.file.read_text() == NEW
    assert agent.file.stat().st_mode & 0o777 == 0o640
    assert agent.trial.note is None
    assert configuration.load(agent.file) == agent.config


def test_change_not_confirmed_goes_back_in_time(tmp_path: Path) -> None:
    """Nobody has to do anything."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An", seconds=0.05)
        async with asyncio.timeout(5):
            while agent.config.name != "old":
                await asyncio.sleep(0.01)

    asyncio.run(visit())
    now = asyncio.run(agent.trial.now())
    assert (now.returned, now.returned_by, now.trial_by, agent.file.read_text()) == ("time", "An", None, OLD)
    assert now.candidate == NEW, "it can be tried again"


def test_change_goes_back_when_asked(tmp_path: Path) -> None:
    """At once, and a second time is refused."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")
        await agent.trial.back()
        with pytest.raises(Refused):
            await agent.trial.back()

    asyncio.run(visit())
    assert agent.config.name == "old"


def test_power_cut_during_a_trial_goes_back(tmp_path: Path) -> None:
    """Whatever starts after it starts with the old file, and says that it went back."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")

    asyncio.run(visit())
    again = Agent(tmp_path)
    now = asyncio.run(again.trial.now())
    assert (again.config.name, now.trial_by, now.returned, now.returned_by) == ("old", None, "restart", "An")


@pytest.mark.parametrize("how", ["time", "asked"])
def test_change_goes_back_from_a_card_that_takes_nothing(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was kept of it can be read, nor the journal take over the old sinks at first: tried until it can."""
    monkeypatch.setattr(trial, "AGAIN_S", 0.01)
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An", seconds=0.05 if how == "time" else 60)
        (agent.config.state / "config/before.yaml").unlink()
        unwritable(agent)
        agent.takes, agent.tries = False, 0
        if how == "asked":
            with pytest.raises(Refused, match="not_back"):
                await agent.trial.back()
        await until(lambda: agent.tries >= 3)
        assert (agent.config.name, (await agent.trial.now()).trial_by) == ("new", "An")
        agent.takes = True
        async with asyncio.timeout(5):
            while (await agent.trial.now()).returned != how:
                await asyncio.sleep(0.01)

    asyncio.run(visit())
    assert agent.config.name == "old"


def test_trial_that_cannot_be_noted_does_not_begin(tmp_path: Path) -> None:
    """After a power cut nobody would know of it; the old one runs on, and nothing counts down."""
    agent = Agent(tmp_path)
    asyncio.run(agent.trial.propose(NEW))
    unwritable(agent)
    with pytest.raises(OSError, match="trial"):
        asyncio.run(agent.trial.apply("An"))
    assert (agent.config.name, agent.trial.note, agent.trial.left_s) == ("old", None, 0.0)


def test_start_after_a_power_cut_in_a_trial_on_a_card_that_takes_nothing(tmp_path: Path) -> None:
    """The box starts, with the old file, and says that it went back."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")

    asyncio.run(visit())
    unwritable(agent)
    now = asyncio.run(Agent(tmp_path).trial.now())
    assert (now.trial_by, now.returned) == (None, "restart")


def timer_ended() -> bool:
    """Nothing overturns what runs any more."""
    return "config-trial" not in {task.get_name() for task in asyncio.all_tasks()}


def unwritable(agent: Agent) -> None:
    """From now on nothing can be noted of a trial, for root neither."""
    (agent.config.state / "config/.trial.json.new").mkdir()


def test_one_trial_at_a_time(tmp_path: Path) -> None:
    """A second candidate waits until the first is confirmed or gone."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")
        with pytest.raises(Refused) as refused:
            await agent.trial.propose(OLD)
        assert refused.value.what == "on_trial"
        with pytest.raises(Refused):
            await agent.trial.apply("Bình")

    asyncio.run(visit())


def test_file_edited_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """What is in the file must be what runs, or there would be no way back to it."""
    agent = Agent(tmp_path)
    asyncio.run(agent.trial.propose(NEW))
    agent.file.write_text(OLD.replace("old", "edited"))
    with pytest.raises(Refused) as refused:
        asyncio.run(agent.trial.apply("An"))
    assert refused.value.what == "file_changed"


def test_file_edited_in_a_trial_is_not_overwritten(tmp_path: Path) -> None:
    """The change is not confirmed then, and goes back by itself; what somebody wrote meanwhile is still there."""
    agent, edited = Agent(tmp_path), OLD.replace("old", "edited")

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")
        agent.file.write_text(edited)
        with pytest.raises(Refused, match="file_changed"):
            await agent.trial.confirm()
        assert agent.trial.left_s > 0

    asyncio.run(visit())
    assert agent.file.read_text() == edited


def test_configuration_that_is_not_adopted_is_no_trial(tmp_path: Path) -> None:
    """The journal may be unable to take new sinks at that moment."""
    agent = Agent(tmp_path, takes=False)
    asyncio.run(agent.trial.propose(NEW))
    with pytest.raises(Refused) as refused:
        asyncio.run(agent.trial.apply("An"))
    assert refused.value.what == "not_adopted"
    assert asyncio.run(agent.trial.now()).trial_by is None


def test_reloaded_file_ends_a_trial(tmp_path: Path) -> None:
    """SIGHUP means the file; the timer must not overturn it later."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An", seconds=0.05)
        await agent.trial.overtaken()
        agent.config, agent.takes = configuration.load(agent.file), False
        await until(timer_ended)

    asyncio.run(visit())
    assert asyncio.run(agent.trial.now()).trial_by is None
    assert agent.config.name == "old"


def test_power_cut_right_after_the_file_was_replaced_does_not_go_back(tmp_path: Path) -> None:
    """What was noted of the trial is still there, but the file is the candidate: it was confirmed."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")

    asyncio.run(visit())
    agent.file.write_text(NEW, encoding="utf-8")
    for _ in range(2):
        assert Agent(tmp_path).trial.note is None
    assert not (agent.config.state / "config/trial.json").exists()


def test_steps_wait_for_one_another_and_nothing_else_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card stalls while the change is confirmed: the time runs out meanwhile, and it is confirmed all the same."""
    agent, card = Agent(tmp_path), Card(monkeypatch)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An", seconds=0.5)
        card.stall()
        confirming = asyncio.create_task(agent.trial.confirm())
        await until(lambda: card.waiting > 0)
        again = asyncio.create_task(agent.trial.back())
        await until(lambda: agent.trial.left_s == 0)
        assert not confirming.done()
        card.go_on()
        await confirming
        with pytest.raises(Refused, match="no_trial"):
            await again
        await until(timer_ended)

    asyncio.run(visit())
    assert (agent.config.name, agent.file.read_text(), agent.trial.note) == ("new", NEW, None)


def test_two_technicians_apply_at_once(tmp_path: Path) -> None:
    """One of them begins the trial, the other is told."""
    agent = Agent(tmp_path)

    async def visit() -> tuple[BaseException | None, BaseException | None]:
        await agent.trial.propose(NEW)
        return await asyncio.gather(agent.trial.apply("An"), agent.trial.apply("Bình"), return_exceptions=True)

    first, second = asyncio.run(visit())
    assert first is None
    assert isinstance(second, Refused)
    assert (second.what, second.facts) == ("on_trial", {"who": "An"})


def test_candidate_that_is_gone_when_the_change_is_confirmed(tmp_path: Path) -> None:
    """What was applied is what comes into the file, never an empty text."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")
        (agent.config.state / "config/candidate.yaml").unlink()
        await agent.trial.confirm()

    asyncio.run(visit())
    assert agent.file.read_text() == NEW


@pytest.mark.parametrize("where", ["adopting", "going back"])
def test_step_that_is_cut_goes_back_in_time(where: str, tmp_path: Path) -> None:
    """Whatever breaks a step off: as long as a candidate is on trial, something counts down."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        if where == "going back":
            await agent.trial.apply("An", seconds=0.05)
        agent.breaks = True
        step = agent.trial.back() if where == "going back" else agent.trial.apply("An", seconds=0.05)
        with pytest.raises(RuntimeError, match="broken off"):
            await step
        await until(lambda: agent.config.name == "old" and agent.trial.left_s == 0)

    asyncio.run(visit())


def test_terminal_that_asks_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference is made beside the event loop, once for each text: that of a large file takes half a second."""
    agent, made = Agent(tmp_path), []

    def counted(before: str, after: str, name: str, hide: Callable[[str], str]) -> str:
        made.append(threading.current_thread() is threading.main_thread())
        return diff(before, after, name, hide)

    monkeypatch.setattr(trial, "diff", counted)
    found = asyncio.run(agent.trial.propose(NEW))
    assert [asyncio.run(agent.trial.now()).diff for _ in range(3)] == [found.diff] * 3
    assert made == [False]
    agent.file.write_text(OLD.replace("old", "edited"))
    assert "-name: edited" in asyncio.run(agent.trial.now()).diff.splitlines()
    assert made == [False, False]


def test_question_while_the_file_cannot_be_read(tmp_path: Path) -> None:
    """It is answered, so that a step which succeeded is not told as a fault."""
    agent = Agent(tmp_path)
    asyncio.run(agent.trial.propose(NEW))
    agent.file.write_bytes(b"site: \xff\n")
    assert asyncio.run(agent.trial.now()).text == ""
    agent.file.unlink()
    now = asyncio.run(agent.trial.now())
    assert (now.text, now.candidate) == ("", NEW)


@pytest.mark.parametrize("name", ["trial.json", "candidate.yaml"])
def test_start_with_damaged_notes_of_a_trial(name: str, tmp_path: Path) -> None:
    """The card gave back bytes that are no text: the box starts, with the old file."""
    agent = Agent(tmp_path)

    async def visit() -> None:
        await agent.trial.propose(NEW)
        await agent.trial.apply("An")

    asyncio.run(visit())
    damaged = agent.config.state / "config" / name
    damaged.write_bytes(damaged.read_bytes().replace(b"n", b"\xff"))
    again = Agent(tmp_path)
    now = asyncio.run(again.trial.now())
    assert (again.config.name, now.trial_by, now.text) == ("old", None, OLD)
