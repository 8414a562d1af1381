"""What the agent loads: a box has little memory, and every one of them starts with all of it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

from edge_agent.control import RARE

HEAVY = {
    "aiomqtt": "without brokers",
    "paho": "without brokers",
    "drivers.mqtt": "without brokers",
    "drivers.scan": "until a tool asks",
    "edge_agent.redact": "until a changed configuration is looked at",
    "edge_agent.report": "until a report is asked for",
    "conference.router": "the meeting's own",
    "difflib": "until a changed configuration is looked at",
    "tarfile": "until a report is asked for",
    "textual": "the terminal's",
    "cryptography": "the meeting's",
    "aiortc": "the meeting's",
    "influxdb_client": "for set-up only",
    "serial.tools": "nobody's",
    "certifi": "nobody's",
    "dns": "nobody's",
    "ctypes": "until only the kernel can be asked about the clock",
    "frozenlist._frozenlist": "brings libstdc++",
    **dict.fromkeys(RARE, "until somebody asks"),
}
LOADS = f"""
import sys, ssl, mimetypes
usual, lists = ssl.create_default_context, mimetypes.knownfiles
import uvloop, edge_agent.__main__, edge_agent.app
from aiohttp import connector
print([name for name in {[*HEAVY]!r} if name in sys.modules])
print(connector._SSL_CONTEXT_VERIFIED.get_ca_certs(), connector._SSL_CONTEXT_VERIFIED.verify_mode.name)
print(ssl.create_default_context is usual, mimetypes.knownfiles is lists)
print(len(mimetypes.types_map) == len(mimetypes._types_map_default))
"""


def test_agent_loads_what_every_box_needs_and_no_more() -> None:
    """Rare questions, brokers, the system's authorities and its types of files come when they are wanted; a connection
    that says nothing of authorities believes nobody. What all of it weighs is in `bench/end_to_end.py`."""
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[] CERT_REQUIRED", "True True", "True"]


@pytest.mark.parametrize("module", RARE)
def test_rare_question_is_known_before_its_module_is(module: str) -> None:
    """The control socket's list names just what the module answers."""
    nobody: Any = None
    served = [f"{route.method} {route.path}" for route in import_module(module).routes(nobody)]
    assert sorted(served) == sorted(RARE[module])
