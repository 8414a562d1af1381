"""Payloads of other people's devices and servers, as they are and as they should not be."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.decoders import DECODERS
from drivers.decoders.generic_json import path
from drivers.decoders.lorawan_fields import FIELDS
from drivers.decoders.values import (
    CONVERT,
    MAX_PAYLOAD,
    NO_TIME,
    Decoded,
    Malformed,
    Payload,
    device_name,
    stamp,
    tag_text,
)
from drivers.reading import Reason, Value, quantities
from drivers.settings import Subscription

TRAFFIC = {
    "topic": "traffic/+/interval",
    "decoder": "json",
    "device": "{1}",
    "time": "$.end",
    "tags": {"lane": "$.lane", "dir": "$.dir", "class": "$.class"},
    "points": {"traffic.count": "$.count", "traffic.speed_avg_kmh": "$.speed"},
}
UP = "application/0b1c5e9e/device/24e124000000a001/event/up"


def decoded(subscription: Mapping[str, Any], topic: str, payload: bytes | str | Mapping[str, Any]) -> Payload:
    """What a message holds."""
    raw = payload if isinstance(payload, bytes) else payload if isinstance(payload, str) else json.dumps(payload)
    settled = Subscription.model_validate(subscription)
    return DECODERS[settled.decoder](settled)(topic, raw if isinstance(raw, bytes) else raw.encode())


def by_name(rows: Payload) -> dict[str, Value | None]:
    """Values by `measurement.field`."""
    return {
        f"{row.measurement}.{field}": value
        for row in rows.rows
        for field, value in zip(row.fields, row.values, strict=True)
    }


def uplink(fields: Mapping[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A ChirpStack v4 uplink with a decoded object."""
    message: dict[str, Any] = {
        "deduplicationId": "7c1d2f4a-0000-4000-8000-00000000aa01",
        "time": "2026-08-14T03:20:11.512+00:00",
        "deviceInfo": {"deviceName": "mua-bac-an", "devEui": "24e124000000a001", "tags": {"site": "cl-05"}},
        "fPort": 85,
        "data": "AXVaA2cdAQ==",
        "rxInfo": [{"gatewayId": "0016c001f1500001", "nsTime": "2026-08-14T03:20:11.640+00:00"}],
    }
    return message | ({} if fields is None else {"object": fields}) | more


# --- json -------------------------------------------------------------------------------------------------------------


def test_json_of_the_contract() -> None:
    """Device from the topic, tags and points from their paths, the device's own stamp in milliseconds."""
    payload = {"end": 1786674000, "lane": 1, "dir": "forward", "class": "car", "count": "7", "speed": "33.50"}
    assert decoded(TRAFFIC, "traffic/cnt-1/interval", payload).rows == [
        Decoded(
            "cnt-1",
            "traffic",
            ("count", "speed_avg_kmh"),
            (7, 33.5),
            (("lane", "1"), ("dir", "forward"), ("class", "car")),
            time=1786674000000,
        )
    ]


def test_json_with_parts_missing() -> None:
    """What is not in a message is not in its readings; a tag without a value is left out."""
    row = decoded(TRAFFIC, "traffic/cnt-1/interval", {"speed": 20, "lane": None, "dir": ""}).rows[0]
    assert (row.fields, row.values, row.tags, row.time) == (("speed_avg_kmh",), (20,), (), None)


def test_json_with_a_value_that_is_none() -> None:
    """A value that cannot be used stands there as None, so that it is counted as rejected; its neighbours stay."""
    row = decoded(TRAFFIC, "traffic/cnt-1/interval", {"count": "many", "speed": 20}).rows[0]
    assert row.values == (None, 20)
    assert row.faults == {0: Reason.decode}


def test_json_of_several_measurements() -> None:
    """One row a measurement, from any depth."""
    wanted = TRAFFIC | {
        "points": {"weather.temp_c": "$.s[1]['t c']", "air.co2_ppm": "$.s[0].co2", "weather.rh_pct": "$.rh"}
    }
    rows = decoded(wanted, "traffic/a/interval", {"s": [{"co2": 412}, {"t c": -1.5}], "rh": "80"})
    assert by_name(rows) == {"weather.temp_c": -1.5, "weather.rh_pct": 80, "air.co2_ppm": 412}


