"""Under which addresses browsers reach the box now: a lease may come after the start, or change during a meeting."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable

from aioice.ice import get_host_addresses

FRESH = 1.0
"""Seconds for which an answer of the system is used again."""

log = logging.getLogger(__name__)


class Addresses:
    """The addresses told to browsers."""

    def __init__(self, host: str, fixed: tuple[str, ...] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        """`host` is listened on; `fixed` are told instead of what the system says."""
        self._host = host
        self._fixed = fixed
        self._clock = clock
        self._known: tuple[str, ...] = ()
        self._until = 0.0

    def now(self) -> tuple[str, ...]:
        """IPv4 first; never empty. Where the system does not answer, those told last."""
        if self._fixed:
            return self._fixed
        moment = self._clock()
        if not self._known or moment >= self._until:
            self._until = moment + FRESH
            self._look()
        return self._known

    def _look(self) -> None:
        try:
            found = own_addresses(self._host)
        except OSError as error:
            log.warning("own addresses not told error=%s", error)
            found = self._known or own_addresses("127.0.0.1")
        if self._known and found != self._known:
            log.info("own addresses changed addresses=%s", ",".join(found))
        self._known = found


def own_addresses(host: str) -> tuple[str, ...]:
    """Addresses under which browsers reach the box, when it listens on `host`."""
    if not ipaddress.ip_address(host).is_unspecified:
        return (host,)
    found = get_host_addresses(use_ipv4=True, use_ipv6=host == "::")
    return tuple(sorted(found, key=lambda address: ":" in address)) or ("127.0.0.1",)
