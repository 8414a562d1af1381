"""A file, or a whole disk, that forgets at a power cut what was not synced, and tears what was under way."""

from __future__ import annotations

import random

SECTOR = 512


class File:
    """What programs see, what is on the disk, and what lies between."""

    def __init__(self, content: bytes | None = None) -> None:
        """`content`: all of it on the disk; without it empty, and its name not yet on the disk."""
        self.seen = bytearray(content or b"")
        self.synced = None if content is None else bytearray(content)
        self.pending: list[tuple[int, bytes] | int] = []
        """Writes (offset, data) and truncations (size), in order."""

    def write(self, data: bytes, offset: int) -> None:
        """Into the cache."""
        _put(self.seen, data, offset)
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        """Into the cache."""
        _resize(self.seen, size)
        self.pending.append(size)

    def sync(self) -> None:
        """To the disk, all of it."""
        content = self.synced if self.synced is not None else bytearray()
        for change in self.pending:
            if isinstance(change, int):
                _resize(content, change)
            else:
                _put(content, change[1], change[0])
        self.synced = content
        self.pending.clear()

    def after_a_cut(self, chance: random.Random) -> bytes | None:
        """What is on the disk: of the last writes any sectors; None: not even the name."""
        if self.synced is None and chance.random() < 0.5:
            return None
        content = bytearray(self.synced or b"")
        kept = chance.choice([0.0, 0.5, 0.9])
        for change in self.pending:
            if isinstance(change, int):
                if chance.random() < kept:
                    _resize(content, change)
                continue
            offset, data = change
            for at in range(0, len(data), SECTOR):
                if chance.random() < kept:
                    _put(content, data[at : at + SECTOR], offset + at)
        return bytes(content)


def _put(content: bytearray, data: bytes, offset: int) -> None:
    _resize(content, max(len(content), offset))
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))
