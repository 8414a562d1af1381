"""A technician's visit by one-shot commands: look, find, change, report."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.client import Refused, ask
from edge_agent.demo_servers import free_port
from edge_agent.findings import Findings
from edge_agent.maintain import Done, Held, Maintenance
from edge_agent.trial_now import ConfigNow
from edge_agent.uplink import Uplink
from tests.e2e.box import Agent
from tests.e2e.test_agent import edge
from tests.waiting import wait_until

CONFIG = """
site: cl-02
name: Phường Sao Đỏ
language: en
state: ./state
box: {{every: 1s}}
buses: [{{id: meters, tcp: "127.0.0.1:{port}", devices: [
  {{id: power-1, profile: eastron-sdm630, unit: 1, every: 1s}}]}}]
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent whose only bus is not there."""
    agent = Agent(tmp_path_factory.mktemp("visit"))
    agent.file.write_text(CONFIG.format(port=free_port()), encoding="utf-8")
    agent.start()
    assert wait_until(lambda: "box.box.uptime_s" in edge("points", "-c", str(agent.file)).stdout, 10)
    yield agent
    agent.kill()


def said(box: Agent, *words: str, code: int = 0) -> str:
    """What a command prints, with its exit code."""
    answer = edge(*words, "-c", str(box.file))
    assert answer.returncode == code, answer.stderr + answer.stdout
    return answer.stdout


def test_status_names_the_cause_and_the_first_thing_to_try(box: Agent) -> None:
    """In a kilobyte, with the exit code of the verdict."""
    shown = said(box, "status", code=2)
    assert "cannot be reached (bus meters" in shown
    assert "→ Check the power of the Modbus TCP gateway" in shown
    assert len(shown.encode()) <= 1024


def test_point_with_every_detail(box: Agent) -> None:
    """Where it is configured, its registers, its limits, its last errors; 1 for one that is not good."""
    shown = said(box, "point", "power-1.power.voltage_l1_v", code=1)
    assert "agent.yaml:8" in shown
    assert "function 4, address 0" in shown
    assert "not connected" in shown
    detail = json.loads(said(box, "point", "power-1.power.voltage_l1_v", "--json", code=1))
    assert detail["wire"]["unit"] == 1
    assert len(detail["trend"]) == 60


def test_good_point_has_a_trend(box: Agent) -> None:
    """0 for a good one."""
    assert "30 minutes:" in said(box, "point", "box.box.uptime_s")


def test_points_are_watched(box: Agent) -> None:
    """`edge points -w 1`: a line with the time, then all points, again and again; with --json one line each time."""
    command = [sys.executable, "-m", "edge_agent", "points", "-w", "1", "-c", str(box.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = (line for line in watching.stdout if line.startswith("-- ") or "box.box.uptime_s" in line)
        shown = [next(lines) for _ in range(4)]
        watching.send_signal(signal.SIGINT)
    assert shown[0] != shown[2], "the times differ"
    assert shown[1] != shown[3], "and so does the time since the box was switched on"
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        found = [{each["point"] for each in json.loads(watching.stdout.readline())} for _ in range(2)]
        watching.send_signal(signal.SIGINT)
    assert found[0] == found[1] >= {"box.box.uptime_s"}


def test_points_watched_too_fast(box: Agent) -> None:
    """Refused, with what is possible."""
    answer = edge("points", "-w", "0.1", "-c", str(box.file))
    assert (answer.returncode, answer.stderr) == (2, "Once every 1 s at most.\n")


def test_point_that_is_not_there(box: Agent) -> None:
    """A sentence that says where the names are."""
    answer = edge("point", "nonsense", "-c", str(box.file))
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert "edge points" in answer.stderr


def test_box_is_told(box: Agent) -> None:
    """Clock, storage, versions; the exit code says whether anything needs a look."""
    answer = edge("box", "--json", "-c", str(box.file))
    now = json.loads(answer.stdout)
    assert answer.returncode == (1 if not now["clock"]["synced"] else answer.returncode)
    assert now["storage"]["total_bytes"] > 0
    assert now["versions"]["edge"]


def test_log_folds_and_filters(box: Agent) -> None:
    """Lines of one word, and of one level."""
    assert "bus unreachable bus=meters" in said(box, "log", "meters")
    assert "ready site" not in said(box, "log", "--level", "warning")
    lines = json.loads(said(box, "log", "--json", "-n", "2"))
    assert len(lines) == 2
    for count in ("0", "-3"):
        answer = edge("log", "-n", count, "-c", str(box.file))
        assert (answer.returncode, answer.stderr) == (2, "Write -n as 1 or more.\n")


def test_log_is_followed(box: Agent) -> None:
    """New lines come as they are logged, here the taking of the maintenance lock."""
    command = [sys.executable, "-m", "edge_agent", "log", "--follow", "--json", "audit", "-c", str(box.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            said(box, "config", "diff", str(box.file), "--name", "An")
            assert "by=An" in json.loads(following.stdout.readline())["text"]
        finally:
            following.kill()


def test_report_holds_what_is_needed_and_no_names(box: Agent, tmp_path: Path) -> None:
    """One file, whole, without the technician's name."""
    said(box, "config", "diff", str(box.file), "--name", "Nguyễn Văn An")
    said(box, "report", str(tmp_path / "r.tar.gz"))
    with tarfile.open(tmp_path / "r.tar.gz") as tar:
        names = {Path(name).name for name in tar.getnames()}
        texts = [file.read().decode() for member in tar.getmembers() if (file := tar.extractfile(member))]
    assert {"status.json", "findings.json", "agent.yaml", "log.json", "ledger.json", "box.json"} <= names
    assert not [text for text in texts if "Nguyễn" in text]
    assert any("person-" in text for text in texts)


