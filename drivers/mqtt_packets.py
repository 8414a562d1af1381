"""MQTT 5 packets in a stream of bytes (MQTT 5, 2.1 and 3.3): cutting them apart, and what a PUBLISH holds. No I/O."""

from __future__ import annotations

import msgspec

PUBLISH, PUBACK = 0x30, 0x40
"""First byte of a packet, flags apart."""


class BadPacket(ValueError):
    """The broker does not speak MQTT as we know it."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One PUBLISH."""

    topic: bytes
    payload: bytes
    mid: int
    """Packet identifier, to be acknowledged; 0 with QoS 0."""
    dup: bool
    """Sent before, and not acknowledged."""
    retain: bool
    """Kept by the broker for new subscribers: of unknown age."""


def split(data: bytes, most: int) -> tuple[list[tuple[int, int, bytes]], int]:
    """The complete packets at the start of `data` as (first byte, where its body begins, packet), and their length.

    Raises BadPacket for a packet longer than `most` bytes, which no honest broker sends.
    """
    packets: list[tuple[int, int, bytes]] = []
    at, end = 0, len(data)
    while end - at >= 2:
        size, start = data[at + 1], at + 2
        if size & 0x80:
            try:
                size, start = _long(data, at + 1)
            except IndexError:
                break  # the rest of the length is still on its way
        if size > most:
            raise BadPacket(f"packet of {size} bytes")
        if start + size > end:
            break
        packets.append((data[at], start - at, data[at : start + size]))
        at = start + size
    return packets, at


def published(head: int, packet: bytes, start: int) -> Message:
    """Take a PUBLISH apart. Raises BadPacket."""
    try:
        at = start + 2 + (packet[start] << 8 | packet[start + 1])
        topic, mid = packet[start + 2 : at], 0
        if head & 0x06:
            mid = packet[at] << 8 | packet[at + 1]
            at += 2
        properties = packet[at]
        at += 1
        if properties:
            if properties & 0x80:
                properties, at = _long(packet, at - 1)
            at += properties
    except IndexError:
        raise BadPacket("PUBLISH is cut short") from None
    if at > len(packet) or head & 0x06 == 0x06:
        raise BadPacket("PUBLISH is malformed")
    return Message(topic, packet[at:], mid, bool(head & 0x08), bool(head & 0x01))


def _long(packet: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5, 1.5.5) and where it ends."""
    value = 0
    for index in range(4):
        byte = packet[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, at + index + 1
    raise BadPacket("a length is malformed")
