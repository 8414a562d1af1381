"""WHIP and WHEP: standard clients send to a room and watch it."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import aiohttp
import pytest
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from av import AudioFrame, VideoFrame

from conference.addresses import own_addresses
from conference.caller import Caller
from tests.conference.live import KEY_FRAME, Live, Page, live

SDP = {"Content-Type": "application/sdp"}


async def post(meeting: Live, kind: str, ticket: str, offer: str, **more: str) -> aiohttp.ClientResponse:
    headers = {**SDP, "Authorization": f"Bearer {ticket}", **more}
    return await meeting.session.post(f"{meeting.url}/{kind}/giao-ban", data=offer, headers=headers)


def test_whip_sends_in_and_whep_watches(tmp_path: Path) -> None:
    """A WHIP client is seen by a page and by a WHEP client; DELETE gives the seat up."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            viewer = await meeting.join("site")
            sender, watcher = Page(meeting, Caller()), Page(meeting, Caller(audio=False, video=False, **ONE_EACH))
            answer = await post(meeting, "whip", meeting.ticket("site", "camera"), sender.caller.offer())
            assert answer.status == 201
            assert answer.content_type == "application/sdp"
            await sender.caller.connect(await answer.text())
            sender.send_media()
            await viewer.until(lambda: bool(viewer.sees() and viewer.hears()))

            watching = await post(meeting, "whep", meeting.ticket("guest", "wall"), watcher.caller.offer())
            assert watching.status == 201
            await watcher.caller.connect(await watching.text())
            await viewer.until(lambda: any(p.pt == 96 for _, p in watcher.packets))
            await viewer.until(lambda: any(p.pt == 111 for _, p in watcher.packets))
            first = next(packet for _, packet in watcher.packets if packet.pt == 96)
            assert len(first.payload) == len(KEY_FRAME)

            for location in (answer.headers["Location"], watching.headers["Location"]):
                assert (await meeting.session.delete(meeting.url + location)).status == 200
                assert (await meeting.session.delete(meeting.url + location)).status == 404
            await viewer.until(lambda: len(viewer.members()) == 1)
            for page in (viewer, sender, watcher):
                await page.drop()

    asyncio.run(scenario())


ONE_EACH = {"audio_slots": 1, "video_slots": 1}


def test_whip_refusals_have_their_status(tmp_path: Path) -> None:
    """No ticket 401, another room's 403, a room that is not there 403, no description 400 and 415."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            offer = Caller().offer()
            assert (await post(meeting, "whip", "", offer)).status == 401
            assert (await post(meeting, "whip", "a.b.c", offer)).status == 401
            assert (await post(meeting, "whip", meeting.ticket(room="other"), offer)).status == 403
            assert (await post(meeting, "whip", meeting.ticket(), "hello")).status == 400
            odd = {"Content-Type": "application/sdp; charset=none"}
            assert (await post(meeting, "whip", meeting.ticket(), "v=0", **odd)).status == 400
            wrong = {"Content-Type": "text/plain"}
            assert (await post(meeting, "whip", meeting.ticket(), offer, **wrong)).status == 415
            assert (await meeting.status()).rooms[0].members == ()

    asyncio.run(scenario())


def test_another_stack_sends_and_watches(tmp_path: Path) -> None:
    """aiortc's whole peer connection (full ICE, its own descriptions, real VP8 and Opus) sends in and decodes."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            sender = RTCPeerConnection()
            sender.addTrack(VideoStreamTrack())
            sender.addTrack(AudioStreamTrack())
            await dial(meeting, "whip", sender)
            watcher = await watching(meeting)
            async with asyncio.timeout(45):
                frame, _ = await decoded(watcher)
            assert (frame.width, frame.height) == (640, 480)
            await sender.close()
            await watcher.close()

    asyncio.run(scenario())


async def dial(meeting: Live, kind: str, connection: RTCPeerConnection) -> None:
    await connection.setLocalDescription(await connection.createOffer())
    response = await post(meeting, kind, meeting.ticket("site", kind), connection.localDescription.sdp)
    assert response.status == 201
    await connection.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))


