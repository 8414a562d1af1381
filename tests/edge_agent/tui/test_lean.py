"""What the terminal loads: a box has little memory, and the terminal runs beside the agent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("pydantic", "yaml", "sqlite3", "ssl", "aiohttp", "pymodbus", "aiomqtt", "ctypes", "edge_agent.journal")
LOADS = f"""
import sys
from edge_agent.tui.lean import without_tls
without_tls()
from pathlib import Path
import edge_agent.tui.start, edge_agent.tui.app
from edge_agent.tui.picture import Known, Picture
picture = Picture(Path("s"), Path("f"))
print(len([known.kind() for known in vars(picture).values() if isinstance(known, Known)]))
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_terminal_loads_what_it_shows_and_no_more() -> None:
    """With the answers of every screen and of a point's page: no YAML, no TLS, no database, nothing of the agent's own
    work. What all of it weighs is in `bench/tui.py`."""
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    screens, heavy = done.stdout.split("\n")[:2]
    assert int(screens) >= 12
    assert heavy == "[]"


def test_whoever_needs_tls_later_gets_it() -> None:
    """Only asyncio and http.client are kept from it, and only where nobody had it before."""
    words = "from edge_agent.tui.lean import without_tls as w; w(); import ssl; w(); print(ssl.SSLContext.__name__)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "SSLContext\n"


def test_configuration_is_read_without_tls_as_well(tmp_path: Path) -> None:
    """The child that reads the file needs what the terminal does without."""
    file = tmp_path / "agent.yaml"
    file.write_text(
        'site: cl-02\nstate: ./state\nsinks: [{id: a, influxdb: {url: "https://h", version: 2, token: !secret t, '
        "org: o, bucket: b}}]\n",
        encoding="utf-8",
    )
    words = "import sys; from edge_agent.tui.lean import without_tls as w; w(); from pathlib import Path\n"
    words += "from edge_agent.tui.given import Reading; print(Reading(Path(sys.argv[1])).result().ways[0].where)"
    done = subprocess.run([sys.executable, "-c", words, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout == "https://h\n"
