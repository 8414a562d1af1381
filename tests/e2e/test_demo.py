"""`edge demo` as people run it: with real servers, in a terminal and without one, ended by itself and by force."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.demo_servers import InfluxDB, Mosquitto, installed
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not all(installed((Mosquitto, InfluxDB)).values()), reason="mosquitto and influxdb are not both installed"
)

EQUATION = re.compile(r"([\d,]+) generated = ([\d,]+) delivered \+ ([\d,]+) rejected")
COLUMNS, ROWS = 80, 24
BACKLOG = re.compile(r"\n +[1-9][\d,]* +[▁▂▃▄▅▆▇█]+\n")
"""The highest line of the plot, with its figure."""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demonstration makes its folder. A short name: sockets have room for 107 letters."""
    return tmp_path_factory.mktemp("d")


def command(*words: str) -> list[str]:
    """`edge demo` of this checkout."""
    return [sys.executable, "-m", "edge_agent", "demo", "--language", "en", *words]


def start(place: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """Start it without a terminal."""
    surroundings = {**os.environ, "TMPDIR": str(place), **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*words), stdout=pipe, stderr=pipe, text=True, env=surroundings)


def until(demo: subprocess.Popen[str], words: str) -> None:
    """Read what it prints up to the line with `words`."""
    assert demo.stdout is not None
    for line in demo.stdout:
        if words in line:
            return
    raise AssertionError(f"ended before {words!r}: {demo.stderr.read() if demo.stderr else ''}")


