"""STUN as an ICE-lite end needs it: read a binding request, check its signature, answer it. Pure functions.

An address counts as a client's only after a request from it was signed with the password we gave that client
(RFC 8445 7.3, RFC 8489). Whatever is malformed is None; nothing here raises on what the network sends.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
import zlib

import msgspec

_MAGIC = 0x2112A442
_MAGIC_BYTES = _MAGIC.to_bytes(4, "big")
_REQUEST, _SUCCESS = 0x0001, 0x0101
_USERNAME, _INTEGRITY, _XOR_ADDRESS, _PRIORITY = 0x0006, 0x0008, 0x0020, 0x0024
_USE_CANDIDATE, _FINGERPRINT, _CONTROLLING = 0x0025, 0x8028, 0x802A
_FINGERPRINT_XOR = 0x5354554E
_HEAD = struct.Struct(">HHI12s")
_ATTRIBUTE = struct.Struct(">HH")
_MAX_SIZE = 1280
_MAX_ATTRIBUTES = 32


class Check(msgspec.Struct, frozen=True):
    """One connectivity check of a client."""

    transaction: bytes
    username: str
    """`ours:theirs`, the two user fragments."""
    integrity_at: int
    """Offset of the MESSAGE-INTEGRITY attribute."""
    nominated: bool
    """The client wants to use this path."""


def is_stun(data: bytes) -> bool:
    """Whether the datagram is STUN (RFC 7983 7 and the magic cookie)."""
    return len(data) >= 20 and data[0] < 4 and data[4:8] == _MAGIC_BYTES


def parse_request(data: bytes) -> Check | None:
    """A signed binding request, or None."""
    if not 20 < len(data) <= _MAX_SIZE or not is_stun(data):
        return None
    kind, length, _, transaction = _HEAD.unpack_from(data)
    if kind != _REQUEST or length != len(data) - 20 or length % 4:
        return None
    found = _attributes(data)
    if found is None or _USERNAME not in found or _INTEGRITY not in found:
        return None
    at, size = found[_USERNAME]
    integrity_at, integrity_size = found[_INTEGRITY]
    if integrity_size != 20 or size > 513 or not _fingerprint_right(data, found):
        return None
    username = data[at : at + size].decode("utf-8", "replace")
    return Check(transaction, username, integrity_at - 4, _USE_CANDIDATE in found)


def _attributes(data: bytes) -> dict[int, tuple[int, int]] | None:
    """Attribute type to (offset, size) of its value; what follows MESSAGE-INTEGRITY counts only as FINGERPRINT."""
    found: dict[int, tuple[int, int]] = {}
    at = 20
    for _ in range(_MAX_ATTRIBUTES):
        if at == len(data):
            return found
        if at + 4 > len(data):
            return None
        kind, size = _ATTRIBUTE.unpack_from(data, at)
        if at + 4 + size > len(data):
            return None
        if _INTEGRITY not in found or kind == _FINGERPRINT:
            found.setdefault(kind, (at + 4, size))
        at += 4 + (size + 3) // 4 * 4
    return None


def _fingerprint_right(data: bytes, found: dict[int, tuple[int, int]]) -> bool:
    if _FINGERPRINT not in found:
        return True
    at, size = found[_FINGERPRINT]
    return size == 4 and at + 4 == len(data) and data[at:] == _fingerprint(data[: at - 4])


def _fingerprint(before: bytes) -> bytes:
    return (zlib.crc32(before) ^ _FINGERPRINT_XOR).to_bytes(4, "big")


def _signature(before: bytes, key: bytes) -> bytes:
    """HMAC over the message up to MESSAGE-INTEGRITY, its length field counting that attribute."""
    length = len(before) - 20 + 24
    return hmac.digest(key, before[:2] + length.to_bytes(2, "big") + before[4:], hashlib.sha1)


def signed_by(data: bytes, check: Check, key: bytes) -> bool:
    """Whether the request was signed with `key` (the password, as bytes)."""
    at = check.integrity_at
    return hmac.compare_digest(_signature(data[:at], key), data[at + 4 : at + 24])


def answer(check: Check, key: bytes, address: tuple[str, int]) -> bytes:
    """The success response that tells a client its address as seen from here."""
    return _message(_SUCCESS, check.transaction, [(_XOR_ADDRESS, _xor_address(address, check.transaction))], key)


def request(username: str, key: bytes, transaction: bytes, nominated: bool = True) -> bytes:
    """A check as the controlling end sends it."""
    attributes = [
        (_USERNAME, username.encode()),
        (_CONTROLLING, transaction[:8]),
        (_PRIORITY, (0x6E0001FF).to_bytes(4, "big")),
    ]
    if nominated:
        attributes.append((_USE_CANDIDATE, b""))
    return _message(_REQUEST, transaction, attributes, key)


def is_success(data: bytes, transaction: bytes) -> bool:
    """Whether the datagram is a success response to `transaction`."""
    return is_stun(data) and data[:2] == _SUCCESS.to_bytes(2, "big") and data[8:20] == transaction


def _message(kind: int, transaction: bytes, attributes: list[tuple[int, bytes]], key: bytes) -> bytes:
    body = b"".join(_ATTRIBUTE.pack(k, len(v)) + v + bytes(-len(v) % 4) for k, v in attributes)
    length = len(body) + 24 + 8
    signed = _HEAD.pack(kind, length - 8, _MAGIC, transaction) + body
    signed += _ATTRIBUTE.pack(_INTEGRITY, 20) + _signature(signed, key)
    whole = signed[:2] + length.to_bytes(2, "big") + signed[4:]
    return whole + _ATTRIBUTE.pack(_FINGERPRINT, 4) + _fingerprint(whole)


def _xor_address(address: tuple[str, int], transaction: bytes) -> bytes:
    host, port = address
    host = host.removeprefix("::ffff:")  # an IPv4 client of an IPv6 socket
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host.split("%")[0])
    mask = _MAGIC_BYTES + transaction
    mixed = bytes(a ^ b for a, b in zip(packed, mask, strict=False))
    return struct.pack(">BBH", 0, 2 if family == socket.AF_INET6 else 1, port ^ _MAGIC >> 16) + mixed
