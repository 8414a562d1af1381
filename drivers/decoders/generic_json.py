"""Decoder `json`: any JSON whose places the configuration names (`points`, `tags`, `time`), the device from the topic.

The subscription is compiled once; a message then costs one parse and a look at each named place. Every place is
optional: what is not in a message is not in its readings. Of a key given twice in one object the last counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from drivers.decoders.values import (
    CONVERT,
    MAX_TOPIC,
    Decode,
    Decoded,
    Malformed,
    Payload,
    device_name,
    document,
    stamp,
    tag_text,
)
from drivers.reading import NO_FAULTS, Reason, Value, quantities
from drivers.settings import Subscription

Path = tuple[str | int, ...]
"""Keys and indexes from the document's root: `$.a.b[0].c` is ("a", "b", 0, "c")."""

_STEP = re.compile(r"\.([^.\[\]]+)|\[([0-9]{1,6})\]|\['([^']+)'\]")
_LEVEL = re.compile(r"\{([0-9]{1,2})\}")
_MISSING = object()
_json: msgspec.json.Decoder[object] = msgspec.json.Decoder()


class _Place(msgspec.Struct, frozen=True):
    field: str
    path: Path
    convert: Callable[[object], Value | None]


class _Group(msgspec.Struct, frozen=True):
    """The points of one measurement."""

    measurement: str
    places: tuple[_Place, ...]
    fields: tuple[str, ...]


def compile_json(subscription: Subscription) -> Decode:
    """The decoder of one subscription. Raises ValueError for a path that is none."""
    groups = _groups(subscription.points)
    tags = tuple((name, path(text)) for name, text in subscription.tags.items())
    when = path(subscription.time) if subscription.time else None
    template = subscription.device

    def decode(topic: str, payload: bytes) -> Payload:
        root = document(payload, _json)
        device = named(template, topic)
        time = None if when is None or (raw := find(root, when)) is _MISSING else stamp(raw)
        found = tuple((name, text) for name, place in tags if (text := tag_text(find(root, place))))
        rows = [row for group in groups if (row := _row(group, root, device, found, time))]
        if not rows:
            raise Malformed("none of the configured paths is in it")
        return Payload(rows)

    return decode


def path(text: str) -> Path:
    """`$.a.b[0]['c d']` -> its steps. Raises ValueError."""
    steps: list[str | int] = []
    at = 1
    if not text.startswith("$"):
        raise ValueError(f"{text}: a path begins with $")
    while at < len(text):
        if not (step := _STEP.match(text, at)):
            raise ValueError(f"{text}: not a path from character {at + 1} on")
        steps.append(int(step[2]) if step[2] else step[1] or step[3])
        at = step.end()
    return tuple(steps)


def find(root: object, place: Path) -> object:
    """What stands at a place, _MISSING where there is none."""
    for step in place:
        if type(root) is not (dict if type(step) is str else list):
            return _MISSING
        try:
            root = root[step]  # type: ignore[index]  # dict or list, as checked
        except (KeyError, IndexError):
            return _MISSING
    return root


def named(template: str | None, topic: str) -> str:
    """The device's name: `{1}` stands for the topic's level 1, counted from 0. Without a template: the whole topic.

    Raises Malformed where the topic is too long or has no such level.
    """
    if len(topic) > MAX_TOPIC:
        raise Malformed(f"topic of {len(topic)} characters")
    if template is None:
        return device_name(topic)
    levels = topic.split("/")
    try:
        return device_name(_LEVEL.sub(lambda level: levels[int(level[1])], template))
    except IndexError:
        raise Malformed(f"topic has no level for {template}") from None


def _groups(points: Mapping[str, str]) -> tuple[_Group, ...]:
    by_measurement: dict[str, list[_Place]] = {}
    for point, text in points.items():
        if not (quantity := quantities().get(point)):
            raise ValueError(f"{point}: not in the naming table")
        place = _Place(quantity.field, path(text), CONVERT[quantity.kind])
        by_measurement.setdefault(quantity.measurement, []).append(place)
    return tuple(
        _Group(measurement, tuple(places), tuple(place.field for place in places))
        for measurement, places in by_measurement.items()
    )


def _row(
    group: _Group, root: object, device: str, tags: tuple[tuple[str, str], ...], time: int | None
) -> Decoded | None:
    """The group's values, None where the message has none of them."""
    given = [find(root, place.path) for place in group.places]
    if _MISSING not in given:
        fields, places = group.fields, group.places
    else:
        places = tuple(place for place, raw in zip(group.places, given, strict=True) if raw is not _MISSING)
        fields = tuple(place.field for place in places)
        given = [raw for raw in given if raw is not _MISSING]
    if not given:
        return None
    values = tuple([place.convert(raw) for place, raw in zip(places, given, strict=True)])
    faults = NO_FAULTS
    if None in values:
        faults = {index: Reason.decode for index, value in enumerate(values) if value is None}
    return Decoded(device, group.measurement, fields, values, tags, faults, time)
