"""`edge tui --serve`: the screens in a browser, for the centre's staff; each visitor's are a process of their own.

On loopback only: a reverse proxy or an SSH tunnel leads there. Who has a ticket of `edge ticket issue --terminal` gets
in, two at a time, and only looks: the screens are started without --maintain, and start no tool themselves. The ticket
comes behind the `#` of the link, so that it stands in no log; a cookie keeps it, and it is checked again at every step
and while one looks.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import logging
import shlex
import sys
from pathlib import Path

import textual_serve
from aiohttp import WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

from conference.tickets import Refused, Tickets
from edge_agent.meet import meeting_of
from edge_agent.meeting_config import settings_of
from edge_agent.text import Text
from edge_agent.ticket import TERMINAL

log = logging.getLogger("edge.serve")

HOST = "127.0.0.1"
MOST = 2
"""Visitors at once: each is a process of 40 MB."""
LEAST_SIZE, MOST_SIZE = (20, 10), (400, 150)
CHECK_S = 10.0
"""Seconds between two looks at whether the ticket still holds."""
LEAVE_S = 5.0
"""Seconds that a visitor's screens have to end."""
MOST_KEYS = 4096
COOKIE = "edge_terminal"
STATIC = Path(textual_serve.__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
PAGE = """<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>body {{ margin: 0; background: #000; color: #ddd; font: 18px/1.5 sans-serif }} p {{ padding: 0 1em }}</style>
{body}"""
ENTRY = """<p id="say">{wait}</p><script>
const ticket = location.hash.slice(3);
history.replaceState(null, "", location.pathname);
const say = (text) => {{ document.getElementById("say").textContent = text; }};
if (!ticket) say({needed});
else fetch("enter", {{method: "POST", body: ticket}}).then(
  (answer) => answer.ok ? location.reload() : say({refused}));
</script>"""
FULL = """<meta http-equiv="refresh" content="5"><p>{full}</p>"""
SCREENS = """<link rel="stylesheet" href="static/css/xterm.css"><style>
@font-face {{ font-family: "Roboto Mono"; font-weight: 100 700;
  src: url("static/fonts/RobotoMono-VariableFont_wght.ttf") }}
#terminal {{ width: 100vw; height: 100vh }}
#closed {{ display: none; padding: 1em }} body.-closed #closed {{ display: block }}
</style><p id="closed">{closed}</p><div id="terminal" class="textual-terminal" data-font-size="16"></div><script>
const at = new URL("ws", location.href);
at.protocol = at.protocol.replace("http", "ws");
document.getElementById("terminal").dataset.sessionWebsocketUrl = at.href;
</script><script src="static/js/textual.js"></script><script>
// The library measures its letters when it begins, so the font must be there; few others have all Vietnamese letters.
const begin = window.onload, font = (weight) => document.fonts.load(weight + ' 16px "Roboto Mono"');
const focus = () => document.body.classList.contains("-loaded")
  ? document.querySelector(".xterm-helper-textarea").focus() : setTimeout(focus, 50);
const ready = () => {{ begin(); focus(); }};
window.onload = () => Promise.all([font(400), font(700)]).then(ready, ready);
</script>"""


class Door:
    """Lets visitors in and out."""

    def __init__(self, command: str, tickets: Tickets, text: Text) -> None:
        """`command` shows the screens."""
        self._command, self._tickets, self._text = command, tickets, text
        self._inside = 0
        self._downloads = DownloadManager()

    def application(self) -> web.Application:
        """Its pages."""
        app = web.Application(client_max_size=8 << 10)
        app.add_routes([web.get("/", self._page), web.post("/enter", self._enter), web.get("/ws", self._screens)])
        app.router.add_static("/static", STATIC)
        app.on_response_prepare.append(_add_headers)
        return app

    def _holds(self, token: str) -> bool:
        try:
            self._tickets.read(token, TERMINAL)
        except Refused:
            return False
        return True

    async def _page(self, request: web.Request) -> web.Response:
        text = self._text
        if self._holds(request.cookies.get(COOKIE, "")):
            body = SCREENS.format(closed=html.escape(text("serve.closed")))
            if (
                self._inside >= MOST
            ):  # also for a moment to one of them who loads the page anew: it looks again by itself
                body = FULL.format(full=html.escape(text("serve.full", most=MOST)))
        else:
            words = {name: _script(text(f"serve.{name}")) for name in ("needed", "refused")}
            body = ENTRY.format(wait=html.escape(text("serve.wait")), **words)
        page = PAGE.format(language=text.language, title=html.escape(text("serve.title")), body=body)
        return web.Response(text=page, content_type="text/html")

    async def _enter(self, request: web.Request) -> web.Response:
        token = (await request.text()).strip()
        if not self._holds(token):
            raise web.HTTPForbidden
        response = web.Response()
        response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.secure)
        return response

    async def _screens(self, request: web.Request) -> web.WebSocketResponse:
        """One visitor's screens, for as long as the ticket holds."""
        token = request.cookies.get(COOKIE, "")
        if not self._holds(token) or not _same_place(request):
            raise web.HTTPForbidden
        if self._inside >= MOST:
            raise web.HTTPServiceUnavailable(text=self._text("serve.full", most=MOST))
        self._inside += 1
        try:
            return await self._visit(request, token)
        finally:
            self._inside -= 1

    async def _visit(self, request: web.Request, token: str) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=15, max_msg_size=64 << 10)
        await socket.prepare(request)

        async def close() -> None:
            await socket.close()

        service = AppService(
            self._command,
            write_bytes=socket.send_bytes,
            write_str=socket.send_str,
            close=close,
            download_manager=self._downloads,
        )
        log.info("visitor came inside=%d", self._inside)
        await service.start(*_size(request.query.get("width"), request.query.get("height")))
        watching = asyncio.create_task(self._watch(socket, token), name="ticket")
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await _pass_on(message.json(), service, socket)
        except (ValueError, TypeError, LookupError) as wrong:  # no message of our own page
            log.warning("visitor's message not understood error=%s", wrong)
        finally:
            watching.cancel()
            await _end(service)
            await socket.close()
            log.info("visitor left inside=%d", self._inside - 1)
        return socket

    async def _watch(self, socket: web.WebSocketResponse, token: str) -> None:
        """A ticket that is revoked or expires ends the visit."""
        while self._holds(token):
            await asyncio.sleep(CHECK_S)
        await socket.close()