def processes(place: Path) -> dict[int, str]:
    """Everything that works in a demonstration's folder below `place`."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # It has just ended.
            if f"{place}/edge-demo-" in line:
                found[int(entry.name)] = line
    return found


def nothing_is_left(place: Path) -> bool:
    """No process and no file."""
    return not processes(place) and not list(place.iterdir())


def numbers(printed: str) -> tuple[int, int, int]:
    """Generated, delivered, rejected."""
    found = EQUATION.search(printed)
    assert found, printed
    generated, delivered, rejected = (int(number.replace(",", "")) for number in found.groups())
    return generated, delivered, rejected


def test_demo_without_a_terminal_ends_by_itself_and_counts_exactly(place: Path) -> None:
    """It takes InfluxDB away and brings it back, and then every generated reading is there or rejected, exit 0."""
    demo = start(place, "--seconds", "12")
    printed, errors = demo.communicate(timeout=60)
    assert demo.returncode == 0, printed + errors
    assert nothing_is_left(place)
    generated, delivered, rejected = numbers(printed)
    assert generated == delivered + rejected
    assert delivered > 300
    assert rejected > 0
    assert "marked bad" in printed
    order = ("InfluxDB is switched off", "cannot reach InfluxDB", "switched on again", "connected again", "Read back")
    places = [printed.index(words) for words in order]
    assert places == sorted(places)
    assert "\x1b" not in printed


def test_demo_interrupted_in_the_outage_still_counts(place: Path) -> None:
    """One Ctrl-C ends the play, brings InfluxDB back and counts; nothing is left running."""
    demo = start(place, DEMO_SECONDS="9")
    until(demo, "InfluxDB is switched off")
    demo.send_signal(signal.SIGINT)
    printed, errors = demo.communicate(timeout=60)
    assert demo.returncode == 0, printed + errors
    assert numbers(printed)[1] > 50
    assert nothing_is_left(place)


@pytest.mark.parametrize("twice", [signal.SIGINT, signal.SIGTERM])
def test_demo_ended_by_force(place: Path, twice: signal.Signals) -> None:
    """A second Ctrl-C, or SIGTERM, ends everything at once, without a trace."""
    demo = start(place, "--seconds", "60")
    until(demo, "0:00")
    assert len(processes(place)) == 5
    if twice == signal.SIGINT:
        demo.send_signal(twice)
        until(demo, "The simulation stops")
    demo.send_signal(twice)
    printed, errors = demo.communicate(timeout=20)
    assert demo.returncode == 128 + twice
    assert "Traceback" not in printed + errors
    assert nothing_is_left(place)


def test_demo_whose_agent_dies(place: Path) -> None:
    """What died is named, with the end of its log; exit 2, and the others are ended too."""
    demo = start(place, "--seconds", "60")
    until(demo, "0:00")
    agent = next(pid for pid, line in processes(place).items() if " run -c " in line)
    os.kill(agent, signal.SIGKILL)
    _, errors = demo.communicate(timeout=20)
    assert demo.returncode == 2
    assert "the box (edge run) ended by itself" in errors
    assert "ready site=cl-02" in errors
    assert nothing_is_left(place)


def test_demo_without_influxdb_keeps_its_folder(place: Path, tmp_path: Path) -> None:
    """Without InfluxDB it names the Debian package, shows the rest and exits 0; with --keep its files stay, and its
    configuration is one that `edge check` accepts."""
    demo = start(place, "--seconds", "2", "--keep", PATH=str(tmp_path))
    printed, errors = demo.communicate(timeout=30)
    assert demo.returncode == 0, printed + errors
    assert "apt-get install influxdb" in printed
    assert re.search(r"The box kept \d+ readings", printed)
    (folder,) = place.iterdir()
    assert f"The files are kept in {folder}" in printed
    check = [sys.executable, "-m", "edge_agent", "check", "-c", str(folder / "agent.yaml")]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    assert not processes(place)


class Terminal:
    """A real terminal of 80 x 24, by tmux, with `edge demo` in it."""

    def __init__(self, place: Path, *words: str) -> None:
        """Start it; what it prints stays on the screen after its end."""
        self._tmux = ["tmux", "-S", str(place / "tmux"), "-u", "-f", "/dev/null"]
        line = f"env TMPDIR={shlex.quote(str(place / 'tmp'))} LC_ALL=C.UTF-8 {shlex.join(command(*words))}"
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        (place / "tmp").mkdir()
        self._do("new-session", "-d", *size, f"{line}; echo exit $?; read never")

    def _do(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True, timeout=10).stdout

    def screen(self, *options: str) -> list[str]:
        """The lines that are seen."""
        return [line.rstrip() for line in self._do("capture-pane", "-p", *options).split("\n")[:ROWS]]

    def shows(self, words: str, timeout: float = 20) -> bool:
        """Wait until `words` are seen."""
        return wait_until(lambda: words in "\n".join(self.screen()), timeout, step=0.2)

    def press(self, key: str) -> None:
        """Type a key."""
        self._do("send-keys", key)

    def close(self) -> None:
        """End the terminal."""
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=10)


@pytest.fixture
def terminal(place: Path) -> Iterator[Terminal]:
    """A demonstration that goes through its outage at once."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: apt-get install tmux")
    found = Terminal(place, "--seconds", "12")
    yield found
    found.close()


def test_demo_in_a_terminal(place: Path, terminal: Terminal) -> None:
    """At 80 x 24 the picture has the table, the backlog and what happened, no line wraps, and Ctrl-C leads to the count
    on the screen as it was before."""
    assert terminal.shows("InfluxDB: ✖ unreachable, next try in"), terminal.screen()
    assert wait_until(lambda: BACKLOG.search("\n".join(terminal.screen())) is not None, 5), terminal.screen()
    # Two looks, between which it may be drawn anew: with a wrapped line they would never be alike.
    assert wait_until(lambda: terminal.screen() == terminal.screen("-J"), 5), "a line wraps"
    lines = terminal.screen()
    picture = "\n".join(lines)
    assert re.search(r"met-1 +Air temperature +\d+\.\d °C +● good +\d s", picture), picture
    assert re.search(r"waiting [\d,]+ · delivered [\d,]+ █+░*", picture)
    assert len([line for line in lines if re.match(r" +0:\d\d  ", line)]) == 3, "what happened"
    assert len(lines[0]) == COLUMNS - 1
    terminal.press("C-c")
    assert terminal.shows("generated ="), terminal.screen()
    assert terminal.shows("exit 0", 5)
    assert "Queue" not in "\n".join(terminal.screen())
    assert not processes(place / "tmp")
    assert not list((place / "tmp").iterdir())