def test_json_that_is_a_bare_number() -> None:
    """`$` is the document itself: one message a value."""
    wanted = {"topic": "t/#", "decoder": "json", "device": "{1}", "points": {"air.pm2_5_ugm3": "$"}}
    assert by_name(decoded(wanted, "t/tram-le-loi/sensor/pm2_5/state", "37.4")) == {"air.pm2_5_ugm3": 37.4}


@pytest.mark.parametrize(
    ("text", "steps"),
    [("$", ()), ("$.a", ("a",)), ("$.a.b[0].c", ("a", "b", 0, "c")), ("$['x y'][2]", ("x y", 2)), ("$.đo", ("đo",))],
)
def test_path(text: str, steps: tuple[str | int, ...]) -> None:
    """Keys, indexes and quoted keys."""
    assert path(text) == steps


@pytest.mark.parametrize("text", ["", "a", "a.b", "$a", "$.", "$..a", "$.a[", "$.a[x]", "$.a[-1]", "$[*]"])
def test_path_that_is_none(text: str) -> None:
    """A path that is none is refused when the configuration is read, not when a message comes."""
    with pytest.raises(ValueError, match="path"):
        path(text)


@pytest.mark.parametrize(
    ("template", "topic", "name"),
    [
        ("{1}", "traffic/cnt-1/interval", "cnt-1"),
        ("cnt-{0}-{2}", "a/b/c", "cnt-a-c"),
        (None, "traffic/cnt-1/interval", "traffic-cnt-1-interval"),
        ("{1}", "x/Trạm Đo Lê Lợi 1", "tram-do-le-loi-1"),
    ],
)
def test_device_from_the_topic(template: str | None, topic: str, name: str) -> None:
    """`{1}` is the second level; without a template the whole topic names the device."""
    wanted = {"topic": "#", "decoder": "json", "points": {"air.co2_ppm": "$"}} | (
        {"device": template} if template else {}
    )
    assert decoded(wanted, topic, "400").rows[0].device == name


MALFORMED = {
    "empty": b"",
    "not JSON": b"23.4 C",
    "NaN": b'{"count":NaN}',
    "Infinity": b'{"count":Infinity}',
    "1e999": b'{"count":1e999}',
    "lone surrogate": b'{"count":1,"class":"\\ud800"}',
    "not UTF-8": b'{"count":1,"class":"\xff"}',
    "cut off": b'{"count":1',
    "deep": b"[" * 200_000,
    "deep and whole": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 40_000,
    "5,000 digits": b'{"count":' + b"9" * 5000 + b"}",
    "10 MB": b'{"count":1,"x":"' + b"a" * 10_000_000 + b'"}',
    "other JSON": b"[1,2,3]",
    "none of ours": b'{"state":"online"}',
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_payload_of_no_use(payload: bytes) -> None:
    """It is refused with words, whatever it is."""
    with pytest.raises(Malformed, match=r"\w"):
        decoded(TRAFFIC, "traffic/cnt-1/interval", payload)


@pytest.mark.parametrize("topic", ["traffic", "traffic/" + "x" * 60_000, "traffic/…", "traffic/ /interval"])
def test_topic_without_a_device(topic: str) -> None:
    """A topic that names nothing, or too much, is refused."""
    with pytest.raises(Malformed):
        decoded(TRAFFIC, topic, {"count": 1})


def test_key_given_twice() -> None:
    """The last counts, as everywhere in JSON's world."""
    assert decoded(TRAFFIC, "traffic/a/b", b'{"count":1,"count":2}').rows[0].values == (2,)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["end", "count", "speed"]), inner),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(document=st.dictionaries(st.sampled_from(["end", "count", "speed", "lane", "class"]), _JSON))