async def _end(service: AppService) -> None:
    """Ask the screens to go; those that do not are ended, or they would keep the place for ever."""
    process = service._process  # the library does not wait for it, and has no way to end what hangs
    try:
        async with asyncio.timeout(LEAVE_S):
            await service.stop()
            if process:
                await _close(process)
    except TimeoutError:
        if process and process.returncode is None:
            process.kill()
            await process.wait()


async def _close(process: asyncio.subprocess.Process) -> None:
    if process.stdin:
        process.stdin.close()
    await process.wait()


async def _pass_on(message: list[object], service: AppService, socket: web.WebSocketResponse) -> None:
    """One message of the library's page: [kind, content]."""
    kind, content = message[0], message[1] if len(message) > 1 else None
    if kind == "stdin" and isinstance(content, str):
        await service.send_bytes(content[:MOST_KEYS].encode())
    elif kind == "resize" and isinstance(content, dict):
        await service.set_terminal_size(*_size(content["width"], content["height"]))
    elif kind == "ping":
        await socket.send_json(["pong", content])


def _size(width: object, height: object) -> tuple[int, int]:
    wished = int(str(width or 80)), int(str(height or 24))
    bounded = [max(low, min(each, high)) for each, low, high in zip(wished, LEAST_SIZE, MOST_SIZE, strict=True)]
    return bounded[0], bounded[1]


def _same_place(request: web.Request) -> bool:
    """A page of another site may not open our socket with a visitor's cookie."""
    origin = request.headers.get("Origin", "")
    return origin.partition("://")[2] in (request.host, request.headers.get("X-Forwarded-Host", request.host))


def _script(words: str) -> str:
    """A text within a script."""
    import msgspec

    return msgspec.json.encode(words).decode().replace("<", "\\u003c")


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def main(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config, meeting, text = meeting_of(arguments)
    words = [sys.executable, "-m", "edge_agent", "tui", "-c", str(config.file)]
    door = Door(f"exec {shlex.join(words)}", Tickets(settings_of(config, meeting).tickets), text)
    log.info("serving http://%s:%d", HOST, arguments.port)
    web.run_app(door.application(), host=HOST, port=arguments.port, access_log=None, print=None)
    return 0
