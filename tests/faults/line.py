"""A thin line for one process: a network namespace with so many bits a second to the outside. Needs root, iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from edge_agent.demo_servers import InfluxDB

NET = f"198.18.{os.getpid() % 250}"
"""Its first address is this machine's end, its second the namespace's; 198.18.0.0/15 is for such trials (RFC 2544)."""


class Line(msgspec.Struct, frozen=True):
    """The way through the line."""

    before: tuple[str, ...]
    """Words before a command that has to run behind the line."""
    host: str
    """Where a server has to listen to be reached from there."""


class FarInfluxDB(InfluxDB):
    """One that listens where the line ends."""

    host = "127.0.0.1"

    @property
    def url(self) -> str:
        """Address for `influxdb: {url: …}`."""
        return f"http://{self.host}:{self.port}"

    def command(self) -> list[str]:
        """The usual one, at another address."""
        command = super().command()
        path = self.folder / "influxdb.conf"
        text = path.read_text(encoding="utf-8").replace(f"127.0.0.1:{self.port}", f"{self.host}:{self.port}")
        path.write_text(text, encoding="utf-8")
        return command


@contextmanager
def thin_line(rate: str) -> Iterator[Line]:
    """A namespace of this process alone, gone at the end. Skips, by a clear word, where none can be made."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    if not (shutil.which("ip", path="/usr/sbin:/sbin") and shutil.which("tc", path="/usr/sbin:/sbin")):
        pytest.skip("ip and tc are not installed: apt-get install iproute2")
    name, outer, inner = f"edge-{os.getpid()}", f"eo{os.getpid()}", f"ei{os.getpid()}"
    try:
        _make(name, outer, inner, rate)
        yield Line(("/usr/sbin/ip", "netns", "exec", name), f"{NET}.1")
    finally:
        subprocess.run(["/usr/sbin/ip", "netns", "delete", name], check=False, capture_output=True)


def _make(name: str, outer: str, inner: str, rate: str) -> None:
    inside = ["/usr/sbin/ip", "-n", name]
    limit = ["root", "tbf", "rate", rate, "burst", "4kb", "latency", "400ms"]
    for words in (
        ["/usr/sbin/ip", "netns", "add", name],
        ["/usr/sbin/ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name],
        ["/usr/sbin/ip", "address", "add", f"{NET}.1/30", "dev", outer],
        ["/usr/sbin/ip", "link", "set", outer, "up"],
        [*inside, "address", "add", f"{NET}.2/30", "dev", inner],
        [*inside, "link", "set", inner, "up"],
        [*inside, "link", "set", "lo", "up"],
        ["/usr/sbin/tc", "qdisc", "add", "dev", outer, *limit],
        ["/usr/sbin/tc", "-n", name, "qdisc", "add", "dev", inner, *limit],
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no namespace can be made here ({' '.join(words)}: {done.stderr.strip()})")
