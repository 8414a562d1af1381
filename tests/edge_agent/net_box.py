"""What the tests of `edge net` share: a configuration in the making, and a look at what the command said."""

from __future__ import annotations

import http.server
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from edge_agent.__main__ import main
from edge_agent.net_show import Answer, Report

PASSWORD = "kept-out-of-sight"


class Box:
    """A configuration in the making, and `edge net` on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Write nothing yet."""
        self.file = folder / "agent.yaml"
        self._capsys = capsys
        self._brokers: list[str] = []
        self._sinks: list[str] = []

    def broker(self, url: str, id_: str = "field", **more: str) -> Box:
        """Add a broker."""
        self._brokers.append(_flow({"id": id_, "broker": url, "client_id": f"c-{id_}"} | more))
        return self

    def sink(self, url: str, id_: str = "centre", **more: str) -> Box:
        """Add a database."""
        self._sinks.append(f"{{id: {id_}, influxdb: {_flow({'url': url} | more)}}}")
        return self

    def uplink(self, url: str) -> Box:
        """Add a sink by MQTT."""
        self._sinks.append(f"{{id: up, mqtt: {{broker: '{url}', format: sparkplug}}}}")
        return self

    def write(self) -> Path:
        """The file."""
        lines = ["site: cl-02", "language: en", f"state: {self.file.parent}/state"]
        for key, blocks in (("mqtt", self._brokers), ("sinks", self._sinks)):
            lines += [f"{key}:", *[f"  - {block}" for block in blocks]] if blocks else []
        self.file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.file

    def net(self, *options: str) -> tuple[int, Answer]:
        """Exit code and answer; nothing that is printed holds the password."""
        code = main(["net", "-c", str(self.write()), "--json", *options])
        said = self._capsys.readouterr()
        assert PASSWORD not in said.out + said.err
        return code, msgspec.json.decode(said.out, type=Answer)

    def only(self, *options: str) -> Report:
        """The report of the only target."""
        [report] = self.net(*options)[1].targets
        return report


def _flow(block: Mapping[str, str]) -> str:
    quoted = {key: value if value.startswith("!") or value.isdigit() else f'"{value}"' for key, value in block.items()}
    return "{" + ", ".join(f"{key}: {value}" for key, value in quoted.items()) + "}"


def with_secrets(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """With `pass`, the right one, and `other` in the environment."""
    monkeypatch.setenv("EDGE_SECRET_PASS", PASSWORD)
    monkeypatch.setenv("EDGE_SECRET_OTHER", "another-one")
    return box


def states(report: Report) -> dict[str, str]:
    return {rung.rung: rung.state for rung in report.rungs}


def said(report: Report, rung: str) -> str:
    return next(each.text for each in report.rungs if each.rung == rung)


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port of an HTTP server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def on_a_terminal(words: list[str], question: str = "", typed: str = "") -> tuple[int, str]:
    """Exit code and screen of a command on a pseudo-terminal; `typed` is typed once `question` stands there."""
    terminal, ours = pty.openpty()
    command = [sys.executable, "-m", "edge_agent", *words]
    environment = os.environ | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdin=ours, stdout=ours, stderr=ours, env=environment) as process:
        os.close(ours)
        screen = b""
        while piece := _read(terminal):
            screen += piece
            if typed and question.encode() in screen:
                os.write(terminal, typed.encode())
                typed = ""
        os.close(terminal)
    return process.returncode, screen.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # So Linux says that nobody is on the other side any more.
        return b""