def test_report_without_an_agent(tmp_path: Path) -> None:
    """The machine and the configuration, and the exit code says that it is not all."""
    file = tmp_path / "agent.yaml"
    file.write_text("site: cl-02\nstate: ./state\noops: 1\n")
    answer = edge("report", str(tmp_path / "r.tar.gz"), "-c", str(file))
    assert answer.returncode == 1
    assert tarfile.is_tarfile(tmp_path / "r.tar.gz")


# --- changing the configuration ---------------------------------------------------------------------------------------


def changed(box: Agent) -> Path:
    """Another name for the box."""
    new = box.folder / "new.yaml"
    new.write_text(box.file.read_text().replace("Phường Sao Đỏ", "Phường Chí Minh"))
    return new


def test_change_that_was_taken_back_is_no_trouble(box: Agent) -> None:
    """Whoever went back on purpose is not told that nobody confirmed; the trial itself was told."""
    said(box, "config", "apply", str(changed(box)), "--name", "An")
    control = box.folder / "state" / "control.sock"
    assert _troubles(control, "config_on_trial") == ["config_on_trial"]
    assert "is back" in said(box, "config", "back", "--name", "An")
    assert _troubles(control, "config_") == []


def _troubles(control: Path, of: str) -> list[str]:
    now: Findings = ask(control, "/findings", Findings)
    return [each.key for each in now.findings if each.key.startswith(of)]


def test_change_is_shown_tried_and_confirmed(box: Agent) -> None:
    """Each step by a command; then the file is the new one, and the audit knows who did it."""
    before = box.file.read_text()
    assert "+name: Phường Chí Minh" in said(box, "config", "diff", str(changed(box)), code=1)
    assert "on trial (An)" in said(box, "config", "apply", "--name", "An")
    assert box.file.read_text() == before
    assert "config confirm" in said(box, "status", code=2)
    assert "kept" in said(box, "config", "confirm", "--name", "An")
    assert "Phường Chí Minh" in box.file.read_text()
    done: list[Done] = ask(box.folder / "state" / "control.sock", "/audit", list[Done])
    assert ("An", "config confirm", "done") in {(each.by, each.action, each.result) for each in done}
    box.file.write_text(before)


def test_faulty_change_is_told_line_by_line(box: Agent) -> None:
    """It is never run."""
    new = box.folder / "bad.yaml"
    new.write_text("site: cl-02\nnmae: x\n")
    answer = edge("config", "apply", str(new), "-c", str(box.file))
    assert answer.returncode == 2
    assert f"{box.file}:2:" in answer.stderr


