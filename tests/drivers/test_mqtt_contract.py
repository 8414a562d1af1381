"""What drivers/mqtt_seam.py relies on inside aiomqtt and paho, name by name, and that our reading of MQTT is paho's."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt._packet import decode_publish
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from drivers.mqtt_packets import BadPacket, Message, published, split
from drivers.mqtt_seam import PublishingClient

MOST = 300_000


def test_versions() -> None:
    """The names below were read in these versions: after an update read them again, then change this line."""
    assert (version("aiomqtt"), version("paho-mqtt").rsplit(".", 1)[0]) == ("2.5.1", "2.2")


def test_import_without_dnspython() -> None:
    """paho is imported without the resolver that it does not need here; others can still import it."""
    words = "import sys, drivers.mqtt; print('dns' in sys.modules); import dns.resolver"
    printed = subprocess.check_output([sys.executable, "-c", words], text=True)
    assert printed == "False\n"


def test_paho_client_of_aiomqtt() -> None:
    """`aiomqtt.Client._client` is the paho client, there before connecting, with aiomqtt's callbacks set."""

    async def scenario() -> None:
        paho = aiomqtt.Client("127.0.0.1")._client
        assert isinstance(paho, Paho)
        assert all((paho.on_connect, paho.on_disconnect, paho.on_socket_open, paho.on_socket_close))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_sock_recv", ["self", "bufsize"]),
        ("_sock_close", ["self"]),
        ("_packet_queue", ["self", "command", "packet", "mid", "qos", "info"]),
        ("manual_ack_set", ["self", "on"]),
        ("loop_read", ["self", "max_packets"]),
        ("loop_write", ["self"]),
        ("disable_logger", ["self"]),
        ("socket", ["self"]),
    ],
)
def test_name_of_paho(name: str, parameters: list[str]) -> None:
    """It is there, with the parameters that the seam gives."""
    assert list(inspect.signature(getattr(Paho, name)).parameters) == parameters


def test_name_of_aiomqtt_that_tells_a_puback() -> None:
    """`_on_publish` is there with paho's parameters, and `PublishingClient` overrides it."""
    parameters = list(inspect.signature(aiomqtt.Client._on_publish).parameters)
    assert parameters == list(inspect.signature(PublishingClient._on_publish).parameters)
    assert len(parameters) == 6


def test_reader_that_paho_can_be_given() -> None:
    """paho reads through `self._sock_recv`, looked up at each call, so that an instance's own one takes its place."""
    paho = Paho(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    asked: list[int] = []

    def nothing(bufsize: int) -> bytes:
        asked.append(bufsize)
        raise BlockingIOError

    paho._sock_recv = nothing  # type: ignore[method-assign]  # as the seam does
    paho._sock = object()  # type: ignore[assignment]
    assert paho.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    paho._sock = None
    assert asked == [1]


def test_packets_that_paho_can_be_given() -> None:
    """Bytes queued as one packet go out as they are, so that many PUBACKs are one write."""
    paho = Paho(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    paho.on_socket_register_write = lambda *_: None
    paho._packet_queue(0x40, b"\x40\x02\x00\x01\x40\x02\x00\x02", 0, 0)
    assert [packet["packet"] for packet in paho._out_packet] == [b"\x40\x02\x00\x01\x40\x02\x00\x02"]


# --- our reading of packets -------------------------------------------------------------------------------------------


def length(size: int) -> bytes:
    """A variable byte integer."""
    out = bytearray()
    while True:
        size, digit = divmod(size, 128)
        out.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(out)


@st.composite
def publishes(draw: st.DrawFn) -> tuple[int, bytes]:
    """(first byte, packet) of a PUBLISH, with properties now and then."""
    qos = draw(st.integers(0, 1))
    head = 0x30 | draw(st.integers(0, 1)) << 3 | qos << 1 | draw(st.integers(0, 1))
    topic = draw(st.text(min_size=1, max_size=40)).encode()
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if draw(st.booleans()):
        properties.MessageExpiryInterval = draw(st.integers(1, 1000))
        properties.UserProperty = [("k", "v" * draw(st.integers(0, 200)))]
    mid = draw(st.integers(1, 65535)).to_bytes(2, "big") if qos else b""
    packed: bytes = properties.pack()  # type: ignore[no-untyped-call]
    body = len(topic).to_bytes(2, "big") + topic + mid + packed + draw(st.binary(max_size=300))
    return head, bytes([head]) + length(len(body)) + body


@given(publish=publishes())
def test_publish_as_paho_reads_it(publish: tuple[int, bytes]) -> None:
    """Topic, packet identifier, flags and payload are those that paho finds in the same bytes."""
    head, packet = publish
    ((first, start, whole),), used = split(packet, MOST)
    assert (first, whole, used) == (head, packet, len(packet))
    theirs: Any = decode_publish(head, packet[start:], MQTTv5)
    ours = published(head, packet, start)
    assert ours == Message(theirs.topic, bytes(theirs.payload), theirs.mid, theirs.dup, theirs.retain)


@given(several=st.lists(publishes(), min_size=1, max_size=5), cuts=st.lists(st.integers(1, 80), max_size=30))
def test_packets_in_any_pieces(several: list[tuple[int, bytes]], cuts: list[int]) -> None:
    """However TCP cuts the stream, the same packets come out of it."""
    stream, found, rest = b"".join(packet for _, packet in several), [], b""
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        packets, used = split(rest + piece, MOST)
        rest = (rest + piece)[used:]
        found += [packet for _, _, packet in packets]
    assert found == [packet for _, packet in several]
    assert rest == b""


@given(garbage=st.binary(max_size=200))
def test_garbage(garbage: bytes) -> None:
    """Bytes that are no MQTT end in BadPacket, or in packets for paho to refuse; in nothing else."""
    try:
        packets, used = split(garbage, MOST)
        assert 0 <= used <= len(garbage)
        for head, start, packet in packets:
            if head & 0xF0 == 0x30:
                published(head, packet, start)
    except BadPacket:
        pass


def test_packet_longer_than_announced() -> None:
    """A broker that sends more than we said we take is not waited for."""
    with pytest.raises(BadPacket):
        split(b"\x30" + length(MOST + 1), MOST)
    with pytest.raises(BadPacket):
        split(b"\x30\xff\xff\xff\xff\x01", MOST)
