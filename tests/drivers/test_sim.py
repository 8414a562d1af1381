"""Simulated units: they encode what the driver decodes, number their samples, and have the faults they are told to."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.profile import LENGTHS, UnknownVariant, library, read_profile
from drivers.profile_view import settle
from drivers.reading import Reason, Value, quantities
from drivers.register import BIT_FUNCTIONS, CODES, ORDERS, Block, Decoder, Register
from drivers.sim.encoding import Unrepresentable, carrier, encoder
from drivers.sim.fault import FAULTS, BadFault, described, parse_fault
from drivers.sim.ledger import Answer
from drivers.sim.unit import Request, Session, Unit, UnitOptions
from drivers.sim.values import Walk
from drivers.sim.wire import Mbap, Rtu, crc


def unit(profile: str, *faults: str, number: int = 1, variant: tuple[str, ...] = (), **options: bool | float) -> Unit:
    """A unit in this process."""
    fixed = UnitOptions(faults=tuple(parse_fault(text) for text in faults), **options)  # type: ignore[arg-type]
    return Unit("dev-1", number, read_profile(library()[profile]), variant, fixed)


def asked(unit: Unit, fc: int, start: int, count: int, session: Session | None = None) -> Answer | None:
    """The ledger's line for one request."""
    reply = unit.answer(Request(unit.number, fc, start, count), {} if session is None else session)
    return reply.answer if reply else None


# --- encoding ---------------------------------------------------------------------------------------------------------


@st.composite
def registers(draw: st.DrawFn) -> Register:
    kind = draw(st.sampled_from(sorted(CODES)))
    scale = 1.0 if kind == "f64" else draw(st.sampled_from([1.0, 0.1, 0.01, 0.001, 100.0, 0.3048, 2.5]))
    offset = draw(st.integers(-500, 500)) if kind[0] in "us" else 0
    order = draw(st.sampled_from(ORDERS))
    return Register("r", 7, type=kind, order=order, words=LENGTHS[kind], scale=scale, offset_raw=offset)


def words_of(register: Register, value: Value) -> list[int]:
    """What a slave answers for a value: words in wire order; for functions 1 and 2 one bit."""
    wire = encoder(register)(value)
    return [wire[0]] if register.fc in BIT_FUNCTIONS else list(struct.unpack(f">{len(wire) // 2}H", wire))


@given(registers(), st.data())
def test_a_decoded_value_encoded_again(register: Register, data: st.DataObject) -> None:
    """Whatever words a register has, encoding the value they decode to gives words of the same value."""
    words = data.draw(st.lists(st.integers(0, 65535), min_size=register.words, max_size=register.words))
    decode = Decoder(Block(3, 7, register.words, (register,))).decode
    (value,), _ = decode(words)
    if value is None:
        return
    try:
        again = words_of(register, value)
    except Unrepresentable:  # A float that was rounded up beyond the largest integer.
        assert register.words == 4
        return
    assert decode(again)[0] == [value]
    if register.type in ("u16", "s16", "u32", "s32"):
        assert again == words


def test_bits_and_text_encoded() -> None:
    """A bit of a register, a coil and a text are encoded as the decoder reads them."""
    assert words_of(Register("b", 0, type="bit", bit=3), True) == [8]
    assert words_of(Register("c", 0, fc=1, type="bit"), True) == [1]
    assert words_of(Register("t", 0, type="str", words=3), "AB12") == [0x4142, 0x3132, 0]


@pytest.mark.parametrize("value", [70_000, -1, float("nan")])
def test_a_value_that_does_not_fit(value: float) -> None:
    """It is refused, never cut off."""
    with pytest.raises(Unrepresentable):
        words_of(Register("r", 0), value)


def _any_variant(profile: str) -> list[Register]:
    loaded = read_profile(library()[profile])
    try:
        return loaded.points()
    except UnknownVariant:
        pass
    choices = loaded.choices()
    for names in ([], *([name] for name in choices), *([one, two] for one in choices for two in choices)):
        with contextlib.suppress(UnknownVariant):
            return loaded.points(names)
    pytest.skip("needs more than two choices")


@pytest.mark.parametrize("profile", sorted(library()))
def test_the_sequence_number_of_every_profile(profile: str) -> None:
    """Every device has a point that carries the number exactly, as a good value, until it begins again."""
    points = _any_variant(profile)
    if not points:
        pytest.skip("its value registers are not known")
    carries = carrier(points)
    assert carries
    register = points[carries.index]
    sequence, encode = carries.point(str(register.canonical)), encoder(register)
    limit = quantities()[sequence.point]
    decoder = Decoder(Block(register.fc, register.addr, register.words, (register,)))
    for n in (0, 1, 2, 999, sequence.modulo - 1, sequence.modulo, sequence.modulo + 7, 10 * sequence.modulo + 3):
        wire = encode(carries.value(n))
        words = [int.from_bytes(wire[at : at + 2], "big") for at in range(0, len(wire), 2)]
        (value,), faults = decoder.decode(words)
        assert isinstance(value, int | float)
        assert sequence.code(value) == n % sequence.modulo
        assert not faults
        assert limit.low is None or value >= limit.low
        assert limit.high is None or value <= limit.high


