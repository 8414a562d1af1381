"""The lowest rungs of `edge net` in a network of their own: cable, address, gateway, as a technician breaks them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edge_agent.interfaces import interfaces
from edge_agent.net import verdict_of
from edge_agent.net_show import Answer, Report
from edge_agent.own_rungs import OwnRungs, is_beyond

IP = "/usr/sbin/ip"
ROUTER, SERVER = "198.18.71.1", "198.18.200.9"
"""198.18.0.0/15 is for such trials (RFC 2544); the server lies behind the router."""
CONFIG = f"""
site: cl-02
language: en
state: ./state
sinks: [{{id: centre, influxdb: {{url: "http://{SERVER}:8086", version: 1, database: city}}}}]
"""


class Room:
    """A box with one cable to a router, each in a namespace of this process alone."""

    def __init__(self, folder: Path) -> None:
        """Make both."""
        self.box, self.router = f"edge-b{os.getpid()}", f"edge-r{os.getpid()}"
        self.file = folder / "agent.yaml"
        self.file.write_text(CONFIG, encoding="utf-8")
        self.ip("netns add", self.box)
        self.ip("netns add", self.router)
        self.ip(f"-n {self.router} link add down0 type veth peer name eth0 netns", self.box)
        self.ip(f"-n {self.router} link set down0 up")
        self.ip(f"-n {self.router} link set lo up")
        self.ip(f"-n {self.router} address add {ROUTER}/24 dev down0")
        self.ip(f"-n {self.router} address add {SERVER}/32 dev lo")
        self.ip(f"-n {self.box} link set eth0 up")

    def ip(self, words: str, *more: str) -> None:
        """A command of iproute2; skips where none can be run."""
        done = subprocess.run([IP, *words.split(), *more], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no namespace can be made here ({words}: {done.stderr.strip()})")

    def set_up(self) -> None:
        """Address and gateway."""
        self.ip(f"-n {self.box} address add 198.18.71.2/24 dev eth0")
        self.ip(f"-n {self.box} route add default via {ROUTER}")

    def net(self) -> tuple[int, Answer]:
        """`edge net` on the box."""
        words = [
            IP,
            "netns",
            "exec",
            self.box,
            sys.executable,
            "-m",
            "edge_agent",
            "net",
            "--json",
            "-c",
            str(self.file),
        ]
        done = subprocess.run(words, capture_output=True, timeout=60, check=False)
        return done.returncode, msgspec.json.decode(done.stdout, type=Answer)

    def close(self) -> None:
        """Both go."""
        for name in (self.box, self.router):
            subprocess.run([IP, "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Skips without root or iproute2."""
    if os.geteuid() != 0 or not shutil.which(IP):
        pytest.skip("network namespaces need root and iproute2")
    made = None
    try:
        made = Room(tmp_path)
        yield made
    finally:
        if made:
            made.close()


def pulled(room: Room) -> None:
    """At the router's end: the box has an address still."""
    room.set_up()
    room.ip(f"-n {room.router} link set down0 down")


def without_address(room: Room) -> None:
    """Nobody gave one."""


def self_given(room: Room) -> None:
    """What a machine takes where no DHCP server answers."""
    room.ip(f"-n {room.box} address add 169.254.7.7/16 dev eth0")


def without_gateway(room: Room) -> None:
    """An address alone."""
    room.ip(f"-n {room.box} address add 198.18.71.2/24 dev eth0")


def gateway_off(room: Room) -> None:
    """The switch lives, the router behind it does not: nobody has its address."""
    room.set_up()
    room.ip(f"-n {room.router} address delete {ROUTER}/24 dev down0")


BROKEN: list[tuple[Callable[[Room], None], str, str]] = [
    (pulled, "link", "own_link_out_cable"),
    (without_address, "address", "own_no_address"),
    (self_given, "address", "own_no_dhcp"),
    (without_gateway, "gateway", "own_no_gateway"),
    (gateway_off, "gateway", "own_gateway_silent"),
]


@pytest.mark.parametrize(("breaks", "rung", "what"), BROKEN, ids=[each[2] for each in BROKEN])
def test_first_rung_that_fails_is_the_last_one_tried(
    room: Room, breaks: Callable[[Room], None], rung: str, what: str
) -> None:
    """It is red, says what to try, and neither the rungs above it nor the server are tried: exit code 2."""
    breaks(room)
    code, answer = room.net()
    own, server = answer.targets
    red = [each for each in own.rungs if each.state == "failed"]
    assert [(each.rung, each.what) for each in red] == [(rung, what)]
    assert red[0].text
    above = own.rungs[own.rungs.index(red[0]) + 1 :]
    assert {each.state for each in [*above, *server.rungs]} == {"left_out"}
    assert (code, server.state, answer.verdict) == (2, "failed", "failed")


def test_way_that_holds_leads_to_the_server(room: Room) -> None:
    """Cable, address and gateway are well, and the ladder goes on to the server, where nothing listens."""
    room.set_up()
    _, answer = room.net()
    own, server = answer.targets
    assert [each.state for each in own.rungs[:3]] == ["ok"] * 3
    assert own.rungs[0].text.startswith("eth0: cable")
    assert own.rungs[1].text == "198.18.71.2/24"
    assert own.rungs[2].text == f"{ROUTER} answers"
    assert [each.rung for each in own.rungs] == ["link", "address", "gateway", "clock"]
    assert next(each.what for each in server.rungs if each.state == "failed") == "nobody_listens"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_server_on_the_box_itself_needs_no_cable(host: str) -> None:
    """A box whose broker and database run beside the agent is not asked for a gateway."""
    assert not is_beyond(host)
    assert is_beyond("hub.chi-minh.example")


def test_own_trouble_alone_needs_a_look() -> None:
    """Servers that are reached count for more than a clock that nobody sets: attention, not failed."""
    own, server = Report("cl-02", "box", "", "attention", []), Report("centre", "sink", "", "ok", [])
    assert verdict_of([own, server]) == "attention"
    assert verdict_of([server]) == "ok"


def test_loopback_and_bridges_are_no_ways_out() -> None:
    """What is listed can be plugged in or switched on by a person."""
    assert not {"lo", "docker0"} & {each.name for each in interfaces()}
    assert [step.name for step in OwnRungs([]).steps()] == ["link", "address", "gateway", "clock"]