def test_any_document(document: dict[str, Any]) -> None:
    """Whatever stands in the places, a value is of its quantity's kind, or None with a reason; nothing else raises."""
    try:
        rows = decoded(TRAFFIC, "traffic/cnt-1/interval", document).rows
    except Malformed:
        return
    for row in rows:
        for index, (field, value) in enumerate(zip(row.fields, row.values, strict=True)):
            assert (value is None) == (index in row.faults)
            if value is not None:
                kind = quantities()[f"{row.measurement}.{field}"].kind
                assert type(value) is int if kind == "int" else type(value) in (int, float)
                assert math.isfinite(value) if isinstance(value, float) else -(1 << 63) <= int(value) < 1 << 63
        assert all(name and text.isprintable() for name, text in row.tags)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("float", 23.4, 23.4),
        ("float", "23.40", 23.4),
        ("float", " -7 ", -7),
        ("float", "1e5", 1e5),
        ("float", True, None),
        ("float", "nan", None),
        ("float", "-Infinity", None),
        ("float", "1_000", None),
        ("float", "１２", None),
        ("float", "23,4", None),
        ("float", "0x10", None),
        ("float", "9" * 5000, None),
        ("float", 1 << 63, None),
        ("float", None, None),
        ("float", [1], None),
        ("float", math.nan, None),
        ("int", 7, 7),
        ("int", 7.0, 7),
        ("int", "7", 7),
        ("int", "7.0", 7),
        ("int", 7.5, None),
        ("int", 1e300, None),
        ("int", -(1 << 63), -(1 << 63)),
        ("int", False, None),
        ("bool", True, True),
        ("bool", "TRUE", True),
        ("bool", "YES", True),
        ("bool", "Off", False),
        ("bool", 1, True),
        ("bool", 0, False),
        ("bool", 2, None),
        ("bool", "maybe", None),
        ("bool", 1.0, None),
        ("str", "PM2.5", "PM2.5"),
        ("str", "a\nb", None),
        ("str", "", None),
        ("str", 5, None),
    ],
)
def test_value(kind: str, raw: object, value: object) -> None:
    """Numbers and booleans also as text, within 64 bits; never a boolean, NaN or infinity for a number."""
    got = CONVERT[kind](raw)
    assert (type(got), got) == (type(value), value)


@pytest.mark.parametrize(
    ("raw", "milliseconds"),
    [
        ("2026-08-14T03:20:11.512+00:00", 1786677611512),
        ("2026-08-14T10:20:11.512+07:00", 1786677611512),
        ("2026-08-14t03:20:11z", 1786677611000),
        ("2026-08-14T03:20:11.512345678Z", 1786677611512),
        (1786677611, 1786677611000),
        (1786677611.512, 1786677611512),
        (1786677611512, 1786677611512),
        ("1786677611512", 1786677611512),
        ("2026-08-14T10:20:11", NO_TIME),
        ("2026-08-14", NO_TIME),
        ("yesterday", NO_TIME),
        ("", NO_TIME),
        (None, NO_TIME),
        (True, NO_TIME),
        (1e300, NO_TIME),
        ("0001-01-01T00:00:00+23:59", -62135683140000),
        ({"a": 1}, NO_TIME),
    ],
)
def test_stamp(raw: object, milliseconds: int) -> None:
    """RFC 3339 with a zone, Unix seconds or milliseconds; without a zone nobody knows what was meant."""
    assert stamp(raw) == milliseconds


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("forward", "forward"),
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, ""),
        ([1], ""),
        ("a\nb", ""),
        ("x" * 65, ""),
    ],
)
def test_tag(raw: object, text: str) -> None:
    """Tags are short texts; what is of no use as one is left out."""
    assert tag_text(raw) == text


def test_device_names() -> None:
    """Plain names stay; others become plain without losing their marks' letters."""
    assert device_name("24e124000000a001") == "24e124000000a001"
    assert device_name("Đèn đường số 7") == "den-duong-so-7"
    with pytest.raises(Malformed):
        device_name("☃")


# --- chirpstack -------------------------------------------------------------------------------------------------------

CHIRPSTACK = {"topic": "application/+/device/+/event/up", "decoder": "chirpstack"}


def test_milesight_weather_station() -> None:
    """A WTS506: our names and units, the network server's time, the device's name; its rain phase is no reading."""
    fields = {
        "battery": 90,
        "temperature": 28.5,
        "humidity": 81.5,
        "wind_direction": 135.2,
        "pressure": 1003.4,
        "wind_speed": 2.1,
        "rainfall_total": 12.6,
        "rainfall_counter": 3,
    }
    payload = decoded(CHIRPSTACK, UP, uplink(fields))
    assert by_name(payload) == {
        "supply.soc_pct": 90,
        "weather.temp_c": 28.5,
        "weather.rh_pct": 81.5,
        "weather.wind_dir_deg": 135.2,
        "weather.pressure_hpa": 1003.4,
        "weather.wind_speed_ms": 2.1,
        "weather.rain_total_mm": 12.6,
    }
    assert {(row.device, row.time) for row in payload.rows} == {("mua-bac-an", 1786677611512)}
    assert not payload.unknown