TOLD = [stem for stem, path in library().items() if read_profile(path).ident]


@pytest.mark.parametrize("profile", TOLD)
def test_identity_of_a_simulated_device(profile: str) -> None:
    """Its identity registers answer as those of the model; a number of its own stays the same and differs by device."""

    def seen(device: str) -> list[Value]:
        slave = Unit(device, 5, loaded, settle(loaded, ())[0])
        found: list[Value] = []
        for each in loaded.identities():
            block = each.block()
            reply = slave.answer(Request(5, block.fc, block.start, block.count), {})
            assert reply
            (value,), _ = Decoder(block).decode_bytes(reply.pdu[2:])
            assert value is not None
            assert each.matches(value)
            found.append(value)
        return found

    loaded = read_profile(library()[profile])
    assert seen("met-1") == seen("met-1")
    if any(not each.equals for each in loaded.identities()):
        assert seen("met-1") != seen("met-2")


def test_walks_from_one_seed() -> None:
    """The same seed, device and point give the same values; another seed others; all stay within the range."""
    one, same, other = (Walk(seed, "met-1", "weather.temp_c", -5, 50) for seed in (1, 1, 2))
    values = [one.step() for _ in range(500)]
    assert values == [same.step() for _ in range(500)]
    assert values != [other.step() for _ in range(500)]
    assert 20 <= min(values) < max(values) <= 36


def test_reasons_are_no_business_of_the_ledger() -> None:
    """A sentinel's value is in the ledger as the decoder gives it, whatever quality a reader gives it."""
    register = Register("r", 0, type="s16", scale=0.1, invalid=(32767,))
    words = words_of(register, 3276.7)
    assert Decoder(Block(3, 0, 1, (register,))).decode(words) == ([3276.7], {0: Reason.sentinel})


# --- one unit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fc", "start", "count", "code"),
    [(6, 0, 0, 1), (3, 0, 2, 2), (4, 364, 1, 2), (4, 363, 2, 2), (4, 0, 0, 3), (4, 0, 81, 3), (4, 0, 80, 0)],
)
def test_requests_that_a_device_refuses(fc: int, start: int, count: int, code: int) -> None:
    """Exception 1 for what it cannot do, 2 outside its map, 3 for more than the profile allows; none in a hole."""
    reply = unit("eastron-sdm630").answer(Request(1, fc, start, count), {})
    assert reply
    assert (reply.pdu == bytes((fc | 0x80, code))) if code else (len(reply.pdu) == 2 + 2 * count)


def test_a_hole_of_a_strict_device() -> None:
    """With --strict an address that the profile does not name is exception 2."""
    strict = unit("eastron-sdm630", strict=True)
    assert asked(strict, 4, 0, 18)
    assert asked(strict, 4, 0, 20) is None


def test_a_narrow_read_of_a_block_that_answers_whole() -> None:
    """The 0x01F4 station answers its 16 registers together and keeps silent for fewer."""
    station = unit("renke-01f4-station")
    assert station.answer(Request(1, 3, 505, 1), {}) is None
    assert asked(station, 3, 500, 16)


def test_a_poll_of_several_requests() -> None:
    """Requests that do not overlap come from one sample; asking again later gives the next."""
    meter, session = unit("eastron-sdm630", fresh=0.0), Session()
    blocks = [(4, 0, 76), (4, 234, 6), (4, 342, 2)]
    first = [asked(meter, *block, session) for block in blocks]
    second = [asked(meter, *block, session) for block in blocks]
    assert [line.n for line in first if line] == [1, 1, 1]
    assert [line.n for line in second if line] == [2, 2, 2]
    assert all(one and two and one.values != two.values for one, two in zip(first, second, strict=True))


def test_the_same_request_at_once() -> None:
    """It gets the same sample again, marked as a repeated read, and nobody has to deliver it twice."""
    meter, session = unit("xy-md02", fresh=5.0), Session()
    first, again = asked(meter, 4, 1, 2, session), asked(meter, 4, 1, 2, session)
    assert first
    assert again
    assert (first.n, first.repeat, first.required) == (1, False, True)
    assert (again.n, again.repeat, again.required) == (1, True, False)
    assert first.values == again.values


def test_two_readers_of_one_device() -> None:
    """Each has its own sample, so neither breaks the other's poll in two."""
    meter, mine, theirs = unit("eastron-sdm630"), Session(), Session()
    numbers = [asked(meter, 4, start, 2, session) for session, start in ((mine, 0), (theirs, 0), (mine, 2))]
    assert [line.n for line in numbers if line] == [1, 2, 1]


