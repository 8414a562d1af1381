"""The service units as systemd itself judges them, without a running systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.meeting_config import Meeting

SYSTEMD = Path(__file__).parent.parent / "systemd"
SERVICES = sorted(SYSTEMD.glob("*.service"))
EXPOSURE = 15
"""Highest exposure that `systemd-analyze security` may report, in tenths."""

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)


def _run(*command: str | Path) -> tuple[int, str]:
    """Exit code and everything said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def _security(unit: Path) -> tuple[int, str]:
    return _run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit)


def _verify(unit: Path, folder: Path) -> tuple[int, str]:
    """Verify a copy whose program exists: /opt/edge is there on a box only."""
    copy = folder / unit.name
    text = unit.read_text(encoding="utf-8")
    copy.write_text(text.replace("/opt/edge/.venv/bin/edge", sys.executable), encoding="utf-8")
    for port in SYSTEMD.glob("*.socket"):
        shutil.copy(port, folder)
    return _run("systemd-analyze", "verify", "--man=no", copy)


def _without(unit: Path, folder: Path, *beginnings: str) -> Path:
    """A copy of the unit without the lines that begin so."""
    lines = unit.read_text(encoding="utf-8").splitlines(keepends=True)
    weaker = folder / unit.name
    weaker.write_text("".join(line for line in lines if not line.startswith(beginnings)), encoding="utf-8")
    return weaker


@each_service
def test_unit_verified(service: Path, tmp_path: Path) -> None:
    """systemd has nothing to remark on the unit: no unknown key, no missing program."""
    assert _verify(service, tmp_path) == (0, "")


@each_service
def test_unit_exposure(service: Path) -> None:
    """The unit's exposure is at most 1.5 of 10."""
    code, said = _security(service)
    assert code == 0, said


@each_service
def test_unit_exposure_without_a_capability_bound(service: Path, tmp_path: Path) -> None:
    """The gate closes: the same unit with all capabilities does not pass it."""
    code, said = _security(_without(service, tmp_path, "CapabilityBoundingSet="))
    assert code != 0, said


@each_service
def test_unit_with_an_unknown_key(service: Path, tmp_path: Path) -> None:
    """The other gate closes too: a misspelt key is remarked on."""
    misspelt = tmp_path / "in" / service.name
    misspelt.parent.mkdir()
    misspelt.write_text(service.read_text(encoding="utf-8").replace("WatchdogSec=", "WatchdogSecs="), encoding="utf-8")
    assert "WatchdogSecs" in _verify(misspelt, tmp_path)[1]


def _create(folder: Path, tool: str, *options: str) -> None:
    files: Sequence[Path] = sorted((SYSTEMD / f"{tool}.d").glob("*.conf"))
    code, said = _run(f"systemd-{tool}", f"--root={folder}", *options, *files)
    assert code == 0, said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders to the service's group")
def test_user_and_folders_on_an_empty_system(tmp_path: Path) -> None:
    """The service's user, its group and its folders come from the two files; secrets are root's alone."""
    (tmp_path / "etc").mkdir()
    _create(tmp_path, "sysusers")
    _create(tmp_path, "tmpfiles", "--create")
    users = (tmp_path / "etc/passwd").read_text(encoding="utf-8").splitlines()
    [user] = [line.split(":") for line in users if line.startswith("edge-agent:")]
    assert any(line.startswith("edge-meet:") for line in users)
    folder, secrets = (tmp_path / "etc" / name for name in ("edge-agent", "edge-agent/secrets"))
    assert folder.stat().st_gid == int(user[3])
    assert (folder / "devices").is_dir()
    assert (secrets.stat().st_uid, oct(secrets.stat().st_mode)[-3:]) == (0, "700")


@pytest.mark.parametrize("port", sorted(SYSTEMD.glob("*.socket")), ids=lambda path: path.name)
def test_socket_unit_verified(port: Path, tmp_path: Path) -> None:
    """systemd has nothing to remark on it, and its port is the one that the configuration has by itself."""
    _verify(port.with_suffix(".service"), tmp_path)
    assert _run("systemd-analyze", "verify", "--man=no", tmp_path / port.name) == (0, "")
    lines = port.read_text(encoding="utf-8").splitlines()
    default = Meeting(room="giao-ban").listen
    assert f"ListenStream={default}" in lines
    assert f"ListenDatagram={default}" in lines