def test_dragino_station_with_numbers_as_text() -> None:
    """A WSC2-L writes numbers as text and pressure in kPa."""
    fields = {"BatV": 3.61, "WIND_SPEED": "1.80", "Temperature": "27.9", "Pressure": "100.4", "Pm2_5": 38, "Mod": 1}
    assert by_name(decoded(CHIRPSTACK, UP, uplink(fields))) == {
        "supply.battery_v": 3.61,
        "weather.wind_speed_ms": 1.8,
        "weather.temp_c": 27.9,
        "weather.pressure_hpa": 1004.0,
        "air.pm2_5_ugm3": 38,
    }


def test_netvox_with_a_low_battery() -> None:
    """A number that becomes text on the day the battery is low stays a number; `NoSensor` is no reading at all."""
    fields = {"Device": "RA07Series", "Volt": "3.2(low battery)", "PM1_0": 14, "PM2_5": 31, "PM10": "NoSensor"}
    assert by_name(decoded(CHIRPSTACK, UP, uplink(fields))) == {
        "supply.battery_v": 3.2,
        "air.pm1_ugm3": 14,
        "air.pm2_5_ugm3": 31,
    }


def test_netvox_gas_without_a_unit() -> None:
    """The codec of Netvox gives CO2 as raw/10 in a unit that it does not state: unknown, until the site names it."""
    fields = {"Device": "RA07Series", "Volt": 3.4, "CO2": 41.2}
    payload = decoded(CHIRPSTACK, UP, uplink(fields))
    assert (by_name(payload), payload.unknown) == ({"supply.battery_v": 3.4}, ["CO2"])
    named = decoded(CHIRPSTACK | {"names": {"CO2": "air.co2_ppm"}}, UP, uplink(fields))
    assert by_name(named)["air.co2_ppm"] == 41.2
    assert by_name(decoded(CHIRPSTACK, UP, uplink({"Mod": 0, "CO2": 412}))) == {"air.co2_ppm": 412}


@pytest.mark.parametrize("model", ["EM500-PP", "Milesight em500-pp (pipe)"])
def test_pressure_in_a_pipe(model: str) -> None:
    """An EM500-PP measures the pressure in a pipe, in what it is set to: never stored as the air's."""
    message = uplink({"battery": 92, "pressure": 1003.4, "history": [{"timestamp": 1786674000, "pressure": 998.0}]})
    message["deviceInfo"]["deviceProfileName"] = model
    payload = decoded(CHIRPSTACK, UP, message)
    assert (by_name(payload), payload.unknown) == ({"supply.soc_pct": 92}, ["pressure"])


def test_late_history() -> None:
    """Each entry of a level probe's history stands at its own time, in metres."""
    history = [{"timestamp": 1786674000, "depth": 231}, {"timestamp": 1786674600, "depth": 233}, {"depth": 5}, 7]
    rows = decoded(CHIRPSTACK, UP, uplink({"history": history})).rows
    assert [(row.time, row.values) for row in rows] == [
        (1786674000000, (2.31,)),
        (1786674600000, (2.33,)),
        (NO_TIME, (0.05,)),
    ]


def test_sensor_fault_as_text() -> None:
    """`depth_error` instead of `depth`: expected, not measured, by the device's own word."""
    rows = decoded(CHIRPSTACK, UP, uplink({"battery": 77, "depth_error": "sensor error"})).rows
    faulty = next(row for row in rows if row.measurement == "water")
    assert (faulty.fields, faulty.values, faulty.faults) == (("depth_m",), (None,), {0: Reason.device_fault})


def test_one_quantity_by_two_fields() -> None:
    """The second field becomes a series of its own, so that neither overwrites the other."""
    rows = decoded(CHIRPSTACK, UP, uplink({"temperature": 20, "Temperature": "21.5"})).rows
    assert [(row.values, row.tags) for row in rows] == [((20,), ()), ((21.5,), (("src", "Temperature"),))]


