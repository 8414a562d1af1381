"""One stream in, one stream out: order, losses, repair and switches, without a network."""

from hypothesis import given, settings
from hypothesis import strategies as st

from conference import dtls, rtp
from conference.ingress import Ingress
from conference.slot import Slot


class Wire:
    """Takes what a slot sends, in the clear: the slot's keys and path in one."""

    def __init__(self) -> None:
        self.sent: list[rtp.Packet] = []

    address = ("127.0.0.1", 1)

    def protect(self, size: int) -> int:
        return size

    def send_to(self, data: memoryview, _address: tuple[str, int]) -> None:
        packet = rtp.parse(bytes(data))
        assert packet is not None
        self.sent.append(packet)


def opened(time_id: int = 2) -> tuple[Slot, Wire]:
    slot, wire = Slot(77, "video-0", 90_000, {"VP8": 100, "H264": 101}, time_id), Wire()
    slot.open(wire, wire)  # type: ignore[arg-type]
    return slot, wire


def vp8(number: int, *, key: bool = False, ssrc: int = 1) -> rtp.Packet:
    """Packet `number` of a stream with one packet a frame."""
    payload = b"\x90\xe0" + (0x8000 | number & 0x7FFF).to_bytes(2, "big") + bytes((number & 255, 0x20))
    return rtp.Packet(
        number & 0xFFFF, number * 6000 & 0xFFFFFFFF, ssrc, 96, True, payload + bytes((0 if key else 1, 9))
    )


def source(slot: Slot, ssrc: int = 1) -> Ingress:
    stream = Ingress(ssrc, "VP8", 90_000)
    slot.switch(stream, 0.0)
    return stream


def test_nothing_is_shown_before_a_key_frame() -> None:
    """A viewer who comes in the middle waits for a key frame, which is asked for at once and then not too often."""
    asked: list[int] = []
    slot, wire = opened()
    stream = Ingress(1, "VP8", 90_000)
    stream.ask_key = lambda: asked.append(1)
    slot.switch(stream, 10.0)
    for number in range(5):
        stream.packet(vp8(number), 10.0 + number / 15)
        stream.request_key(10.0 + number / 15)
    assert wire.sent == []
    assert len(asked) == 1
    stream.packet(vp8(5, key=True), 10.4)
    assert len(wire.sent) == 1
    assert not stream.wants_key


@settings(max_examples=200)
@given(
    st.integers(0, 65535),
    st.lists(st.integers(0, 3), min_size=5, max_size=120),
    st.lists(st.integers(0, 4), min_size=120, max_size=120),
)
def test_order_and_losses_pass_through(start: int, steps: list[int], delays: list[int]) -> None:
    """Whatever is lost, doubled or late on the way in: no number goes out twice, and gaps stay the same gaps."""
    slot, wire = opened()
    stream = source(slot)
    stream.packet(vp8(start, key=True), 1.0)
    numbers = [start]
    for step in steps:
        numbers.append(numbers[-1] + step)
    late = sorted(range(len(numbers)), key=lambda at: at + delays[at % len(delays)])
    for at in late:
        stream.packet(vp8(numbers[at]), 1.0 + at / 15)
    out = [packet.seq for packet in wire.sent]
    assert len(set(out)) == len(out)
    shift = (wire.sent[0].seq - start) & 0xFFFF
    assert {(packet.seq - shift) & 0xFFFF for packet in wire.sent} <= {number & 0xFFFF for number in numbers}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(2, 12)), min_size=1, max_size=20), st.integers(0, 65535))
def test_switches_look_like_one_stream(turns: list[tuple[int, int]], start: int) -> None:
    """Any order of sources with any numbering: numbers, picture ids and TL0 rise by one, time stamps rise."""
    slot, wire = opened()
    sources = [Ingress(ssrc, "VP8", 90_000) for ssrc in range(4)]
    counters = [start + 1000 * at for at in range(4)]
    now = 1.0
    for which, length in turns:
        slot.switch(sources[which], now)
        for frame in range(length):
            for at, stream in enumerate(sources):
                counters[at] += 1
                stream.packet(vp8(counters[at], key=frame == 0, ssrc=at), now)
            now += 1 / 15
    assert len(wire.sent) >= sum(length for _, length in turns)
    for before, after in zip(wire.sent, wire.sent[1:], strict=False):
        assert (after.seq - before.seq) & 0xFFFF == 1
        old, new = rtp.vp8_picture(before.payload), rtp.vp8_picture(after.payload)
        assert (new.id - old.id) & 0x7FFF == 1
        assert (new.tl0 - old.tl0) & 0xFF == 1
        assert 0 < (after.ts - before.ts) & 0xFFFFFFFF < 90_000
    assert all(packet.ssrc == 77 and packet.pt == 100 for packet in wire.sent)


