"""A thin line for one process: a network namespace with 256 kbit/s to the outside. Needs root and iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

HOME = "198.18.70.1"
"""This machine's end; 198.18.0.0/15 is for such trials (RFC 2544)."""


class Line(msgspec.Struct, frozen=True):
    """The way through the line."""

    before: tuple[str, ...]
    """Words before a command that has to run behind the line."""
    host: str
    """Where a server has to listen to be reached from there."""


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
        yield Line(("/usr/sbin/ip", "netns", "exec", name), HOME)
    finally:
        subprocess.run(["/usr/sbin/ip", "netns", "delete", name], check=False, capture_output=True)


def _make(name: str, outer: str, inner: str, rate: str) -> None:
    inside = ["/usr/sbin/ip", "-n", name]
    limit = ["root", "tbf", "rate", rate, "burst", "4kb", "latency", "400ms"]
    for words in (
        ["/usr/sbin/ip", "netns", "add", name],
        ["/usr/sbin/ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name],
        ["/usr/sbin/ip", "address", "add", f"{HOME}/30", "dev", outer],
        ["/usr/sbin/ip", "link", "set", outer, "up"],
        [*inside, "address", "add", "198.18.70.2/30", "dev", inner],
        [*inside, "link", "set", inner, "up"],
        [*inside, "link", "set", "lo", "up"],
        ["/usr/sbin/tc", "qdisc", "add", "dev", outer, *limit],
        ["/usr/sbin/tc", "-n", name, "qdisc", "add", "dev", inner, *limit],
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no namespace can be made here ({' '.join(words)}: {done.stderr.strip()})")