def test_unknown_fields_and_names_of_the_site() -> None:
    """Unknown fields are told; `names` adds to the table and goes before it; alarms beside a value are no news."""
    named = CHIRPSTACK | {"names": {"gpio_counter_1": "counter.count", "pressure": "weather.pressure_sea_hpa"}}
    fields = {"gpio_counter_1": 12, "pressure": 1010, "tvoc": 3, "temperature_alarm": "threshold"}
    payload = decoded(named, UP, uplink(fields))
    assert by_name(payload) == {"counter.count": 12, "weather.pressure_sea_hpa": 1010}
    assert list(payload.unknown) == ["tvoc"]


def test_device_without_a_codec() -> None:
    """Only bytes: the device is named, since somebody must give it a codec. Port 0 carries no measurement."""
    assert decoded(CHIRPSTACK, UP, uplink(None)).without_codec == "mua-bac-an"
    assert not decoded(CHIRPSTACK, UP, uplink(None, fPort=0)).without_codec


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({"deviceName": "A", "devEui": "24e1", "tags": {"sensor": "rain-1"}}, "rain-1"),
        ({"deviceName": "Mưa Bắc An", "devEui": "24e1", "tags": None}, "mua-bac-an"),
        ({"devEui": "24e1"}, "24e1"),
    ],
)
def test_device_of_an_uplink(info: dict[str, Any], name: str) -> None:
    """The tag that the site set, else the device's name, else its EUI."""
    assert decoded(CHIRPSTACK, UP, uplink({"battery": 1}, deviceInfo=info)).rows[0].device == name


def test_gateway_with_gps() -> None:
    """Its stamp is nearer to the measurement than the server's."""
    gps = {"gwTime": "2026-08-14T03:20:11.400+00:00", "timeSinceGpsEpoch": "1470712829.4s"}
    row = decoded(CHIRPSTACK, UP, uplink({"battery": 1}, rxInfo=[{}, gps])).rows[0]
    assert row.time == 1786677611400


def test_other_events() -> None:
    """Joins, acknowledgements and logs hold no measurement and are no fault."""
    assert decoded(CHIRPSTACK, UP.replace("/up", "/log"), b"whatever") == Payload()


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b'{"object":[]}', b'{"deviceInfo":{},"object":{}}', b'{"deviceInfo":7}', b"[" * 200_000, b"\xff"],
)
def test_uplink_of_no_use(payload: bytes) -> None:
    """It is refused with words."""
    with pytest.raises(Malformed, match=r"\w"):
        decoded(CHIRPSTACK, UP, payload)


@settings(max_examples=200, deadline=None)
@given(fields=st.dictionaries(st.sampled_from([*FIELDS, "depth_error", "history", "x"]), _JSON, max_size=6))
def test_any_object(fields: dict[str, Any]) -> None:
    """Whatever a codec gives, nothing raises but Malformed, and None has a reason."""
    try:
        rows = decoded(CHIRPSTACK, UP, uplink(fields)).rows
    except Malformed:
        return
    for row in rows:
        assert all((value is None) == (index in row.faults) for index, value in enumerate(row.values))


def test_makers_fields_are_in_the_naming_table() -> None:
    """Every target of the table exists, and its scale fits a float."""
    for name, field in FIELDS.items():
        assert field.point in quantities(), name
        assert field.scale == 1.0 or quantities()[field.point].kind == "float"


def test_payload_just_below_the_limit() -> None:
    """The longest payload that is taken is still decoded in a moment."""
    filler = "a" * (MAX_PAYLOAD - 40)
    assert decoded(TRAFFIC, "traffic/a/b", {"count": 1, "x": filler}).rows[0].values == (1,)


def test_fields_in_another_order_are_the_same_series() -> None:
    """JSON has no order: a device that shuffles its fields does not become many."""
    orders = ({"temperature": 1, "humidity": 2}, {"humidity": 2, "temperature": 1})
    (first,), (second,) = [decoded(CHIRPSTACK, UP, uplink(fields)).rows for fields in orders]
    assert (first.fields, first.values) == (second.fields, second.values)


def test_uplink_with_a_flood_of_history_is_refused() -> None:
    """One message cannot become thousands of readings."""
    history = [{"timestamp": 1786674000, "depth": 1}] * 1000
    with pytest.raises(Malformed):
        decoded(CHIRPSTACK, UP, uplink({"history": history}))
