"""A WHIP sender on GStreamer's own WebRTC (webrtcbin, libnice), run by Debian's Python: URL TICKET VP8|H264.

Sends until its standard input ends, then prints one JSON object: the answer's status, the state of the connection, and
the status of the goodbye.
"""

from __future__ import annotations

import importlib
import json
import ssl
import sys
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urljoin

gi: Any = importlib.import_module("gi")
NAMES = ("Gst", "GstSdp", "GstWebRTC")
for name in NAMES:
    gi.require_version(name, "1.0")
Gst: Any
GstSdp: Any
GstWebRTC: Any
Gst, GstSdp, GstWebRTC = (importlib.import_module(f"gi.repository.{name}") for name in NAMES)

PICTURE = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=15/1 ! videoconvert ! "
ENCODED = {
    "VP8": "vp8enc deadline=1 keyframe-max-dist=300 ! rtpvp8pay picture-id-mode=15-bit"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! b.",
    "H264": "openh264enc gop-size=300 ! video/x-h264,profile=constrained-baseline ! h264parse config-interval=-1"
    " ! rtph264pay aggregate-mode=zero-latency"
    " ! application/x-rtp,media=video,encoding-name=H264,payload=98,packetization-mode=(string)1 ! b.",
}
VOICE = (
    "audiotestsrc is-live=true ! opusenc ! rtpopuspay"
    " ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! b."
)
PATIENCE = 20.0
"""Seconds for each step."""
TRUSTING = ssl.create_default_context()
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE


def main(url: str, ticket: str, codec: str) -> None:
    """Be a sender."""
    Gst.init(None)
    pipeline = Gst.parse_launch(f"webrtcbin name=b bundle-policy=max-bundle {PICTURE}{ENCODED[codec]} {VOICE}")
    connection = pipeline.get_by_name("b")
    ready = threading.Event()
    connection.connect("on-negotiation-needed", lambda _bin: ready.set())
    pipeline.set_state(Gst.State.PLAYING)
    assert ready.wait(PATIENCE)
    status, location, answer = asked("POST", url, ticket, described(connection))
    _, parsed = GstSdp.SDPMessage.new_from_text(answer)
    answered = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, parsed)
    connection.emit("set-remote-description", answered, Gst.Promise.new())
    sys.stdin.read()
    state = connection.get_property("connection-state").value_nick
    ended, _, _ = asked("DELETE", urljoin(url, location), ticket, "")
    pipeline.set_state(Gst.State.NULL)
    print(json.dumps({"status": status, "state": state, "ended": ended}))


def described(connection: Any) -> str:
    """The offer, with all candidates."""
    promise = Gst.Promise.new()
    connection.emit("create-offer", None, promise)
    promise.wait()
    reply = promise.get_reply()  # held, for the offer is part of it
    connection.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())
    end = time.monotonic() + PATIENCE
    while connection.get_property("ice-gathering-state").value_nick != "complete":
        assert time.monotonic() < end
        time.sleep(0.02)
    text: str = connection.get_property("local-description").sdp.as_text()
    return text


def asked(method: str, url: str, ticket: str, body: str) -> tuple[int, str, str]:
    """Status, location and body of an answer."""
    headers = {"Authorization": f"Bearer {ticket}", "Content-Type": "application/sdp"}
    request = urllib.request.Request(url, body.encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE, context=TRUSTING) as answer:
        return answer.status, answer.headers.get("Location", ""), answer.read().decode()


def there() -> bool:
    """Whether everything that it needs is installed."""
    Gst.init(None)
    return all(map(Gst.ElementFactory.find, ("webrtcbin", "nicesrc", "dtlsenc", "srtpenc", "vp8enc", "openh264enc")))


if __name__ == "__main__":
    if sys.argv[1:] == ["--there"]:
        sys.exit(not there())
    main(*sys.argv[1:])