def test_a_device_that_gives_one_quantity_twice() -> None:
    """Each further register is named by its key, as the driver tags it."""
    counters = unit("advantech-adam-4150")
    line = asked(counters, 3, 0, 4)
    assert line
    assert list(line.values) == ["counter.count", "counter.count[src=counter_1]"]


def test_discrete_inputs_of_a_device() -> None:
    """Function 2 answers bits, packed from the lowest."""
    reply = unit("epever-tracer").answer(Request(1, 2, 8192, 13), {})
    assert reply
    assert reply.pdu == bytes((2, 2, 0, 0))


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["loud", "late:met-1:x", "silent:1.5", "garbled:met-1:0.5:1", "late:-3"])
def test_faults_that_cannot_be_understood(text: str) -> None:
    """They are refused with a sentence."""
    with pytest.raises(BadFault):
        parse_fault(text)


def test_the_list_of_faults() -> None:
    """`--fault help` names every one."""
    assert [line.split()[0] for line in described().splitlines()] == list(FAULTS)


def test_a_fault_with_a_rate() -> None:
    """It strikes about as often as it says, and at the same requests in each run with the same seed."""

    def silences() -> list[bool]:
        device = unit("xy-md02", "silent:0.3")
        return [asked(device, 4, 1, 2) is None for _ in range(200)]

    first = silences()
    assert first == silences()
    assert 30 < sum(first) < 90


def test_an_exception_fault() -> None:
    """The device answers exception 4, and the ledger's line has no values."""
    reply = unit("xy-md02", "exception:1").answer(Request(1, 4, 1, 2), {})
    assert reply
    assert reply.answer
    assert (reply.pdu, reply.answer.fault, reply.answer.values) == (b"\x84\4", "exception", {})


def test_a_wrong_unit_fault() -> None:
    """The answer carries another unit's number, and nobody may deliver it."""
    reply = unit("xy-md02", "wrong-unit:1").answer(Request(1, 4, 1, 2), {})
    assert reply
    assert reply.answer
    assert (reply.unit, reply.answer.allowed) == (2, False)


@pytest.mark.parametrize(("name", "seconds"), [("late", 1.5), ("slow", 0.3)])
def test_a_fault_that_delays(name: str, seconds: float) -> None:
    """The answer waits as long as the fault says by itself."""
    reply = unit("xy-md02", f"{name}:{FAULTS[name].amount}:1").answer(Request(1, 4, 1, 2), {})
    assert reply
    assert reply.delay == seconds


def _hit(profile: str, fault: str, fc: int, start: int, count: int) -> tuple[str, Value | None, Answer]:
    """The point that a value fault changed, found by comparing with the same device without it."""
    troubled, sound = unit(profile, fault), unit(profile)
    for _ in range(50):  # The fault may hit a point outside the block.
        line, plain = asked(troubled, fc, start, count), asked(sound, fc, start, count)
        assert line
        assert plain
        changed = [name for name, value in line.values.items() if value != plain.values[name]]
        if len(changed) == 1:
            return changed[0], line.values[changed[0]], line
    pytest.fail("no point was ever hit")


def test_a_sentinel_fault() -> None:
    """One point has the profile's code for no reading; the number's own point never."""
    point, value, line = _hit("vaisala-wxt530", "sentinel:1", 4, 10, 33)
    assert line.fault == "sentinel"
    assert value in (3276.7, 65535)
    assert point != "weather.solar_wm2"


def test_an_out_of_range_fault() -> None:
    """One point lies outside its gross range, and has to be delivered all the same."""
    point, value, line = _hit("eastron-sdm630", "out-of-range:1", 4, 0, 76)
    limit = quantities()[point]
    assert isinstance(value, int | float)
    assert limit.high is not None
    assert value > limit.high
    assert line.required


def test_a_nan_fault() -> None:
    """One float has no decodable value, and the ledger says so."""
    _, value, line = _hit("eastron-sdm630", "nan:1", 4, 0, 76)
    assert value is None
    assert line.fault == "nan"


# --- framing ---


@given(st.binary(max_size=12), st.binary(max_size=3))
def test_an_rtu_request_after_noise(noise: bytes, more: bytes) -> None:
    """Whatever stands before it, a request is found by its CRC."""
    body = bytes((2, 4, 0, 1, 0, 2))
    frame = body + crc(body).to_bytes(2, "little")
    found = Rtu().feed(noise + frame + frame + frame + more)
    assert Request(2, 4, 1, 2) in found


def test_tcp_requests_in_pieces() -> None:
    """Two requests that arrive byte by byte are two requests."""
    framing = Mbap()
    stream = bytes.fromhex("0001 0000 0006 01 04 0000 0002 0002 0000 0006 01 03 0010 0001")
    found = [request for byte in stream for request in framing.feed(bytes((byte,)))]
    assert found == [Request(1, 4, 0, 2, b"\0\1"), Request(1, 3, 16, 1, b"\0\2")]
