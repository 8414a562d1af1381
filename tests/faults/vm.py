"""A virtual machine, QEMU without KVM: Debian's kernel as `make faults` unpacks it, this machine's root to read from,
and a disk of its own. `guest.sh` is its first process.
"""

from __future__ import annotations

import os
import platform
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.nbd import Disk

PROJECT = Path(__file__).parents[2]
KERNEL = PROJECT / ".machine"
"""Where tools/kernel.sh unpacks it."""
MODULES = ("virtio_pci", "virtio_blk", "9pnet_virtio", "9p", "crc32c_generic", "ext4", "dm_flakey")
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "dmsetup": "dmsetup",
    "mkfs.ext4": "e2fsprogs",
}
"""Commands and their Debian packages."""
PATIENCE = 180.0
"""Seconds in which something must happen in the machine, on a loaded one."""


def missing() -> str | None:
    """Why there is no virtual machine here."""
    if platform.machine() != "x86_64":
        return "the virtual machine is x86_64, this machine is not"
    absent = [package for command, package in TOOLS.items() if not shutil.which(command)]
    if absent:
        return f"not installed: {' '.join(absent)}"
    if not (KERNEL / "vmlinuz").exists():
        return "no kernel for the virtual machine: tools/kernel.sh .machine"
    return None


def command(*words: object) -> str:
    """A module of this project as the machine runs it."""
    run = shlex.join([sys.executable, "-m", *map(str, words)])
    return f"cd {shlex.quote(str(PROJECT))} && PYTHONDONTWRITEBYTECODE=1 exec {run}"


class Machine:
    """One that runs."""

    def __init__(self, process: subprocess.Popen[bytes], console: Path) -> None:
        """`console`: the file with what the kernel says."""
        self._process = process
        self._console = console
        self._said = b""

    @property
    def said(self) -> list[str]:
        """Whole lines of what runs in it."""
        return self._said.decode().split("\n")[:-1]

    def wait(self, until: Callable[[list[str]], bool]) -> list[str]:
        """Read what it says until that is enough."""
        deadline = time.monotonic() + PATIENCE
        while not until(self.said):
            if not self._read(max(0.0, deadline - time.monotonic())):
                raise AssertionError(f"{self.said[-5:]}\n{self._console.read_text(errors='replace')[-3000:]}")
        return self.said

    def tell(self, word: str) -> None:
        """A line to guest.sh."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def kill(self) -> list[str]:
        """The power goes. Everything that it had said before."""
        self._process.kill()
        while self._read(PATIENCE):
            pass
        self._process.wait()
        return self.said

    def end(self) -> None:
        """It powers itself off once what runs in it has ended."""
        self.wait(lambda said: "ended" in said)
        self._process.wait(PATIENCE)

    def _read(self, within: float) -> bool:
        assert self._process.stdout is not None
        file = self._process.stdout.fileno()
        if not select.select([file], [], [], within)[0]:
            return False
        some = os.read(file, 65536)
        self._said += some
        return bool(some)


@contextmanager
def booted(folder: Path, disk: Disk, run: str) -> Iterator[Machine]:
    """With the disk of which a fresh start is to be tried; `run` is what it does then."""
    first, console, line = folder / "first.cpio", folder / "console.log", folder / "disk.socket"
    if not first.exists():
        first.write_bytes(_first_files())
    with disk.served(line), console.open("ab") as log:
        process = subprocess.Popen(
            _words(first, console, line, run), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            try:
                yield Machine(process, console)
            finally:
                process.kill()
                process.wait()


def _words(first: Path, console: Path, line: Path, run: str) -> list[str]:
    kernel = f'console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on RUN="{run}"'
    root = "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
    return [
        *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-no-reboot"),
        *("-display", "none", "-kernel", str(KERNEL / "vmlinuz"), "-initrd", str(first), "-append", kernel),
        *("-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console", "-serial", "stdio"),
        *("-fsdev", root, "-device", "virtio-9p-pci,fsdev=root,mount_tag=root"),
        *("-blockdev", f"driver=nbd,node-name=disk,server.type=unix,server.path={line}"),
        *("-device", "virtio-blk-pci,drive=disk,write-cache=on"),
    ]


def _first_files() -> bytes:
    """The initial file system: busybox, the modules, guest.sh."""
    busybox = shutil.which("busybox")
    assert busybox
    order = _with_those_they_need(MODULES)
    files = [(name, 0o40755, b"") for name in ("bin", "dev", "host", "modules", "proc", "sys")]
    files.append(("bin/busybox", 0o100755, Path(busybox).read_bytes()))
    files.append(("init", 0o100755, (Path(__file__).parent / "guest.sh").read_bytes()))
    files.append(("modules/order", 0o100644, "\n".join(order).encode()))
    files += [(f"modules/{name}.ko", 0o100644, _module(name).read_bytes()) for name in order]
    return b"".join(_cpio(*file) for file in [*files, ("TRAILER!!!", 0, b"")])


def _cpio(name: str, mode: int, content: bytes) -> bytes:
    """One file of an archive: kernel documentation, driver-api/early-userspace/buffer-format."""
    whole = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(whole), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + whole
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def _with_those_they_need(names: tuple[str, ...]) -> list[str]:
    """In the order in which they are to be loaded."""
    order: dict[str, None] = {}
    for name in names:
        depends = re.search(rb"\0depends=([^\0]*)\0", _module(name).read_bytes())
        needed = tuple(filter(None, depends[1].decode().split(","))) if depends else ()
        order |= dict.fromkeys([*_with_those_they_need(needed), name])
    return list(order)


def _module(name: str) -> Path:
    """Its file has either of two signs."""
    dashed = KERNEL / "modules" / f"{name.replace('_', '-')}.ko"
    return dashed if dashed.exists() else KERNEL / "modules" / f"{name.replace('-', '_')}.ko"
