"""What is left in a damaged SQLite file: records found page by page, trusting no page to lead to the next. No SQL.

Reference: sqlite.org/fileformat2.html, "B-tree Pages", "Record Format", "The WAL File Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

import msgspec

from edge_agent.schema import PAGE

TABLE_LEAF, INDEX_LEAF = 0x0D, 0x0A
MOST_PAYLOAD = 64 << 20
"""A record that claims to be longer is damage."""
WAL_HEADER, FRAME_HEADER = 32, 24
FRAME = FRAME_HEADER + PAGE

Field = int | float | bytes | str | None
_INTS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Record(msgspec.Struct, frozen=True):
    """One row of a table, or one entry of an index."""

    kind: int
    rowid: int
    fields: tuple[Field, ...]


class Pages:
    """The pages of a file and of its WAL, each image by itself."""

    def __init__(self, database: Path | None, wal: Path | None, content: bytes = b"") -> None:
        """Either may be missing; `content`: the WAL's, instead of its path. Raises OSError."""
        self._file = _whole(database)
        self.frames = [(frame.page, frame.image) for frame in frames(content or bytes(_whole(wal))) if frame.whole]
        self._newest = dict(self.frames)

    def __len__(self) -> int:
        """Images of pages that there are."""
        return len(self._file) // PAGE + len(self.frames)

    def images(self, first: int, most: int) -> Iterator[tuple[int, bytes]]:
        """Number and content of up to `most` page images from the `first` on: the file's, then the WAL's."""
        in_file = len(self._file) // PAGE
        for at in range(first, min(first + most, len(self))):
            yield (at + 1, self._of_file(at + 1)) if at < in_file else self.frames[at - in_file]

    def _of_file(self, number: int) -> bytes:
        return bytes(self._file[(number - 1) * PAGE : number * PAGE])

    def get(self, number: int, *, wal_first: bool) -> bytes:
        """One page; empty where there is none."""
        kept = self._of_file(number) if number > 0 else b""
        new = self._newest.get(number, b"")
        return (new or kept) if wal_first else (kept or new)

    def records(self, number: int, page: bytes) -> Iterator[Record]:
        """What can be read of one page, in both readings of an overflow chain where these differ."""
        head = 100 if number == 1 and page.startswith(b"SQLite format 3") else 0
        kind = page[head] if len(page) == PAGE else 0
        if kind not in (TABLE_LEAF, INDEX_LEAF):
            return
        (count,) = struct.unpack_from(">H", page, head + 3)
        for i in range(min(count, (PAGE - head - 8) // 2)):
            (at,) = struct.unpack_from(">H", page, head + 8 + 2 * i)
            for wal_first in (True, False) if self._newest else (True,):
                try:
                    yield self._record(page, kind, at, wal_first=wal_first)
                except (ValueError, IndexError, struct.error):
                    continue

    def _record(self, page: bytes, kind: int, at: int, *, wal_first: bool) -> Record:
        size, at = _varint(page, at)
        rowid = 0
        if kind == TABLE_LEAF:
            rowid, at = _varint(page, at)
        if not 0 < size <= MOST_PAYLOAD:
            raise ValueError(size)
        local = _local(size, kind)
        payload = bytearray(page[at : at + local])
        if local < size:
            (following,) = struct.unpack_from(">I", page, at + local)
            while len(payload) < size:
                more = self.get(following, wal_first=wal_first)
                (following,) = struct.unpack_from(">I", more)
                payload += more[4 : 4 + size - len(payload)]
        if len(payload) != size:
            raise ValueError(size)
        return Record(kind, rowid, tuple(_fields(bytes(payload))))


def _whole(path: Path | None) -> mmap | bytes:
    if path is None or not path.exists() or path.stat().st_size == 0:
        return b""
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)


class Frame(msgspec.Struct, frozen=True):
    """One frame of a WAL."""

    page: int
    commits: bool
    """The last one of a transaction."""
    whole: bool
    """Its checksum follows from the checksum that stands in the frame before."""
    image: bytes


def frames(wal: bytes) -> Iterator[Frame]:
    """The frames that belong to the WAL's present round, damaged ones too."""
    if len(wal) < WAL_HEADER:
        return
    order, salts, before = _head(wal)
    for at in range(WAL_HEADER, len(wal) - FRAME + 1, FRAME):
        page, size, *own, sum1, sum2 = struct.unpack_from(">6I", wal, at)
        image = wal[at + FRAME_HEADER : at + FRAME]
        sums = {_sums(order, wal[at : at + 8] + image, *sums) for sums in before}
        whole = not sums or (sum1, sum2) in sums
        before = {(sum1, sum2)} if whole else {(sum1, sum2), *sums}
        if own == salts:
            yield Frame(page, size > 0, whole, image)


def _head(wal: bytes) -> tuple[str, list[int], set[tuple[int, int]]]:
    """Byte order, salts, and the checksum from which the first frame's follows; none where the head is damaged."""
    magic, _, _, _, *salts, sum1, sum2 = struct.unpack_from(">8I", wal)
    order = ">" if magic & 1 else "<"
    if _sums(order, wal[:24], 0, 0) == (sum1, sum2):
        return order, salts, {(sum1, sum2)}
    return "<", list(struct.unpack_from(">2I", wal, WAL_HEADER + 8)) if len(wal) >= WAL_HEADER + 16 else salts, set()


def _sums(order: str, data: bytes, one: int, two: int) -> tuple[int, int]:
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for first, second in zip(words, words, strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(9):
        byte = data[at + n]
        if n == 8:
            value = value << 8 | byte
            return (value - (1 << 64) if value >= 1 << 63 else value), at + 9
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at + n + 1
    raise ValueError(at)


def _local(size: int, kind: int) -> int:
    """How much of a payload stands in its own page."""
    least = (PAGE - 12) * 32 // 255 - 23
    most = PAGE - 35 if kind == TABLE_LEAF else (PAGE - 12) * 64 // 255 - 23
    if size <= most:
        return size
    wanted = least + (size - least) % (PAGE - 4)
    return wanted if wanted <= most else least


def _fields(payload: bytes) -> Iterator[Field]:
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    for kind in kinds:
        value, at = _field(payload, kind, at)
        yield value
    if at != len(payload):
        raise ValueError(at)


def _field(payload: bytes, kind: int, at: int) -> tuple[Field, int]:
    if kind in (0, 8, 9):
        return (None if kind == 0 else kind - 8), at
    if size := _INTS.get(kind):
        return int.from_bytes(payload[at : at + size], "big", signed=True), at + size
    if kind == 7:
        return float(struct.unpack_from(">d", payload, at)[0]), at + 8
    if kind < 12:
        raise ValueError(kind)
    size = (kind - 12) // 2
    raw = payload[at : at + size]
    return (raw.decode("utf-8", "strict") if kind % 2 else raw), at + size


def broken_transactions(wal: bytes) -> int:
    """Commits that stand at or behind the WAL's first damaged place, which SQLite therefore passes over."""
    found = list(frames(wal))
    if len(wal) >= WAL_HEADER and not _head(wal)[2]:
        return sum(frame.commits for frame in found)
    broken = next((i for i, frame in enumerate(found) if not frame.whole), len(found))
    return sum(frame.commits for frame in found[broken:])