GSTREAMER = Path(__file__).with_name("whip_gstreamer.py")
DEBIANS = "/usr/bin/python3"
GSTREAMER_THERE = (
    subprocess.run([DEBIANS, str(GSTREAMER), "--there"], capture_output=True, timeout=60, check=False).returncode == 0
)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
@pytest.mark.skipif(not GSTREAMER_THERE, reason="python3-gi and GStreamer's webrtcbin are not installed")
def test_gstreamer_sends_and_is_decoded(codec: str, tmp_path: Path) -> None:
    """GStreamer's webrtcbin sends by WHIP, each codec; a WHEP watcher gets whole pictures and a voice of it."""

    own = own_addresses("0.0.0.0")[0]  # libnice does not use the loopback

    async def scenario() -> None:
        async with live(tmp_path, listen="0.0.0.0:0", addresses=(own,)) as meeting:
            words = [DEBIANS, str(GSTREAMER), f"{meeting.url}/whip/giao-ban", meeting.ticket("site", "gst")]
            sender = await asyncio.create_subprocess_exec(
                *words, codec, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            watcher = await watching(meeting)
            async with asyncio.timeout(40):
                frame, voice = await decoded(watcher)
            assert (frame.width, frame.height, voice.sample_rate) == (320, 240, 48_000)
            ups = [up.codec for member in (await meeting.status()).rooms[0].members for up in member.up]
            assert sorted(ups) == sorted(["opus", codec])
            said, _ = await sender.communicate(b"")
            assert json.loads(said) == {"status": 201, "state": "connected", "ended": 200}
            await watcher.close()

    asyncio.run(scenario())


NO_UPNP = """
unsigned long gupnp_simple_igd_get_type(void) { return 0; }
void *gupnp_simple_igd_thread_new(void) { return 0; }
void gupnp_simple_igd_add_port(void) {}
void gupnp_simple_igd_remove_port_local(void) {}
"""
"""What libnice would ask a router by, of which nothing is needed here. The true one brings libsoup 3 with it, beside
which Debian 12's simple-whip-client, made with libsoup 2, aborts as it starts."""
PICTURE = (
    "videotestsrc is-live=true ! videoconvert ! queue ! vp8enc deadline=1 ! rtpvp8pay pt=96 ssrc=2 ! queue"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96"
)
VOICE = (
    "audiotestsrc is-live=true ! audioconvert ! audioresample ! queue ! opusenc ! rtpopuspay pt=100 ssrc=1 ! queue"
    " ! application/x-rtp,media=audio,encoding-name=OPUS,payload=100"
)


@pytest.fixture
def whip_client(tmp_path: Path) -> dict[str, str]:
    """Variables with which `whip-client` starts."""
    if not (shutil.which("whip-client") and shutil.which("cc") and GSTREAMER_THERE):
        pytest.skip("simple-whip-client, a C compiler or GStreamer's webrtcbin is not installed")
    name = "libgupnp-igd-1.0.so.4"
    words = ["cc", "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{name}", "-o", str(tmp_path / name), "-xc", "-"]
    subprocess.run(words, input=NO_UPNP, text=True, timeout=60, check=True)
    return {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}


def test_simple_whip_client_sends_and_is_decoded(whip_client: dict[str, str], tmp_path: Path) -> None:
    """Debian's own program sends as its manual says, its candidates one by one; Ctrl-C gives the seat up."""

    own = own_addresses("0.0.0.0")[0]  # libnice does not use the loopback

    async def scenario() -> None:
        async with live(tmp_path / "state", listen="0.0.0.0:0", addresses=(own,)) as meeting:
            words = ["-u", f"{meeting.url}/whip/giao-ban", "-t", meeting.ticket("site", "client")]
            sender = await asyncio.create_subprocess_exec(
                "whip-client", *words, "-A", VOICE, "-V", PICTURE, env=whip_client, stdout=asyncio.subprocess.DEVNULL
            )
            watcher = await watching(meeting)
            async with asyncio.timeout(40):
                frame, voice = await decoded(watcher)
            assert (frame.width, frame.height, voice.sample_rate) == (320, 240, 48_000)
            sender.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(sender.wait(), 20) == 0
            assert [member.site for member in (await meeting.status()).rooms[0].members] == ["whep"]
            await watcher.close()

    asyncio.run(scenario())


async def watching(meeting: Live) -> RTCPeerConnection:
    """One who watches by WHEP, picture and voice."""
    watcher = RTCPeerConnection()
    for kind in ("audio", "video"):
        watcher.addTransceiver(kind, direction="recvonly")
    await dial(meeting, "whep", watcher)
    return watcher


async def decoded(watcher: RTCPeerConnection) -> tuple[VideoFrame, AudioFrame]:
    """The twentieth picture and a voice."""
    tracks = {t.kind: t.receiver.track for t in watcher.getTransceivers()}
    frames = [await tracks["video"].recv() for _ in range(20)]
    voice = await tracks["audio"].recv()
    assert isinstance(frames[-1], VideoFrame)
    assert isinstance(voice, AudioFrame)
    return frames[-1], voice


WERIFT = "werift@0.25.2"


@pytest.fixture
def werift(tmp_path: Path) -> Path:
    """A folder with the player in it."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    words = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(tmp_path), WERIFT]
    if subprocess.run(words, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip(f"{WERIFT} cannot be installed here")
    shutil.copy(Path(__file__).with_name("watch.mjs"), tmp_path)
    return tmp_path


@pytest.mark.faults
def test_whep_player_of_another_stack_watches(werift: Path) -> None:
    """werift's player gets voice and picture of a page."""

    async def scenario() -> None:
        async with live(werift / "state") as meeting:
            sender = await meeting.join("site")
            sender.send_media()
            words = ["node", "watch.mjs", f"{meeting.url}/whep/giao-ban", meeting.ticket("guest", "wall"), "30"]
            player = await asyncio.create_subprocess_exec(
                *words,
                cwd=werift,
                env={**os.environ, "NODE_TLS_REJECT_UNAUTHORIZED": "0"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            said, _ = await player.communicate()
            found = json.loads(said)
            assert found["state"] == "connected"
            assert min(found["audio"], found["video"]) >= 50
            await sender.drop()

    asyncio.run(scenario())
