"""A disk with a write cache, served to a virtual machine over a Unix socket by the NBD protocol.

What the machine has written and not flushed is in the cache of this process only. When the power goes, `cut` leaves
some sectors of it, as a real disk does; of a killed QEMU over a file the page cache of this machine would keep all.
Protocol: github.com/NetworkBlockDevice/nbd, doc/proto.md; of it what QEMU needs (newstyle without options).
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.faults.forgetful import File

HELLO = b"NBDMAGIC" + b"IHAVEOPT" + struct.pack(">H", 0)
"""No flag: the client can only ask for the one export."""
ASKED = struct.Struct(">LQLL")
"""Flags of the client, IHAVEOPT, option, length of the export's name."""
HAS_FLAGS, CAN_FLUSH = 1, 4
REQUEST = struct.Struct(">LHHQQL")
"""Magic, flags, type, handle, offset, length."""
REQUEST_MAGIC, ANSWER_MAGIC = 0x25609513, 0x67446698
READ, WRITE, LEAVE, FLUSH = range(4)
INVALID = 22


class Disk:
    """Its content, and one machine at a time that uses it."""

    def __init__(self, content: bytes) -> None:
        """All of `content` is on the disk."""
        self._file = File(content)
        self._writes_left: int | None = None
        self.stopped = threading.Event()
        """It answers nothing any more: the power is going."""
        self.forgotten = 0
        """Writes that no flush had followed when the power went, over all cuts."""

    @property
    def content(self) -> bytes:
        """As the machine sees it."""
        return bytes(self._file.seen)

    def stop_after(self, writes: int) -> None:
        """The last of so many writes is taken into the cache and never answered, nor is anything after it."""
        self._writes_left = writes

    def cut(self, chance: random.Random) -> None:
        """The power goes: what was not flushed is there in part or not at all. Then it comes back."""
        self.forgotten += len(self._file.pending)
        left = self._file.after_a_cut(chance)
        assert left is not None
        self._file = File(left)
        self._writes_left = None
        self.stopped.clear()

    @contextlib.contextmanager
    def served(self, path: Path) -> Iterator[None]:
        """To the first machine that connects to the socket, until it is gone."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            server = threading.Thread(target=self._serve, args=(listener,), name="disk")
            server.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)  # where nobody came
                server.join()
                path.unlink()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(ConnectionError, OSError):  # a machine that is killed goes in the middle of a request
            line, _ = listener.accept()
            with line:
                self._greet(line)
                while self._answer(line):
                    pass

    def _greet(self, line: socket.socket) -> None:
        line.sendall(HELLO)
        *_, length = ASKED.unpack(_exactly(line, ASKED.size))
        _exactly(line, length)
        line.sendall(struct.pack(">QH", len(self._file.seen), HAS_FLAGS | CAN_FLUSH) + bytes(124))

    def _answer(self, line: socket.socket) -> bool:
        magic, _, kind, handle, offset, length = REQUEST.unpack(_exactly(line, REQUEST.size))
        assert magic == REQUEST_MAGIC
        found, error = b"", 0
        if kind == READ:
            found = bytes(self._file.seen[offset : offset + length])
        elif kind == WRITE:
            self._file.write(_exactly(line, length), offset)
            self._count_write(line)
        elif kind == FLUSH:
            self._file.sync()
        elif kind == LEAVE:
            return False
        else:
            error = INVALID
        line.sendall(struct.pack(">LLQ", ANSWER_MAGIC, error, handle) + found)
        return True

    def _count_write(self, line: socket.socket) -> None:
        if self._writes_left is None:
            return
        self._writes_left -= 1
        if self._writes_left <= 0:
            self.stopped.set()
            while line.recv(1 << 16):  # until the machine is gone
                pass


def _exactly(line: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        some = line.recv(count - len(got))
        if not some:
            raise ConnectionResetError
        got += some
    return bytes(got)
