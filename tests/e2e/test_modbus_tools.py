"""`edge modbus` through a running agent: slaves on TCP and on a pty, the command as a process of its own."""

from __future__ import annotations

import asyncio
import json
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.bench_ask import LINES, MARK
from edge_agent.text import texts
from edge_agent.tui import runs
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import Place
from edge_agent.tui.views import modbus
from edge_agent.tui.views.frame import Frame
from tests.e2e.box import Agent, Process
from tests.waiting import wait_until

DEVICES = (
    *("--device", "met-1:renke-01f4-station:1@rtu", "--device", "cab-1:xy-md02:2@rtu"),
    *("--device", "power-1:eastron-sdm630:1@tcp", "--device", "water-1:dfrobot-sen0676-radar:7@tcp"),
    *("--device", "wn-1:ecowitt-wn90lp:3@rtu"),
)
CONFIG = """
site: cl-02
language: en
state: ./state
box: {{disabled: true}}
buses:
  - id: line-1
    serial: ./line-1.tty
    timeout: 300ms
    devices:
      - {{id: met-1, profile: renke-01f4-station, unit: 1, every: 500ms}}
  - id: meters
    tcp: 127.0.0.1:{port}
    devices:
      - {{id: power-1, profile: eastron-sdm630, unit: 1, every: 500ms}}
  - id: gone
    tcp: 127.0.0.1:1
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A simulated ward and its agent, for all tests here: they only look."""
    folder = tmp_path_factory.mktemp("box")
    pty = folder / "line-1.tty"
    ward = Process(
        folder / "ward.log", "sim", "ward", "--port-modbus", "0", "--pty", str(pty), "--client-timeout", "5", *DEVICES
    )
    ready = re.search(r"modbus=127\.0\.0\.1:(\d+)", ward.line())
    assert ready
    agent = Agent(folder)
    agent.file.write_text(CONFIG.format(port=ready[1]), encoding="utf-8")
    agent.start()
    yield agent
    agent.kill()
    ward.kill()


def edge(box: Agent, *words: str) -> subprocess.CompletedProcess[str]:
    """One of the tools, to its end."""
    return subprocess.run(command(box, *words), capture_output=True, text=True, timeout=60, check=False)


def command(box: Agent, *words: str) -> list[str]:
    """How it is typed."""
    return [sys.executable, "-m", "edge_agent", "modbus", *words, "-c", str(box.file)]


def test_scan_of_the_line(box: Agent) -> None:
    """All units are found, the configured one by its name; models by their ident register or their values."""
    done = edge(box, "scan", "line-1", "--units", "1-3", "--wait", "60")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"Unit 1, 9600 8N1: .*configured as met-1; perhaps: .*renke-01f4-station.*", lines[0])
    assert lines[1].startswith("Unit 2, 9600 8N1: answers")
    assert lines[2].endswith("; model: ecowitt-wn90lp")
    assert lines[3] == "Asked 3 times, found 3 devices."


def test_scan_from_the_terminal_tells_how_far_it_is(box: Agent) -> None:
    """On screen 3 one line changes: a bar, which unit is asked, and for how long the polling of that line makes room;
    afterwards, that it goes on. None of it is left among the lines of the answer."""
    known = Picture(box.folder / "state/control.sock", box.file)
    run, shown = known.runs["modbus"], list[str]()

    def rows() -> str:
        now = time.monotonic()
        frame = Frame(texts("en", strict=True), 80, now, datetime.now(UTC), Place("modbus"))
        return "\n".join(row.plain for row in modbus.rows(known, frame))

    words = ("modbus", "scan", "line-1", "--units", "1-3,60-63", "--wait", "60", "--no-models")
    assert asyncio.run(run.go(words, box.file, time.monotonic, lambda: shown.append(rows()))) == 0
    bars = [line for screen in shown for line in screen.splitlines() if "█" in line]
    assert any("4/7" in bar for bar in bars)
    assert "Polling on line-1 makes room for this test. It runs alone again in about" in shown[-2]
    assert "Polling on line-1 runs as before since" in rows()
    assert "█" not in rows()
    assert not any(line.startswith(MARK) for line in run.lines)
    assert (runs.LINES, runs.MARK) == ({LINES: "lines"}, MARK)


def test_scan_for_scripts(box: Agent) -> None:
    """Over TCP, as JSON; exit code 1 where nobody is there."""
    done = edge(box, "scan", "meters", "--units", "5-8", "--no-models", "--json")
    assert [found["unit"] for found in json.loads(done.stdout)["found"]] == [7]
    assert edge(box, "scan", "meters", "--units", "20", "--no-models").returncode == 1


def test_scan_ends_with_ctrl_c(box: Agent) -> None:
    """Ctrl-C ends the command at once and the agent's part with it; polling goes on."""
    # A shell's background job ignores the signal, and so would whatever it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    scanning = subprocess.Popen(command(box, "scan", "line-1", "--units", "50-247"), stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert wait_until(lambda: guests(box) > 0, 20)
    scanning.send_signal(signal.SIGINT)
    _, said = scanning.communicate(timeout=10)
    assert scanning.returncode == 130
    assert said.strip() == "Stopped. Measuring goes on."
    assert wait_until(lambda: guests(box) == 0, 20)
    assert box.status().points.good > 0