def test_refused_step_is_in_the_audit(box: Agent) -> None:
    """Who tried what, and why nothing came of it."""
    control = box.folder / "state" / "control.sock"
    held: Held = ask(control, "/maintain", Held, method="POST", body=b'{"name": "Chi", "steal": true}')
    with pytest.raises(Refused) as refused:
        ask(control, "/config/confirm", ConfigNow, method="POST", token=held.token)
    ask(control, "/maintain", Maintenance, method="DELETE", token=held.token)
    done: list[Done] = ask(control, "/audit", list[Done])
    assert (done[0].by, done[0].action, done[0].result) == ("Chi", "config confirm", refused.value.what)


def test_nobody_changes_anything_without_the_lock(box: Agent) -> None:
    """The socket alone lets one look only."""
    control = box.folder / "state" / "control.sock"
    for step in ("candidate", "apply", "confirm", "back"):
        with pytest.raises(Refused) as refused:
            ask(control, f"/config/{step}", ConfigNow, method="POST", body=b"site: x")
        assert refused.value.what == "needed"


def test_second_technician_must_steal_the_lock(box: Agent) -> None:
    """And then the first is told by whom."""
    control = box.folder / "state" / "control.sock"
    held: Held = ask(control, "/maintain", Held, method="POST", body=b'{"name": "Binh"}')
    answer = edge("config", "diff", str(changed(box)), "--name", "An", "-c", str(box.file))
    assert answer.returncode == 2
    assert "Binh" in answer.stderr
    assert edge("config", "diff", str(changed(box)), "--name", "An", "--steal", "-c", str(box.file)).returncode == 1
    with pytest.raises(Refused):
        ask(control, "/config/back", ConfigNow, method="POST", token=held.token)


def test_power_cut_during_a_trial(tmp_path: Path) -> None:
    """After kill -9 the box starts with the old configuration, and says that the trial went back."""
    agent = Agent(tmp_path)
    agent.file.write_text(CONFIG.format(port=free_port()), encoding="utf-8")
    agent.start()
    try:
        said(agent, "config", "apply", str(changed(agent)), "--name", "An")
        assert agent.status().name == "Phường Chí Minh"
        agent.kill()
        agent.start()
        assert agent.status().name == "Phường Sao Đỏ"
        found: Findings = ask(agent.folder / "state" / "control.sock", "/findings", Findings)
        assert {"config_went_back", "agent_was_killed"} <= {each.key for each in found.findings}
    finally:
        agent.kill()


def test_sink_is_tried_again_when_asked(tmp_path: Path) -> None:
    """A technician who has mended the line does not wait for the next attempt; the bar shows what waited."""
    agent = Agent(tmp_path)
    sink = f'sinks: [{{id: centre, influxdb: {{url: "http://127.0.0.1:{free_port()}", version: 1, database: city}}}}]\n'
    agent.file.write_text(CONFIG.format(port=free_port()) + sink, encoding="utf-8")
    agent.start()
    control = agent.folder / "state" / "control.sock"

    def next_try() -> float:
        return agent.status().sinks[0].next_try_s or 0.0

    try:
        assert wait_until(lambda: next_try() > 3, 30)
        held: Held = ask(control, "/maintain", Held, method="POST", body=b'{"name": "An"}')
        with pytest.raises(Refused, match="nowhere"):
            ask(control, "/uplink/nowhere/again", Maintenance, method="POST", token=held.token)
        before = agent.status().sinks[0].next_try_s or 0.0
        ask(control, "/uplink/centre/again", Maintenance, method="POST", token=held.token)
        assert wait_until(lambda: next_try() > before, 5), "an attempt was made, and the next is further away"
        done: list[Done] = ask(control, "/audit", list[Done])
        assert (done[0].by, done[0].action, done[0].about) == ("An", "uplink again", "centre")
        for language, words in (("en", "room: not known yet"), ("vi", "còn chỗ: chưa tính được")):
            found: Findings = ask(control, f"/findings?language={language}", Findings)
            assert any(words in each.works for each in found.findings), "each in one language only"
        uplinks: list[Uplink] = ask(control, "/uplink", list[Uplink])
        assert uplinks[0].bar[-1] is not None
    finally:
        agent.kill()
