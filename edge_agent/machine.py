"""The machine that the box is: clock, supply, heat, storage and its wear, services, versions (GET /box).

Read from the kernel's files, so that nothing here needs root; what a machine does not have stays None. All of it may
block on a bad card: call `look` in a thread.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from drivers.box import THERMAL, THROTTLED
from edge_agent import __version__, clock
from edge_agent.box_now import BoxNow, ClockNow, PowerNow, Service, StorageNow
from edge_agent.interfaces import NetworkNow, network

T = TypeVar("T")

SERVICES = ("edge-agent", "edge-meet", "mosquitto", "systemd-timesyncd", "chrony", "ssh")
LIBRARIES = ("pymodbus", "paho-mqtt", "aiohttp", "textual", "aiortc")
SYSTEMCTL_S = 3.0
LOW, CAPPED, THROTTLING, SINCE_BOOT = 0, 1, 2, 16
"""Bits of the firmware's word; the same since the boot stand 16 higher (Raspberry Pi documentation, vcgencmd)."""
SECTOR = 512
"""Bytes of what the kernel calls a sector in /sys/block/*/stat, whatever the disk's own are."""


def look(state: Path) -> BoxNow:
    """Everything; `state` is a folder on the disk that counts. Blocks, up to some seconds."""
    return BoxNow(
        clock=_clock(),
        power=_power(),
        celsius=_try(lambda: int(THERMAL.read_text(encoding="ascii")) / 1000),
        storage=_storage(state),
        memory_available_mb=_try(_memory),
        load_1m=round(os.getloadavg()[0], 2),
        cpus=os.cpu_count() or 1,
        up_s=round(time.clock_gettime(time.CLOCK_BOOTTIME), 1),
        model=_try(lambda: Path("/proc/device-tree/model").read_text(encoding="utf-8").rstrip("\0")) or "",
        services=_try(_services) or [],
        versions=_versions(),
        network=_try(network) or NetworkNow(),
    )


def _clock() -> ClockNow:
    told = asyncio.run(clock.ask())
    battery = any(_is_battery(clock) for clock in Path("/sys/class/rtc").glob("rtc*"))
    return ClockNow(time.time(), told.state == "synced", told.by, battery)


def _is_battery(clock: Path) -> bool:
    """A Raspberry Pi 5 has a clock chip without a battery: it then counts from 1970."""
    seconds = _try(lambda: int((clock / "since_epoch").read_text(encoding="ascii")))
    return seconds is not None and seconds > 1_577_836_800


def _power() -> PowerNow:
    word = _try(lambda: int(THROTTLED.read_text(encoding="ascii"), 16))
    return PowerNow() if word is None else power_of(word)


def power_of(word: int) -> PowerNow:
    """The firmware's bit field in words."""
    return PowerNow(
        known=True,
        low_now=bool(word >> LOW & 1),
        low_before=bool(word >> (SINCE_BOOT + LOW) & 1),
        capped_now=bool(word >> CAPPED & 1),
        throttled_now=bool(word >> THROTTLING & 1),
        throttled_before=bool(word >> (SINCE_BOOT + THROTTLING) & 1),
    )


def _storage(folder: Path) -> StorageNow:
    disk = os.statvfs(folder)
    device, kind = _mount(folder)
    block = _block(folder)
    return StorageNow(
        folder=str(folder),
        device=device,
        kind=kind,
        total_bytes=disk.f_blocks * disk.f_frsize,
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_pct=round(100 * disk.f_bavail / disk.f_blocks, 1) if disk.f_blocks else 0.0,
        files_free_pct=round(100 * disk.f_favail / disk.f_files, 1) if disk.f_files else 100.0,
        read_only=bool(disk.f_flag & os.ST_RDONLY),
        wear_pct=_try(lambda: _wear(block)) if block else None,
        written_bytes=_try(lambda: int((block / "stat").read_text().split()[6]) * SECTOR) if block else None,
        errors=_try(lambda: int(Path("/sys/fs", kind, Path(device).name, "errors_count").read_text())),
    )


def _mount(folder: Path) -> tuple[str, str]:
    """Device and file system of the mount that the folder is on."""
    found, longest = ("", ""), -1
    for line in (_try(lambda: Path("/proc/mounts").read_text(encoding="utf-8")) or "").splitlines():
        device, place, kind = line.split()[:3]
        if folder.resolve().is_relative_to(place) and len(place) > longest:
            found, longest = (device, kind), len(place)
    return found


def _block(folder: Path) -> Path | None:
    """The whole disk's folder below /sys, for a partition the disk it is of."""
    number = folder.stat().st_dev
    found = _try(lambda: Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True))
    if found and (found / "partition").exists():
        found = found.parent
    return found


def _wear(block: Path) -> int:
    """JEDEC eMMC 5.1 DEVICE_LIFE_TIME_EST: 1 is 0 to 10 % used, 11 is past its life; of two kinds of cell the worse."""
    steps = [int(word, 16) for word in (block / "device/life_time").read_text(encoding="ascii").split()]
    return 10 * max(steps)


def _memory() -> float | None:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return None


def _services() -> list[Service]:
    """Those of SERVICES that this machine knows."""
    if not shutil.which("systemctl") or not Path("/run/systemd/system").exists():
        return []
    names = [f"{name}.service" for name in SERVICES]
    command = ["systemctl", "show", "--property=Id,ActiveState,NRestarts,LoadState", *names]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_S, check=False).stdout
    found = []
    for part in shown.split("\n\n"):
        told = dict(line.split("=", 1) for line in part.splitlines() if "=" in line)
        if told.get("LoadState") == "loaded":
            restarts = int(told.get("NRestarts") or 0)
            found.append(Service(told["Id"].removesuffix(".service"), told["ActiveState"], restarts))
    return found


def _versions() -> dict[str, str]:
    found = {"edge": __version__, "python": platform.python_version(), "kernel": platform.release()}
    system = _try(platform.freedesktop_os_release)
    found["system"] = system.get("PRETTY_NAME", "") if system else ""
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _try(read: Callable[[], T]) -> T | None:
    """None where the machine has no such file, or something else in it."""
    try:
        return read()
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
