"""How soon the agent is ready, and what the bytecode that `make` compiles saves."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from bench import ward
from bench.command import main
from bench.machine import ON_AGENT_CORE
from bench.running import ROOT, Agent, folder
from bench.table import Result
from bench.ward import Ward

LOAD = Ward()
NOBODY = range(1, 1 + LOAD.devices)
"""Ports of devices that are not there: ready does not wait for them."""
IMPORTS = "import os, uvloop, edge_agent.__main__, edge_agent.app, edge_agent.commands; os._exit(0)"
"""What `edge run` imports; without the interpreter's own end, which the agent does not have to wait for."""


def _import(environment: Mapping[str, str]) -> None:
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    line = [*ON_AGENT_CORE, sys.executable, "-c", IMPORTS]
    subprocess.run(line, cwd=ROOT, env={**usual, **environment}, check=True)


def only_library_compiled(path: Path) -> dict[str, str]:
    """Environment in which Python's own library has its bytecode, as everywhere, and nothing else has."""
    prefix = {"PYTHONPYCACHEPREFIX": str(path)}
    _import(prefix)
    library = path / Path(sysconfig.get_path("stdlib")).relative_to("/")
    for compiled in path.rglob("*.pyc"):
        if not compiled.is_relative_to(library) or "site-packages" in compiled.parts:
            compiled.unlink()
    return {**prefix, "PYTHONDONTWRITEBYTECODE": "1"}


def importing(environment: Mapping[str, str]) -> float:
    """Seconds from the start of Python to its end, with all that `edge run` imports."""
    began = time.perf_counter()
    _import(environment)
    return time.perf_counter() - began


def ready(config: Path, environment: Mapping[str, str]) -> float:
    """Seconds from the start of the agent until it says READY."""
    with Agent(config, environment=environment) as agent:
        return agent.ready_s


def benchmark(quick: bool) -> list[Result]:
    """With and without, in turn."""
    compiled, plain, imports = list[float](), list[float](), list[float]()
    with folder() as path:
        ward.write_profile(path / "devices", LOAD.registers)
        config = ward.configuration(path, (ward.buses(NOBODY, LOAD.every), ward.sinks({"http://127.0.0.1:9": 1})))
        without = only_library_compiled(path / "library")
        importing({})
        for _ in range(2 if quick else 7):
            compiled.append(ready(config, {}))
            imports.append(importing({}))
            plain.append(ready(config, without))
    return [
        Result("start: ready", tuple(compiled), "s", 0.5),
        Result("  imports alone", tuple(imports), "s"),
        Result("  without bytecode", tuple(plain), "s"),
    ]


if __name__ == "__main__":
    sys.exit(main([benchmark], __doc__))
