"""paho and aiomqtt, imported without dnspython.

paho imports it wherever it is installed (the meeting needs it) to look up SRV records; no broker here is found by them:
3 MB of memory and 25 ms of every start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without(name: str) -> Iterator[None]:
    """As if a module were not installed, unless it is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's own sign for "there is none"
    try:
        yield
    finally:
        del sys.modules[name]


with _without("dns.resolver"):
    import aiomqtt
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, topic_matches_sub

__all__ = ["Client", "ConnectFlags", "DisconnectFlags", "aiomqtt", "topic_matches_sub"]
