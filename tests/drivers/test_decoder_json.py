"""Decoder `json`: the places that a subscription names, and messages that are of no use."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.decoders.generic_json import path
from drivers.decoders.values import MAX_PAYLOAD, Decoded, Malformed
from drivers.reading import Reason, quantities
from tests.drivers.payloads import ANY_JSON, MALFORMED, TRAFFIC, by_name, decoded


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


@settings(max_examples=300, deadline=None)
@given(document=st.dictionaries(st.sampled_from(["end", "count", "speed", "lane", "class"]), ANY_JSON))
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


def test_payload_just_below_the_limit() -> None:
    """The longest payload that is taken is still decoded in a moment."""
    filler = "a" * (MAX_PAYLOAD - 40)
    assert decoded(TRAFFIC, "traffic/a/b", {"count": 1, "x": filler}).rows[0].values == (1,)