def test_losses_are_asked_for_and_answered() -> None:
    """A gap is asked for at once and again; the late packet keeps its number; a viewer's loss is answered from the
    cache, with two copies where one did not do."""
    slot, wire = opened()
    stream = source(slot)
    asked: list[int] = []
    stream.ask_again = asked.extend
    for number in (10, 11, 13, 14):
        stream.packet(vp8(number, key=number == 10), 1.0)
    assert asked == [12]
    assert stream.overdue(1.01) == []
    assert stream.overdue(1.1) == [12]
    stream.repaired(vp8(12), 1.12)
    assert stream.overdue(1.2) == []
    out = [packet.seq - wire.sent[0].seq for packet in wire.sent]
    assert out == [0, 1, 3, 4, 2]
    first = wire.sent[0].seq
    slot.resend([first + 1, first + 2, first + 50, first - 5], 2.0)
    assert [packet.seq - first for packet in wire.sent[5:]] == [1, 2]
    assert wire.sent[5].payload == wire.sent[1].payload
    slot.resend([first + 2], 2.1)
    assert [packet.seq - first for packet in wire.sent[7:]] == [2, 2]
    assert stream.report(2.0).fraction > 0


def test_losses_before_a_switch_are_answered_too() -> None:
    """After a switch a viewer still gets what it lost of the former source, with the numbers of then."""
    slot, wire = opened()
    first, second = source(slot), Ingress(2, "VP8", 90_000)
    for number in range(5):
        first.packet(vp8(number, key=number == 0), 1.0)
    slot.switch(second, 1.5)
    second.packet(vp8(900, key=True, ssrc=2), 1.5)
    lost = wire.sent[3]
    slot.resend([lost.seq, wire.sent[5].seq], 2.0)
    assert wire.sent[6].payload == lost.payload
    assert wire.sent[7].payload == wire.sent[5].payload


def test_sender_that_begins_anew_is_followed() -> None:
    """A jump of the numbers is a new beginning: the slot waits for a key frame and goes on without a gap."""
    slot, wire = opened()
    stream = source(slot)
    stream.packet(vp8(100, key=True), 1.0)
    stream.packet(vp8(30_000), 2.0)
    assert len(wire.sent) == 1
    stream.packet(vp8(30_001, key=True), 2.1)
    stream.packet(vp8(30_002), 2.2)
    assert [packet.seq - wire.sent[0].seq for packet in wire.sent] == [0, 1, 2]
    assert stream.report(3.0).lost == 0


def test_pause_keeps_the_numbers() -> None:
    """Paused and shown again, the stream goes on where it was; resending is limited."""
    slot, wire = opened(time_id=0)
    stream = source(slot)
    stream.packet(vp8(1, key=True), 1.0)
    slot.switch(None, 1.1)
    stream.packet(vp8(2), 1.2)
    slot.switch(stream, 5.0)
    stream.packet(vp8(3, key=True), 5.0)
    assert [packet.seq - wire.sent[0].seq for packet in wire.sent] == [0, 1]
    assert (wire.sent[1].ts - wire.sent[0].ts) & 0xFFFFFFFF == 360_000
    for _ in range(2000):
        slot.resend([wire.sent[1].seq], 5.0)
    assert slot.resent == 400


def test_too_large_packets_are_not_forwarded() -> None:
    """A packet that would not fit the scratch buffer is dropped, not written beyond it."""
    slot, wire = opened()
    stream = source(slot)
    stream.packet(rtp.Packet(1, 1, 1, 96, True, b"\x10\x00\x00" + bytes(dtls.MAX_PLAIN)), 1.0)
    assert wire.sent == []
