"""Decoder `chirpstack`: uplinks as makers' codecs give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.decoders.lorawan_fields import FIELDS
from drivers.decoders.values import NO_TIME, Malformed, Payload
from drivers.reading import Reason, quantities
from tests.drivers.payloads import ANY_JSON, by_name, decoded

CHIRPSTACK = {"topic": "application/+/device/+/event/up", "decoder": "chirpstack"}
UP = "application/0b1c5e9e/device/24e124000000a001/event/up"


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
@given(fields=st.dictionaries(st.sampled_from([*FIELDS, "depth_error", "history", "x"]), ANY_JSON, max_size=6))
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
