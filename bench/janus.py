"""Debian's Janus VideoRoom as the measure beside which the meeting is put: same load, same run.

Janus takes no loopback address, so the comparison runs in a network namespace of its own, on the address of a veth
pair; the packets stay on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from conference import dtls, sdp
from conference.caller import Caller

if TYPE_CHECKING:
    from bench.meeting_load import Load

ADDRESS = "10.99.0.1"
ROOM = 1234
_HTTP = 18088
_PLUGINS = "/usr/lib/x86_64-linux-gnu/janus"
_INSIDE = "EDGE_BENCH_NAMESPACE"
_NAMESPACE = (
    "ip link set lo up && ip link add e0 type veth peer name e1 && "
    f'ip addr add {ADDRESS}/24 dev e0 && ip link set e0 up && ip link set e1 up && exec "$@"'
)


def enter_namespace() -> None:
    """Run this very command again in a namespace with its own network, if it is not there yet."""
    if _INSIDE not in os.environ:
        command = ["unshare", "--net", "sh", "-c", _NAMESPACE, "sh", sys.executable, "-m", "bench.meeting_load"]
        raise SystemExit(subprocess.call([*command, *sys.argv[1:]], env={**os.environ, _INSIDE: "1"}))


def tuned(publishers: int, viewers: int) -> contextlib.AbstractAsyncContextManager[tuple[int, Load]]:
    """With two event loops, as its documentation advises for many handles."""
    return _server(publishers, viewers, "event_loops = 2")


def default(publishers: int, viewers: int) -> contextlib.AbstractAsyncContextManager[tuple[int, Load]]:
    """With one thread per handle."""
    return _server(publishers, viewers, "")


@contextlib.asynccontextmanager
async def _server(publishers: int, viewers: int, general: str) -> AsyncIterator[tuple[int, Load]]:
    from bench.meeting_load import Load

    with tempfile.TemporaryDirectory() as folder:
        _configure(Path(folder), general)
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec("janus", "-F", folder, "-o", stdout=quiet, stderr=quiet)
        try:
            load = Load()
            async with aiohttp.ClientSession() as session:
                await _fill(session, load, publishers, viewers)
                yield process.pid, load
        finally:
            process.terminate()
            await process.wait()


def _configure(folder: Path, general: str) -> None:
    (folder / "janus.jcfg").write_text(
        f'general: {{ plugins_folder = "{_PLUGINS}/plugins" transports_folder = "{_PLUGINS}/transports"\n'
        f"session_timeout = 0\n debug_level = 2\n {general} }}\n"
        "nat: { ice_lite = true\n nice_debug = false }\n"
        'plugins: { disable = "libjanus_sip.so,libjanus_lua.so,libjanus_duktape.so" }\n'
        'transports: { disable = "libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so,'
        'libjanus_websockets.so" }\n'
    )
    (folder / "janus.transport.http.jcfg").write_text(
        f'general: {{ http = true\n port = {_HTTP}\n ip = "127.0.0.1"\n json = "plain" }}\n'
    )
    (folder / "janus.plugin.videoroom.jcfg").write_text(
        f'room-{ROOM}: {{ publishers = 50\n bitrate = 0\n audiocodec = "opus"\n videocodec = "vp8"\n'
        "fir_freq = 0\n audiolevel_ext = false\n videoorient_ext = false\n playoutdelay_ext = false\n"
        "transport_wide_cc_ext = false\n notify_joining = false }\n"
    )


class Handle:
    """One attached plugin handle, over HTTP with long polls."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._http = session
        self._url = f"http://127.0.0.1:{_HTTP}/janus"

    async def attach(self) -> None:
        """Make a session and a handle, when Janus is up."""
        for turn in range(50):
            try:
                made = await self._post(self._url, janus="create")
                break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.1 if turn < 49 else 0)
        else:
            raise TimeoutError("janus did not start")
        self._url = f"{self._url}/{made['data']['id']}"
        attached = await self._post(self._url, janus="attach", plugin="janus.plugin.videoroom")
        self._handle = f"{self._url}/{attached['data']['id']}"

    async def ask(self, body: dict[str, Any], jsep: dict[str, str] | None = None) -> dict[str, Any]:
        """Send a message and wait for its event."""
        more = {"jsep": jsep} if jsep else {}
        await self._post(self._handle, janus="message", body=body, **more)
        while True:
            async with self._http.get(self._url, params={"maxev": "1"}) as response:
                event: dict[str, Any] = await response.json(content_type=None)
            data = event.get("plugindata", {}).get("data", {})
            if "error" in data:
                raise RuntimeError(data["error"])
            if event.get("janus") == "event" and (event.get("jsep") or data.get("started") or data.get("id")):
                return event

    async def _post(self, url: str, **message: Any) -> dict[str, Any]:
        async with self._http.post(url, json={"transaction": secrets.token_hex(6), **message}) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
        if answer.get("janus") == "error":
            raise RuntimeError(str(answer))
        return answer


async def _fill(session: aiohttp.ClientSession, load: Load, publishers: int, viewers: int) -> None:
    feeds: list[int] = []
    for at in range(publishers):
        caller, handle = Caller(), Handle(session)
        await handle.attach()
        body = {"request": "joinandconfigure", "ptype": "publisher", "room": ROOM, "display": str(at)}
        event = await handle.ask(body, {"type": "offer", "sdp": caller.offer()})
        feeds.append(event["plugindata"]["data"]["id"])
        await caller.connect(event["jsep"]["sdp"])
        load.publisher(caller)
    for _ in range(viewers):
        caller, handle = Caller(audio=False, video=False), Handle(session)
        await handle.attach()
        streams = [{"feed": feed, "mid": "1"} for feed in feeds] + [{"feed": feed, "mid": "0"} for feed in feeds[:3]]
        body = {"request": "join", "ptype": "subscriber", "room": ROOM, "streams": streams}
        event = await handle.ask(body)
        offer = event["jsep"]["sdp"]
        await handle.ask({"request": "start"}, {"type": "answer", "sdp": _answer(caller, offer)})
        await caller.connect(offer)
        load.viewer(caller)


def _answer(caller: Caller, text: str) -> str:
    """Take everything that Janus offers."""
    name, value = dtls.fingerprints_of(caller.certificate)[0]
    sections = sdp.parse(text).sections
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"]
    lines.append("a=group:BUNDLE " + " ".join(section.mid for section in sections))
    for section in sections:
        codec = section.codecs[0]
        channels = "/2" if section.kind == "audio" else ""
        lines += [f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {codec.pt}", "c=IN IP4 0.0.0.0", f"a=mid:{section.mid}"]
        lines += ["a=rtcp-mux", f"a=ice-ufrag:{caller.ufrag}", f"a=ice-pwd:{caller.pwd}"]
        lines += [f"a=fingerprint:{name} {value}", "a=setup:active", "a=recvonly"]
        lines.append(f"a=rtpmap:{codec.pt} {codec.name}/{codec.clock}{channels}")
    return "\r\n".join(lines) + "\r\n"
