"""Field names that makers' LoRaWAN codecs give, and what they are under our names. A table, nothing else.

Sources: the codecs of Milesight (SensorDecoders), Dragino (dragino-end-node-decoder), Netvox (lorawan-devices). A field
whose unit the codec does not state is left out: it counts as unknown, and a site may name it itself (`names:`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Field(msgspec.Struct, frozen=True):
    """Where a maker's field goes."""

    point: str
    scale: float = 1.0
    """Ours = theirs x scale."""


FIELDS: Mapping[str, Field] = {
    # Milesight (WTS506, EM300, AM319, EM500, WS302, CT101)
    "battery": Field("supply.soc_pct"),
    "temperature": Field("weather.temp_c"),
    "humidity": Field("weather.rh_pct"),
    "pressure": Field("weather.pressure_hpa"),
    "wind_speed": Field("weather.wind_speed_ms"),
    "wind_direction": Field("weather.wind_dir_deg"),
    "rainfall_total": Field("weather.rain_total_mm"),
    "co2": Field("air.co2_ppm"),
    "pm2_5": Field("air.pm2_5_ugm3"),
    "pm10": Field("air.pm10_ugm3"),
    "o3": Field("air.o3_ugm3", 1962.0),  # ppm at 25 Cel and 1 atm
    "LAeq": Field("noise.laeq_db"),
    "LAFmax": Field("noise.lafmax_db"),
    "LAF": Field("noise.la_db"),
    "depth": Field("water.depth_m", 0.01),  # cm
    "distance": Field("water.distance_m", 0.001),  # mm; Dragino's DDS75 too
    "pulse": Field("counter.count"),
    "current": Field("power.current_l1_a"),
    # Dragino (WSC2-L, AQS01-L)
    "BatV": Field("supply.battery_v"),
    "WIND_SPEED": Field("weather.wind_speed_ms"),
    "wind_speed_max": Field("weather.wind_gust_ms"),
    "WIND_ANGLE": Field("weather.wind_dir_deg"),
    "Pressure": Field("weather.pressure_hpa", 10.0),  # kPa
    "illumination": Field("weather.illuminance_lx"),
    "rain": Field("weather.rain_total_mm"),
    "NOISE": Field("noise.la_db"),
    "Pm2_5": Field("air.pm2_5_ugm3"),
    "Pm10": Field("air.pm10_ugm3"),
    # Dragino and Netvox
    "Temperature": Field("weather.temp_c"),
    "Humidity": Field("weather.rh_pct"),
    "CO2": Field("air.co2_ppm"),
    # Netvox (RA07xx)
    "Volt": Field("supply.battery_v"),
    "PM1_0": Field("air.pm1_ugm3"),
    "PM2_5": Field("air.pm2_5_ugm3"),
    "PM10": Field("air.pm10_ugm3"),
    "Noise": Field("noise.la_db"),
    "WindSpeed": Field("weather.wind_speed_ms"),
    "WindDirection": Field("weather.wind_dir_deg"),
}
"""By the codec's name; upper and lower case tell the makers apart."""


class Stranger(msgspec.Struct, frozen=True):
    """A name that means something else on one model than the table says."""

    name: str
    beside: str = ""
    """A field of the same message that tells the model."""
    profile: str = ""
    """Part of the model's name in the network server's device profile, in small letters."""


STRANGERS = (
    Stranger("CO2", beside="Device"),  # Netvox: raw/10, in a unit that the codec does not state; Dragino's is ppm
    Stranger("pressure", profile="em500-pp"),  # pressure in a pipe, as set in the device; others' is the air's in hPa
)
"""They count as unknown there: a wrong unit is worse than a missing value. A site may name them itself (`names:`)."""

NOT_MEASURED = frozenset(
    {
        "Device",
        "Mod",
        "Node_type",
        "Payload_Ver",
        "Payver",
        "WIND_DIRECTION",
        "WIND_LEVEL",
        "i_flag",
        "rainfall_counter",
    }
)
"""Known, and of no use as a reading: names, versions, coarser forms of another field."""

ABSENT = frozenset({"NoSensor"})
"""Texts of a channel to which nothing is connected: no reading is expected."""

FAULT_SUFFIXES = ("_error", "_sensor_status")
"""`depth_error: "sensor error"` stands where `depth` should: the device says that it could not measure."""
QUIET_SUFFIXES = ("_alarm",)
"""`temperature_alarm` beside `temperature`: an event, not a reading."""
