"""The part of the control socket that has the agent start anew: it ends itself as on SIGTERM, and systemd starts it.

So nobody needs to be root. The unit says `Restart=always`; where no service manager is, nothing is ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from edge_agent.changes import Refusal, holder, whole

if TYPE_CHECKING:
    from edge_agent.app import App

ANSWERED = 0.2
"""Seconds in which the answer reaches the one who asked."""


def routes(app: App) -> list[web.RouteDef]:
    """POST /restart."""

    async def restart(request: web.Request) -> web.Response:
        by = holder(app, request)
        if "NOTIFY_SOCKET" not in os.environ:
            refusal = Refusal("unsupervised", app.text("restart.unsupervised", service="edge-agent"))
            await app.audit.note(by.name, by.user, "restart", "edge-agent", refusal.what)
            return web.Response(body=msgspec.json.encode(refusal), status=409, content_type="application/json")
        await app.audit.note(by.name, by.user, "restart", "edge-agent")
        asyncio.get_running_loop().call_later(ANSWERED, signal.raise_signal, signal.SIGTERM)
        return web.Response(body=b"{}", content_type="application/json")

    return whole([web.post("/restart", restart)])
