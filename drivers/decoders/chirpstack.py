"""Decoder `chirpstack`: uplinks of ChirpStack v4 whose device profile has a codec (`object`), by makers' field names.

A message holds any part of what a device measures; `object.history` holds older values with stamps of their own. Copies
of one uplink (several gateways, QoS 1) have the same stamp, so the second is the same row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from drivers.decoders.lorawan_fields import (
    ABSENT,
    FAULT_SUFFIXES,
    FIELDS,
    NOT_MEASURED,
    QUIET_SUFFIXES,
    STRANGERS,
    Field,
)
from drivers.decoders.values import (
    CONVERT,
    NO_TIME,
    Decode,
    Decoded,
    Malformed,
    Payload,
    device_name,
    document,
    stamp,
)
from drivers.reading import NO_FAULTS, Quantity, Reason, Value, quantities
from drivers.settings import Subscription

_REMARK = re.compile(r"([-+0-9.]+) ?\(.*\)")
"""`3.2(low battery)`: Netvox adds a remark on the day the battery is low."""

MOST_HISTORY = 200
"""Entries that one uplink may bring; a frame of LoRaWAN holds some tens."""


class _Device(msgspec.Struct, rename="camel"):
    device_name: str = ""
    dev_eui: str = ""
    device_profile_name: str = ""
    tags: dict[str, Any] | None = None


class _Reception(msgspec.Struct, rename="camel"):
    gw_time: Any = None
    time_since_gps_epoch: Any = None


class _Uplink(msgspec.Struct, rename="camel"):
    time: Any = None
    device_info: _Device | None = None
    f_port: Any = None
    data: Any = None
    object: dict[str, Any] | None = None
    rx_info: list[_Reception] | None = None


class _Target(msgspec.Struct, frozen=True):
    quantity: Quantity
    scale: float


class _Given(msgspec.Struct, frozen=True):
    """One field of an object that is ours."""

    name: str
    target: _Target
    value: Value | None
    fault: Reason | None


_json = msgspec.json.Decoder(_Uplink)


def compile_chirpstack(subscription: Subscription) -> Decode:
    """The decoder of one subscription; its `names` come before the built-in table."""
    table = {**FIELDS, **{name: Field(point) for name, point in subscription.names.items()}}
    targets = {name: _Target(quantities()[field.point], field.scale) for name, field in table.items()}

    strangers = [each for each in STRANGERS if each.name not in subscription.names]

    def own(fields: Mapping[str, Any], model: str) -> Mapping[str, _Target]:
        """The table without the names that mean something else on this model."""
        strange = [s.name for s in strangers if (s.beside in fields if s.beside else s.profile in model)]
        return {name: target for name, target in targets.items() if name not in strange} if strange else targets

    def decode(topic: str, payload: bytes) -> Payload:
        if not topic.endswith("/up"):
            return Payload()  # join, ack, status, log: no measurement
        uplink = document(payload, _json)
        device = _device(uplink.device_info)
        if uplink.object is None:
            # Port 0 carries only the network's own commands.
            return Payload(without_codec=device if uplink.data and uplink.f_port else "")
        model = uplink.device_info.device_profile_name.lower() if uplink.device_info else ""
        return _payload(uplink.object, device, _time(uplink), own(uplink.object, model))

    return decode


def _device(info: _Device | None) -> str:
    """Tag `sensor`, which the site sets in ChirpStack, else the device's name there, else its EUI. Raises Malformed."""
    if info is None:
        raise Malformed("no deviceInfo")
    tagged = (info.tags or {}).get("sensor")
    return device_name(tagged if isinstance(tagged, str) and tagged else info.device_name or info.dev_eui)


def _time(uplink: _Uplink) -> int | None:
    """The stamp of a gateway with GPS, else the network server's."""
    for reception in uplink.rx_info or ():
        if reception.gw_time and reception.time_since_gps_epoch:
            return stamp(reception.gw_time)
    return None if uplink.time is None else stamp(uplink.time)


def _payload(fields: Mapping[str, Any], device: str, time: int | None, targets: Mapping[str, _Target]) -> Payload:
    unknown = [name for name in fields if not _known(name, targets)]
    rows = list(_rows(_given(fields, targets), device, time))
    history = fields.get("history")
    if isinstance(history, list) and len(history) > MOST_HISTORY:
        raise Malformed(f"history of {len(history)} entries")
    for entry in history if isinstance(history, list) else ():
        if isinstance(entry, dict):
            then = stamp(entry["timestamp"]) if "timestamp" in entry else NO_TIME
            rows += _rows(_given(entry, targets), device, then)
    return Payload(rows, unknown)


def _known(name: str, targets: Mapping[str, _Target]) -> bool:
    if name in targets or name in NOT_MEASURED or name == "history":
        return True
    return any(name.removesuffix(suffix) in targets for suffix in FAULT_SUFFIXES + QUIET_SUFFIXES)


def _given(fields: Mapping[str, Any], targets: Mapping[str, _Target]) -> Iterator[_Given]:
    """The fields that are ours, and those that should be there but for a fault of the device."""
    for name, raw in fields.items():
        if target := targets.get(name):
            if isinstance(raw, str) and raw in ABSENT:
                continue
            value = _value(raw, target)
            yield _Given(name, target, value, Reason.decode if value is None else None)
        elif isinstance(raw, str) and name.endswith(FAULT_SUFFIXES):
            bare = next(name.removesuffix(suffix) for suffix in FAULT_SUFFIXES if name.endswith(suffix))
            if bare in targets and bare not in fields:
                yield _Given(bare, targets[bare], None, Reason.device_fault)


def _value(raw: object, target: _Target) -> Value | None:
    if isinstance(raw, str) and (remark := _REMARK.fullmatch(raw)):
        raw = remark[1]
    value = CONVERT[target.quantity.kind](raw)
    if target.scale == 1.0 or not isinstance(value, int | float):
        return value
    return round(value * target.scale, 6)


def _rows(given: Iterable[_Given], device: str, time: int | None) -> Iterator[Decoded]:
    """One row a measurement. Where two fields are one quantity, the later is a series of its own (tag `src`)."""
    groups: dict[tuple[str, str], dict[str, _Given]] = {}
    for item in given:
        quantity = item.target.quantity
        group = groups.setdefault((quantity.measurement, ""), {})
        if quantity.field in group:
            group = groups.setdefault((quantity.measurement, item.name), {})
        group[quantity.field] = item
    for (measurement, source), found in groups.items():
        group = dict(sorted(found.items()))  # the same fields in another order are the same series
        faults = {index: item.fault for index, item in enumerate(group.values()) if item.fault}
        yield Decoded(
            device,
            measurement,
            tuple(group),
            tuple(item.value for item in group.values()),
            (("src", source),) if source else (),
            faults or NO_FAULTS,
            time,
        )
