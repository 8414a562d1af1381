"""The body of a row: its lines as one gzip member."""

from __future__ import annotations

import msgspec
from isal import igzip, isal_zlib

_OF_ZLIB: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # isal ships it as an instance
DAMAGED = (ValueError, EOFError, OSError, msgspec.MsgspecError, _OF_ZLIB)
"""What unpacking a damaged row raises."""


def pack(text: str) -> bytes:
    """Lines as one gzip member: the level costs 0.05 us a reading, a tenth of zlib's fastest."""
    return bytes(igzip.compress(text.encode(errors="replace"), 2))


def unpack(body: bytes) -> str:
    """Lines of one gzip member."""
    return igzip.decompress(body).decode()  # type: ignore[no-untyped-call, no-any-return]  # isal ships no types