def guests(box: Agent) -> int:
    """Frames of tools on the line within a second."""
    done = edge(box, "watch", "line-1", "--seconds", "1", "--json")
    assert done.returncode == 0
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(not frame["guest"] for frame in frames)
    return sum(frame["guest"] for frame in frames)


def test_read_in_every_decoding(box: Agent) -> None:
    """A float of the meter is found at its address, and from an address that is off by one."""
    right = json.loads(edge(box, "read", "meters", "1", "ir", "0", "2", "--unit-of", "V", "--json").stdout)
    best = right["decodings"][0]
    assert (best["type"], best["order"], best["addr"], best["fits"]) == ("f32", "ABCD", 0, True)
    assert 200 < best["value"] < 260
    said = edge(box, "read", "meters", "1", "ir", "70", "2", "--all-types", "--unit-of", "Hz").stdout
    assert re.search(r"^TX  .* 01 04 00 46 00 02$", said, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d+ Hz  f32 +ABCD +70 ", said, re.MULTILINE)


def test_read_that_is_refused(box: Agent) -> None:
    """The device's refusal in a sentence with what to try; exit code 1."""
    done = edge(box, "read", "line-1", "2", "3", "9000", "1")
    assert done.returncode == 1
    assert "code 2: no such address" in done.stdout
    silent = edge(box, "read", "line-1", "77", "3", "0")
    assert (silent.returncode, "No byte came back" in silent.stdout) == (1, True)


def test_watch_tells_the_points(box: Agent) -> None:
    """Requests and answers of the polling, with the values beside the bytes."""
    said = edge(box, "watch", "line-1", "--seconds", "1.5").stdout
    assert re.search(r"TX  01 03 01 f4 00 10 04 08   met-1 \(1\) read fc3 500\.\.515", said)
    assert re.search(r"RX  01 03 20 .* weather\.temp_c [0-9.]+ °C", said)


def test_line_that_is_well(box: Agent) -> None:
    """The finding comes first, then the counts and the histogram."""
    done = edge(box, "line", "line-1", "--rounds", "3")
    assert done.returncode == 0, done.stdout
    assert "The line is well: every device answers (1)" in done.stdout.splitlines()[0]
    assert re.search(r"^met-1 \(1\) +\S", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scan", "line-9"), "There is no Modbus bus named line-9. There are: line-1, meters, gone."),
        (("scan", "meters", "--bauds", "9600"), "meters is a TCP bus"),
        (("scan", "line-1", "--units", "a-b"), '--units: cannot read "a-b". Example: 1-32,40'),
        (("scan", "line-1", "--parities", "X"), '--parities: cannot read "X". Example: N,E'),
        (("read", "line-1", "300", "3", "0"), "A unit number is 1 to 252."),
        (("read", "line-1", "1", "7", "0"), "The function is 1 (co), 2 (di), 3 (hr) or 4 (ir), not 7."),
        (("read", "line-1", "1", "3", "65535", "2"), "Addresses are 0 to 65535, and one request reads 1 to 125."),
        (("read", "meters", "1", "4", "0", "2", "--unit-of", "furlong"), "No quantity is in furlong. Known units:"),
        (("scan", "gone", "--units", "1"), "127.0.0.1:1"),
    ],
)
def test_wrong_words_get_one_sentence(box: Agent, words: tuple[str, ...], said: str) -> None:
    """Whatever cannot be done is said in one sentence, without a trace; exit code 2."""
    done = edge(box, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_watching_a_bus_that_is_away(box: Agent) -> None:
    """It says why there is nothing to see."""
    assert wait_until(lambda: "127.0.0.1:1" in edge(box, "watch", "gone", "--seconds", "2").stdout, 30)


def test_plan_with_measured_costs(box: Agent) -> None:
    """The running agent's plan is for the line as it really is: a device in this machine answers far sooner."""
    assert wait_until(lambda: planned_ms(box) < 20, 30)  # 40.8 ms a request are assumed at 9,600 baud


def planned_ms(box: Agent) -> float:
    """Cost of a request on the serial line, as `edge modbus plan` tells it; none while it is assumed."""
    found = json.loads(edge(box, "plan", "line-1", "--json").stdout)[0]
    return float(found["devices"][0]["request_ms"]) if found["measured"] else math.inf


def test_tools_without_an_agent(tmp_path: Path) -> None:
    """Without the agent the tools say how to start it."""
    agent = Agent(tmp_path)
    agent.file.write_text(CONFIG.format(port=5020), encoding="utf-8")
    started = time.monotonic()
    done = edge(agent, "watch", "line-1")
    assert done.returncode == 2
    assert f"Start it with: edge run -c {agent.file}" in done.stderr
    assert time.monotonic() - started < 30
