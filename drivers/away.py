"""Why a bus has no connection: an error at opening a port or an endpoint as a trouble for people. No I/O."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping

import msgspec

from drivers.settings import Bus


class Away(msgspec.Struct, frozen=True):
    """Why there is no connection."""

    what: str
    """Key of the trouble's sentence."""
    error: str
    facts: Mapping[str, str]
    since: float
    """Unix seconds."""

    def as_of(self, since: float) -> Away:
        """The same, of a bus that went away earlier."""
        return msgspec.structs.replace(self, since=since)


def why(bus: Bus, error: OSError) -> Away:
    """The trouble that an error at opening is."""
    now, number = time.time(), error.errno or 0
    text = os.strerror(number) if number > 0 else error.strerror or str(error) or os.strerror(errno.ETIMEDOUT)
    if not bus.is_serial:
        return Away("endpoint_unreachable", text, {"where": bus.where, "error": text}, now)
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO, errno.ECONNRESET):
        return Away("port_missing", text, {"port": bus.where}, now)
    if number in (errno.EAGAIN, errno.EBUSY):
        return Away("port_busy", text, {"port": bus.where}, now)
    return Away("port_refused", text, {"port": bus.where, "error": text}, now)
