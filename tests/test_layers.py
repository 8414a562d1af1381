"""Who may import whom: two leaves and a root, and few doors to other people's private names.

The rules are a table; the checker reads imports from the source, also those written as `import_module("...")`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("drivers", "conference", "edge_agent")


class Ban(msgspec.Struct, frozen=True):
    """Files under `where`, except those in `but`, do not import `module` or anything below it."""

    module: str
    where: tuple[str, ...]
    but: tuple[str, ...] = ()


BANS = (
    Ban("conference", where=("drivers",)),
    Ban("drivers", where=("conference",)),
    Ban("edge_agent", where=("drivers", "conference", "tools")),
    Ban("tests", where=(*PACKAGES, "tools")),
    # 160 ms and 11 MB at every start, for what only setting up and asking a v2/v3 server needs.
    Ban("influxdb_client", where=PACKAGES, but=("edge_agent/influx_setup.py",)),
)

SEAMS = {
    "aiomqtt": ("drivers/mqtt_seam.py",),
    "paho": ("drivers/mqtt_seam.py",),
    "aiortc": ("conference/dtls.py",),
    "pylibsrtp": ("conference/dtls.py",),
}
"""The only files that may touch private names of these; their versions are pinned for it."""


class Fault(msgspec.Struct, frozen=True):
    """One line that breaks a rule."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def faults(root: Path) -> list[Fault]:
    """Every broken rule of the tree under `root`."""
    return [fault for file in _files(root) for fault in _faults_of(root, file)]


def _files(root: Path) -> list[Path]:
    return sorted(file for top in (*PACKAGES, "tools") for file in (root / top).rglob("*.py"))


def _faults_of(root: Path, file: Path) -> Iterator[Fault]:
    name = file.relative_to(root).as_posix()
    tree = ast.parse(file.read_text(encoding="utf-8"), name)
    imports = list(_imports(tree, name))
    for line, module in imports:
        yield from (Fault(name, line, f"imports {module}") for ban in BANS if _broken(ban, name, module))
    tops = {_top(module) for _, module in imports}
    if closed := " and ".join(sorted(top for top in tops if top in SEAMS and name not in SEAMS[top])):
        yield from (Fault(name, line, f"touches {private} of {closed}") for line, private in _private(tree))


def _top(module: str) -> str:
    return module.partition(".")[0]


def _broken(ban: Ban, name: str, module: str) -> bool:
    banned = module == ban.module or module.startswith(ban.module + ".")
    return banned and name.partition("/")[0] in ban.where and name not in ban.but


def _imports(tree: ast.Module, name: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every module that the file imports, wherever in the file."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(names=names):
                source = _source(node, name)
                yield from ((node.lineno, f"{source}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id=call) | ast.Attribute(attr=call), args=[ast.Constant(value=str(module)), *_]
            ):
                if call in ("import_module", "__import__"):
                    yield node.lineno, module


def _source(node: ast.ImportFrom, name: str) -> str:
    """Absolute name of what `from … import` imports from; each leading dot but the first climbs one folder."""
    if not node.level:
        return node.module or ""
    folders = name.split("/")[: -node.level]
    return ".".join([*folders, *([node.module] if node.module else [])])


def _private(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Private names that are not the file's own: `other._name`, `from module import _name`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=attr) if _is_private(attr):
                yield node.lineno, attr
            case ast.ImportFrom(module=str(module), names=names):
                parts = [*module.split("."), *(alias.name for alias in names)]
                yield from ((node.lineno, part) for part in parts if _is_private(part))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_every_import_keeps_to_the_layers() -> None:
    """Drivers and conference know neither each other nor the agent; private names are touched at the seams only."""
    assert [str(fault) for fault in faults(ROOT)] == []


@pytest.mark.parametrize(
    ("file", "source", "what"),
    [
        ("drivers/a.py", "import edge_agent.config", "imports edge_agent.config"),
        ("drivers/a.py", "def f():\n    from conference import room", "imports conference.room"),
        ("drivers/sim/a.py", "from ...edge_agent import text", "imports edge_agent.text"),
        ("conference/a.py", "from drivers.reading import Quality", "imports drivers.reading.Quality"),
        ("conference/a.py", 'importlib.import_module("edge_agent.app")', "imports edge_agent.app"),
        ("edge_agent/a.py", "import influxdb_client", "imports influxdb_client"),
        ("edge_agent/a.py", "from tests import conftest", "imports tests.conftest"),
        ("edge_agent/a.py", "import aiomqtt\naiomqtt.Client()._client.ack()", "touches _client of aiomqtt"),
        ("drivers/a.py", "from paho.mqtt.client import _x", "touches _x of paho"),
        ("conference/a.py", "from aiortc._x import y", "touches _x of aiortc"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, source: str, what: str) -> None:
    """The checker names the file, the line and the import."""
    _write(tmp_path, file, source)
    assert [(fault.file, fault.what) for fault in faults(tmp_path)] == [(file, what)]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("edge_agent/a.py", "from drivers import reading\nfrom conference import room"),
        ("edge_agent/influx_setup.py", "import influxdb_client"),
        ("drivers/mqtt_seam.py", "import aiomqtt\naiomqtt.Client()._client.ack()"),
        ("drivers/a.py", "from . import reading\nfrom .driver import Driver\nimport edge_agents"),
        ("drivers/a.py", "import aiomqtt\nclass A:\n    def f(self): return self._x, self.__class__"),
    ],
)
def test_a_right_import_passes(tmp_path: Path, file: str, source: str) -> None:
    """The checker finds nothing where nothing is wrong."""
    _write(tmp_path, file, source)
    assert faults(tmp_path) == []


def _write(root: Path, file: str, source: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
