"""Session descriptions: a real browser's offer is answered; damaged ones are refused with one error, never another."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conference import rtp, sdp

OFFER = (Path(__file__).parent / "offer-chromium.sdp").read_text()
LOCAL = sdp.Local("ours", "p" * 24, (("sha-256", "AA:BB"),), (("10.0.0.5", 8443), ("fd00::5", 8443)))
SLOTS = {"3": sdp.Slot(100, "a0"), "4": sdp.Slot(101, "v0"), "5": sdp.Slot(102, "v1")}


def answered(offer: str = OFFER, preferred: tuple[str, ...] = ("VP8", "H264")) -> str:
    return sdp.answer(sdp.parse(offer), LOCAL, SLOTS, (), preferred)


def test_chromium_offer_is_understood() -> None:
    """Sections, layers, extensions, codecs and retransmission of a real offer are found."""
    offer = sdp.parse(OFFER)
    assert [(s.kind, s.mid, s.sends, s.receives) for s in offer.sections] == [
        ("audio", "0", True, False),
        ("video", "1", True, False),
        ("video", "2", True, False),
        ("audio", "3", False, True),
        ("video", "4", False, True),
        ("video", "5", False, True),
    ]
    camera, screen = offer.sections[1:3]
    assert camera.rids == ("l", "m", "h")
    assert camera.extensions[rtp.RID] == 10
    assert screen.repairs == {693840273: 2182407178}
    vp8, h264 = sdp.usable(camera)
    assert (vp8.name, vp8.pt, h264.name) == ("VP8", 96, "H264")
    assert h264.params["packetization-mode"] == "1"
    assert h264.params["profile-level-id"] == "42e01f"
    assert sdp.repair_types(camera, [vp8, h264])[97] == 96


def test_answer_can_be_read_and_mirrors_the_offer() -> None:
    """The answer has the same sections, each accepted in the opposite direction, with slots named."""
    text = answered()
    answer = sdp.parse(text)
    assert [s.mid for s in answer.sections] == ["0", "1", "2", "3", "4", "5"]
    assert [s.direction for s in answer.sections] == ["recvonly"] * 3 + ["sendonly"] * 3
    assert answer.sections[4].ssrcs == (101,)
    assert "a=simulcast:recv l;m;h" in text
    assert "a=ice-lite" in text
    assert text.count("a=candidate:1 1 udp 2130706431 10.0.0.5 8443 typ host") == 6
    assert answer.setup == "passive"


def test_voices_are_repaired_and_silence_is_not_sent() -> None:
    """In-band FEC and DTX of Opus are asked for in every section for voices, both ways (RFC 7587 6.1)."""
    answer = sdp.parse(answered(OFFER.replace("a=fmtp:111 minptime=10;useinbandfec=1", "a=fmtp:111 minptime=10")))
    voices = [section.codecs[0].params for section in answer.sections if section.kind == "audio"]
    assert [(params["useinbandfec"], params["usedtx"]) for params in voices] == [("1", "1")] * 2


def test_preferred_codec_comes_first() -> None:
    """The order of the settings decides what a browser sends."""
    first = sdp.parse(answered(preferred=("H264", "VP8"))).sections[1].codecs[0]
    assert first.name == "H264"


@pytest.mark.parametrize(
    ("profile", "taken"),
    [
        ("42e01f", True),
        ("42C00C", True),
        ("42001f", True),
        ("4de01f", True),
        ("4d001f", False),
        ("64001f", False),
        ("42e11f", False),
        ("nonsense", False),
        ("zz", False),
    ],
)
def test_h264_profiles_that_every_browser_decodes(profile: str, taken: bool) -> None:
    """Baseline and constrained baseline in each of their spellings are taken, main and high are not."""
    offer = OFFER.replace("profile-level-id=42e01f", f"profile-level-id={profile}")
    offer = "\n".join(line for line in offer.split("\n") if "profile-level-id" not in line or profile in line)
    names = [codec.name for codec in sdp.usable(sdp.parse(offer).sections[1])]
    assert ("H264" in names) is taken


def test_data_channel_is_turned_down() -> None:
    """A data channel in the offer gets port 0 and no place in the bundle."""
    channel = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:9\na=sctp-port:5000\n"
    text = answered(OFFER + channel)
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel" in text
    assert "a=group:BUNDLE 0 1 2 3 4 5\r\n" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=0\n",
        "hello",
        OFFER.replace("a=ice-ufrag", "a=other"),
        OFFER.replace("a=fingerprint", "a=other"),
        OFFER.replace("a=mid:1\n", "a=mid:0\n"),
        OFFER.replace("a=mid:1\n", "a=mid:bad mid\n"),
        OFFER + "x" * 70_000,
        OFFER + "".join(f"m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:n{i}\n" for i in range(500)),
    ],
)
def test_bad_offers_are_refused(text: str) -> None:
    """No ICE, no fingerprint, doubled mids, too long, too many sections: one kind of error."""
    with pytest.raises(sdp.BadOffer):
        sdp.parse(text)


def test_damaged_offers_are_answered_or_refused() -> None:
    """10,000 offers with lines dropped, doubled, swapped and bytes changed: an answer or BadOffer, nothing else."""
    rng = random.Random(2)
    lines = [line for line in OFFER.split("\n") if "rtcp-fb" not in line][:160]
    for _ in range(10_000):
        damaged = list(lines)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(damaged))
            action = rng.randrange(4)
            if action == 0:
                del damaged[at]
            elif action == 1:
                damaged.insert(rng.randrange(len(damaged)), damaged[at])
            elif action == 2:
                other = rng.randrange(len(damaged))
                damaged[at], damaged[other] = damaged[other], damaged[at]
            else:
                cut = rng.randint(0, len(damaged[at]))
                damaged[at] = damaged[at][:cut] + chr(rng.randrange(1, 700)) + damaged[at][cut + 1 :]
        try:
            text = answered("\n".join(damaged))
        except sdp.BadOffer:
            continue
        assert text.count("\nm=") >= 1


@given(st.text(max_size=300))
def test_any_text_is_refused_quietly(text: str) -> None:
    """Text that is no description gives BadOffer."""
    for whole in (text, "v=0\nm=" + text):
        try:
            sdp.parse(whole)
        except sdp.BadOffer:
            continue
        pytest.fail("accepted")
