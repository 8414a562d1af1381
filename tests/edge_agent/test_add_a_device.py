"""docs/add-a-device.md does what it says: its files and commands, in its order, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drivers.profile_form import Row, Timing
from drivers.profile_schema import schema_text

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/add-a-device.md").read_text(encoding="utf-8")
STAY = ("sim", "run")
"""Commands that go on until they are ended."""
PATIENCE = 60


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every command of the document, in its order, without the word `edge`."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line]
    assert all(line.startswith("edge ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Desk:
    """An empty folder with the document's files, where its commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, str(free_port())
        for text in blocks("yaml"):
            file = folder / text.splitlines()[0].removeprefix("# ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text.replace("5020", self.port), encoding="utf-8")

    def start(self, words: list[str]) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "edge_agent", *(word.replace("5020", self.port) for word in words)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        out = subprocess.PIPE if words[0] not in STAY else subprocess.DEVNULL
        return subprocess.Popen(line, cwd=self.folder, env=environment, stdout=out, stderr=out, text=True)

    def answer(self, words: list[str]) -> tuple[int, str]:
        process = self.start(words)
        said, wrong = process.communicate(timeout=PATIENCE)
        return process.returncode, said + wrong


@contextmanager
def staying(desk: Desk, lines: list[list[str]]) -> Iterator[None]:
    started = [desk.start(words) for words in lines]
    try:
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(PATIENCE)


def test_every_command_of_the_document(tmp_path: Path) -> None:
    """The commands succeed one after the other; at the end the new device's points have values."""
    desk = Desk(tmp_path)
    stay = [words for words in commands() if words[0] in STAY]
    ask = [words for words in commands() if words[0] == "points"]
    said = {}
    for words in commands():
        if words not in stay and words not in ask:
            code, said[" ".join(words)] = desk.answer(words)
            assert code == 0, said
    assert "26.3" in next(text for line, text in said.items() if "--frames" in line)
    with staying(desk, stay):
        assert sorted(_points(desk, ask[0])) == [
            "yard.weather.rain_total_mm",
            "yard.weather.rh_pct",
            "yard.weather.temp_c",
        ]


def _points(desk: Desk, words: list[str]) -> list[str]:
    """Names of the device's points, once all of them have values."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        code, said = desk.answer([*words, "--json"])
        points = [point for point in json.loads(said) if point["point"].startswith("yard.")] if code < 2 else []
        if points and all(point["value"] is not None for point in points):
            return [point["point"] for point in points]
        time.sleep(0.2)
    raise AssertionError(said)


def test_keys_of_the_document() -> None:
    """Every key that the document's last table names is one that a profile may have."""
    table = DOCUMENT.split("## All keys")[1]
    named = {key for cell in re.findall(r"^\| `([^|]*)` ", table, re.MULTILINE) for key in re.findall(r"(\w+):", cell)}
    known = set(json.loads(schema_text())["properties"]) | set(Row.model_fields) | set(Timing.model_fields)
    inner = {key for part in json.loads(schema_text())["$defs"].values() for key in part.get("properties", {})}
    assert {"limits", "counter", "biggest_step"} <= named
    assert named - known - inner - {"u16"} == set()
