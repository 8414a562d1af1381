"""Line protocol: what is encoded can be taken apart again, and nothing in a name or text can break out of its line."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from drivers.reading import Quantity, Readings, Reason, Source, Value, quantities
from edge_agent.lines import Encoder, Line, join, parse, stamp_of

TEMP, RH = quantities()["weather.temp_c"], quantities()["weather.rh_pct"]
TEXT, INDEX = quantities()["air_index.main_pollutant"], quantities()["air_index.aqi_hour"]
CONGESTED = quantities()["traffic.congested"]
STATION = Source("met-1", (TEMP, RH))


def test_good_readings_are_one_line_with_quality_zero() -> None:
    """One line per source and instant, in milliseconds."""
    line = Encoder("cl-02").encode(Readings(STATION, 1786674000123, 5, (27.9, 81.5)))
    assert line == "weather,site=cl-02,sensor=met-1 temp_c=27.9,rh_pct=81.5,q=0i 1786674000123\n"


def test_one_bad_value_marks_the_line_and_leaves_the_other_good() -> None:
    """q is the worst, qr its reason, and <field>_q stands only where a field differs."""
    line = Encoder("cl-02").encode(Readings(STATION, 7, 5, (27.9, 181.5), {1: Reason.gross_range}))
    assert line == 'weather,site=cl-02,sensor=met-1 temp_c=27.9,rh_pct=181.5,temp_c_q=0i,q=2i,qr="gross_range" 7\n'


def test_missing_value_leaves_its_field_out() -> None:
    """A value that could not be decoded is not replaced by anything."""
    line = Encoder("cl-02").encode(Readings(STATION, 7, 5, (None, 81.5), {0: Reason.decode}))
    assert line == "weather,site=cl-02,sensor=met-1 rh_pct=81.5,q=0i 7\n"


def test_nothing_decodable_is_no_line() -> None:
    """An unanswered poll writes nothing."""
    silent = Readings(STATION, 7, 5, (None, None), {0: Reason.timeout, 1: Reason.timeout})
    assert Encoder("cl-02").encode(silent) == ""


def test_kinds_are_written_as_the_database_types_them() -> None:
    """Integers carry an i, booleans are words, text is quoted."""
    line = Encoder("s").encode(Readings(Source("d", (INDEX, TEXT)), 7, 5, (42, "PM2.5")))
    assert ' aqi_hour=42i,main_pollutant="PM2.5",q=0i 7' in line
    assert "congested=True" in Encoder("s").encode(Readings(Source("d", (CONGESTED,)), 7, 5, (True,)))


def test_line_of_several_readings_taken_apart_into_one_each() -> None:
    """Each keeps series and time, the line's quality, and of the fields' own qualities only its own."""
    series = "weather,site=s,sensor=a\\,\\ b"
    fields = (("temp_c", "27.9"), ("rh_pct", "181.5"))
    shared = (("q", "2i"), ("qr", '"gross_range"'))
    (line,) = parse(Line(series, fields, (("temp_c_q", "0i"), *shared), 7).text())
    assert list(line.single()) == [
        Line(series, fields[:1], (("temp_c_q", "0i"), *shared), 7),
        Line(series, fields[1:], shared, 7),
    ]
    assert line.device == "a, b"
    assert stamp_of(line.text().rstrip()) == (series, 7)


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: name.strip("\\") != "")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(device=NAMES, lane=NAMES, text=st.text(max_size=30), number=NUMBERS, whole=st.integers(-(2**63), 2**63 - 1))
@example(device="a\\,b", lane="left\\ lane", text="", number=0.0, whole=0)
@example(device="a\\\\=b", lane="\\\n", text="", number=0.0, whole=0)
def test_any_names_and_texts_stay_within_their_line(
    device: str, lane: str, text: str, number: float, whole: int
) -> None:
    """Whatever a device is called or says, the line is one line, and taken apart it gives the same readings."""
    source = Source(device, (TEMP, TEXT, INDEX), (("lane", lane),))
    encoded = Encoder("cl-02").encode(Readings(source, 1786674000123, 5, (number, text, whole)))
    assert encoded.count("\n") == 1
    (line,) = parse(encoded)
    assert line.text() == encoded
    assert [name for name, _ in line.fields] == ["temp_c", "main_pollutant", "aqi_hour"]
    assert float(line.fields[0][1]) == number or math.isclose(float(line.fields[0][1]), number)
    assert line.fields[2][1] == f"{whole}i"
    assert line.time == 1786674000123


@given(st.lists(st.tuples(NUMBERS, st.booleans()), min_size=2, max_size=6))
def test_single_lines_carry_their_own_quality(values: list[tuple[float, bool]]) -> None:
    """A line split into one line per reading keeps every value, each parsable by itself."""
    made = tuple(Quantity("weather", f"f{i}", "float", "1", "", None, None) for i in range(len(values)))
    faults = {i: Reason.gross_range for i, (_, bad) in enumerate(values) if bad}
    numbers: tuple[Value, ...] = tuple(value for value, _ in values)
    (line,) = parse(Encoder("s").encode(Readings(Source("d", made), 9, 5, numbers, faults)))
    singles = [parse(single.text())[0] for single in line.single()]
    assert [single.fields for single in singles] == [(field,) for field in line.fields]
    assert all(isinstance(single, Line) for single in singles)
    assert parse(join(singles)) == singles


def test_percent_sign_in_a_name_does_not_meet_the_template() -> None:
    """The template is filled with %, so a name with one must come through unchanged."""
    line = Encoder("s").encode(Readings(Source("50%d", (TEMP,)), 7, 5, (1.5,)))
    assert line == "weather,site=s,sensor=50%d temp_c=1.5,q=0i 7\n"
