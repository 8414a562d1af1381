"""What is a value, a stamp, a tag and a name, whichever decoder finds it."""

from __future__ import annotations

import math

import pytest

from drivers.decoders.values import CONVERT, NO_TIME, Malformed, device_name, stamp, tag_text


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
