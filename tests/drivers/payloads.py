"""Messages of other people's devices, as they are and as they should not be, and what a decoder makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from drivers.decoders import DECODERS
from drivers.decoders.values import Payload
from drivers.reading import Value
from drivers.settings import Subscription

TRAFFIC = {
    "topic": "traffic/+/interval",
    "decoder": "json",
    "device": "{1}",
    "time": "$.end",
    "tags": {"lane": "$.lane", "dir": "$.dir", "class": "$.class"},
    "points": {"traffic.count": "$.count", "traffic.speed_avg_kmh": "$.speed"},
}
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
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["end", "count", "speed"]), inner),
    max_leaves=10,
)


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
