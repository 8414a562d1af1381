"""`edge demo`: a ward's box on one machine, without hardware, and the proof that nothing is lost.

`stage.py` has the processes, `play.py` what happens to them, `watch.py` and `picture.py` what is seen of it,
`account.py` the count at the end. Whatever happens, no process and no folder is left behind.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.commands import Wrong
from edge_agent.demo.account import account, read_back
from edge_agent.demo.play import USUAL, Interrupts, Plan, Play
from edge_agent.demo.report import lines
from edge_agent.demo.stage import DATABASE, Died, Stage
from edge_agent.demo.terminal import Lines, Screen, Steps, is_screen, say
from edge_agent.demo_servers import ServerFailed
from edge_agent.text import Text, texts


def main(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 0 when every reading arrived, 1 when not, 2 when it could not run."""
    text = texts(arguments.language)
    seconds = _seconds(arguments.seconds, text)
    if arguments.meeting:
        from edge_agent.demo import meeting

        return meeting.main(seconds, arguments.keep, text)
    with Interrupts() as interrupts, _folder(arguments.keep, text) as folder:
        stage = Stage(folder, arguments.language)
        try:
            return _demonstrate(stage, Plan(seconds), interrupts, text)
        except ServerFailed as failed:
            raise Wrong(text("demo.failed", error=str(failed))) from None
        except Died as died:
            raise Wrong(text("demo.died", name=text(f"demo.process.{died.name}"), log=str(died))) from None
        finally:
            interrupts.shut_out()
            stage.close()


def _demonstrate(stage: Stage, plan: Plan, interrupts: Interrupts, text: Text) -> int:
    """The four acts: start, play, stop, count."""
    for package in stage.missing:
        say(text(f"demo.without.{package}", package=package))
    _start(stage, text)
    display = Screen(text) if is_screen() else Lines(text)
    try:
        play = Play(stage, plan, display, interrupts, text)
        play.run()
    finally:
        display.close()
    stage.switch_off(stage.agent)
    if stage.influxdb is None:
        say(text("demo.not_counted", count=play.kept))
        return 0
    found = account(stage.ledgers(), read_back(stage.influxdb, DATABASE))
    for line in lines(found, text):
        say(line)
    return 0 if found.exact else 1


def _start(stage: Stage, text: Text) -> None:
    steps = Steps(len(stage.servers()))
    try:
        stage.start(lambda done, name: steps.show(done, text("demo.starting", name=text(f"demo.process.{name}"))))
    finally:
        steps.close()


def _seconds(given: float | None, text: Text) -> float | None:
    """How long: as told, else DEMO_SECONDS, else until Ctrl-C where somebody watches."""
    said = os.environ.get("DEMO_SECONDS", "") if given is None else str(given)
    if not said:
        return None if is_screen() else USUAL
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Wrong(text("demo.seconds", value=said))
    return seconds


@contextmanager
def _folder(keep: bool, text: Text) -> Iterator[Path]:
    """A temporary folder, gone afterwards unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="edge-demo-"))
    try:
        yield folder
    finally:
        if keep:
            say(text("demo.kept_folder", folder=str(folder)))
        else:
            shutil.rmtree(folder, ignore_errors=True)
