"""Decoders: payloads of other people's devices and servers -> values under our names. Plain functions, no I/O.

A decoder is made once for a subscription and called with each message's topic and payload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.decoders.chirpstack import compile_chirpstack
from drivers.decoders.generic_json import compile_json
from drivers.decoders.values import Decode
from drivers.settings import Subscription

DECODERS: Mapping[str, Callable[[Subscription], Decode]] = {
    "chirpstack": compile_chirpstack,
    "json": compile_json,
}
"""By `decoder:` of a subscription. Names that the configuration knows and this table does not are not built yet."""
