"""Session descriptions: a browser's offer is read, an answer written, once; nothing is renegotiated. Pure functions.

An offer brings at most one audio and two video sections that send (camera, screen) and a number that receive: the
slots. All run over one transport (BUNDLE). Sections of other kinds, data channels among them, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from conference import rtp

MAX_SIZE = 65_536
MAX_SECTIONS = 32
_MAX_CODECS = 128
_MAX_RIDS = 3
_TOKEN = re.compile(r"[A-Za-z0-9+/_.:-]{1,256}")
"""What may be repeated in an answer: mids, user fragments, passwords and layer names."""

KNOWN_EXTENSIONS = (rtp.MID, rtp.RID, rtp.REPAIRED_RID, rtp.AUDIO_LEVEL, rtp.SEND_TIME)
OPUS, VP8, H264 = "opus", "VP8", "H264"
_SPELLING = {name.lower(): name for name in (OPUS, VP8, H264)}
_BASELINE, _CONSTRAINED = "42000a", "42e0"
"""H.264's profile where none is named; constrained baseline, which all browsers decode (RFC 7742 5), as they say it."""
_H264_PROFILES = ((0x42, 0x00), (0x4D, 0x80), (0x58, 0xC0))
"""profile_idc, and constraints that it needs to be a baseline profile (RFC 6184 table 5); the last four bits are 0."""


class BadOffer(ValueError):
    """The offer cannot be answered; the text says why, for a developer."""


class Codec(msgspec.Struct, frozen=True):
    """One payload type of a section."""

    pt: int
    name: str
    clock: int
    channels: int = 1
    params: Mapping[str, str] = {}


class Section(msgspec.Struct, frozen=True):
    """One m-line."""

    kind: str
    mid: str
    direction: str
    """As offered: sendonly, recvonly, sendrecv or inactive."""
    codecs: tuple[Codec, ...] = ()
    extensions: Mapping[str, int] = {}
    """Header extension URI -> id."""
    rids: tuple[str, ...] = ()
    """Simulcast layers to be sent, in the offer's order."""
    ssrcs: tuple[int, ...] = ()
    repairs: Mapping[int, int] = {}
    """Retransmission SSRC -> the SSRC that it repairs."""

    @property
    def sends(self) -> bool:
        """Whether the client sends here."""
        return self.direction in ("sendonly", "sendrecv")

    @property
    def receives(self) -> bool:
        """Whether the client receives here."""
        return self.direction in ("recvonly", "sendrecv")


class Offer(msgspec.Struct, frozen=True):
    """A whole description."""

    ufrag: str
    pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    """(hash function, value), as given."""
    setup: str
    sections: tuple[Section, ...]


class Slot(msgspec.Struct, frozen=True):
    """What a receiving section is answered with."""

    ssrc: int
    label: str
    """Stream and track id under which the page finds the slot."""


class Local(msgspec.Struct, frozen=True):
    """Our end of the transport."""

    ufrag: str
    pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    candidates: tuple[tuple[str, int], ...]
    """Addresses of the one UDP port, best first."""
    session: int = 1


# --- reading --------------------------------------------------------------------------------------------------------


def parse(text: str) -> Offer:
    """Read a description. Raises BadOffer."""
    if len(text) > MAX_SIZE:
        raise BadOffer("too long")
    head, *blocks = re.split(r"^(?=m=)", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    if not head.startswith("v=0"):
        raise BadOffer("not a session description")
    if not 1 <= len(blocks) <= MAX_SECTIONS:
        raise BadOffer(f"{len(blocks)} media sections")
    session = _attributes(head)
    sections = tuple(_section(block) for block in blocks)
    if len({section.mid for section in sections}) != len(sections):
        raise BadOffer("media sections with the same mid")
    first = _attributes(blocks[0])
    return Offer(
        ufrag=_token(first, session, "ice-ufrag"),
        pwd=_token(first, session, "ice-pwd"),
        fingerprints=_fingerprints(session.get("fingerprint", []) + first.get("fingerprint", [])),
        setup=(first.get("setup") or session.get("setup") or ["actpass"])[0],
        sections=sections,
    )


def _attributes(block: str) -> dict[str, list[str]]:
    """`a=` lines of a block: name -> values in order."""
    found: dict[str, list[str]] = {}
    for line in block.split("\n"):
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            found.setdefault(name, []).append(value.strip())
    return found


def _token(first: dict[str, list[str]], session: dict[str, list[str]], name: str) -> str:
    values = first.get(name) or session.get(name) or [""]
    if not _TOKEN.fullmatch(values[0]):
        raise BadOffer(f"no {name}")
    return values[0]


def _fingerprints(values: Iterable[str]) -> tuple[tuple[str, str], ...]:
    pairs = [tuple(value.split(" ", 1)) for value in values]
    found = tuple((pair[0].lower(), pair[1].strip()) for pair in pairs if len(pair) == 2)
    if not found:
        raise BadOffer("no fingerprint")
    return found[:4]


def _section(block: str) -> Section:
    words = block.split("\n", 1)[0][2:].split()
    if len(words) < 4:
        raise BadOffer("malformed m-line")
    attributes = _attributes(block)
    mid = attributes.get("mid", [""])[0]
    if not _TOKEN.fullmatch(mid):
        raise BadOffer("a media section without mid")
    port, kind = words[1], words[0]
    if kind not in ("audio", "video") or "UDP/TLS/RTP/SAVPF" not in words[2] or "rtcp-mux" not in attributes:
        kind = "other" if kind not in ("audio", "video", "application") else kind
        return Section(kind, mid, "inactive")
    closed = port == "0" and "bundle-only" not in attributes
    return Section(
        kind,
        mid,
        "inactive" if closed else _direction(attributes),
        _codecs(attributes, words[3:]),
        _extensions(attributes.get("extmap", [])),
        _rids(attributes),
        _ssrcs(attributes.get("ssrc", [])),
        _repairs(attributes.get("ssrc-group", [])),
    )


def _direction(attributes: dict[str, list[str]]) -> str:
    return next((d for d in ("sendonly", "recvonly", "inactive") if d in attributes), "sendrecv")


def _codecs(attributes: dict[str, list[str]], order: list[str]) -> tuple[Codec, ...]:
    params = {value.partition(" ")[0]: _params(value.partition(" ")[2]) for value in attributes.get("fmtp", [])}
    found: dict[str, Codec] = {}
    for value in attributes.get("rtpmap", [])[:_MAX_CODECS]:
        match = re.fullmatch(r"(\d{1,3}) ([\w-]{1,32})/(\d{1,6})(?:/(\d))?", value)
        if match and int(match[1]) < 128:
            pt, name, clock, channels = match.groups()
            name = _SPELLING.get(name.lower(), name)
            found[pt] = Codec(int(pt), name, int(clock), int(channels or 1), params.get(pt, {}))
    return tuple(found[pt] for pt in dict.fromkeys(order) if pt in found)


def _params(text: str) -> dict[str, str]:
    pairs = (item.strip().partition("=") for item in text.split(";")[:32])
    return {name.lower(): value for name, _, value in pairs if name}


def _extensions(values: list[str]) -> dict[str, int]:
    found = {}
    for value in values[:64]:
        match = re.match(r"(\d{1,2})(?:/\w+)? (\S+)", value)
        if match and 1 <= int(match[1]) <= 14 and match[2] in KNOWN_EXTENSIONS:
            found[match[2]] = int(match[1])
    return found


def _rids(attributes: dict[str, list[str]]) -> tuple[str, ...]:
    """Layers in the order of `a=simulcast:send`; alternatives (`,`) count once, paused ones (`~`) are taken too."""
    lines = attributes.get("simulcast", [])
    match = re.search(r"send (\S+)", lines[0]) if lines else None
    declared = {value.split(" ")[0] for value in attributes.get("rid", []) if " send" in value}
    names = [layer.split(",")[0].lstrip("~") for layer in match[1].split(";")] if match else []
    return tuple(name for name in names if name in declared and _TOKEN.fullmatch(name))[:_MAX_RIDS]


def _ssrcs(values: list[str]) -> tuple[int, ...]:
    words = dict.fromkeys(value.split(" ")[0] for value in values[:64])
    return tuple(int(word) for word in words if re.fullmatch(r"\d{1,10}", word))


def _repairs(values: list[str]) -> dict[int, int]:
    found = {}
    for value in values[:16]:
        match = re.fullmatch(r"FID (\d{1,10}) (\d{1,10})", value)
        if match:
            found[int(match[2])] = int(match[1])
    return found


# --- choosing -------------------------------------------------------------------------------------------------------


def usable(section: Section, preferred: Sequence[str] = (VP8, H264)) -> tuple[Codec, ...]:
    """Payload types of a section that the box forwards, best first; one per codec name."""
    names = (OPUS,) if section.kind == "audio" else preferred
    chosen = []
    for name in names:
        fitting = [codec for codec in section.codecs if codec.name == name and _fits(codec)]
        fitting.sort(key=lambda codec: codec.params.get("profile-level-id", _CONSTRAINED)[:4].lower() != _CONSTRAINED)
        chosen += fitting[:1]
    return tuple(chosen)


def _fits(codec: Codec) -> bool:
    if codec.name == OPUS:
        return codec.clock == 48000
    if codec.name != H264:
        return codec.clock == 90000
    profile = codec.params.get("profile-level-id", _BASELINE)
    return codec.params.get("packetization-mode") == "1" and _is_baseline(profile)


def _is_baseline(profile: str) -> bool:
    """Baseline or constrained baseline, however an encoder writes it: 42e01f (browsers), 42c00c (GStreamer) …"""
    if not re.fullmatch("[0-9a-fA-F]{6}", profile):
        return False
    kind, constraints, _level = bytes.fromhex(profile)
    return any(kind == idc and constraints & (needs | 0x0F) == needs for idc, needs in _H264_PROFILES)


def repair_types(section: Section, media: Iterable[Codec]) -> dict[int, int]:
    """Retransmission payload type -> payload type that it repairs."""
    wanted = {str(codec.pt): codec.pt for codec in media}
    return {
        codec.pt: wanted[codec.params["apt"]]
        for codec in section.codecs
        if codec.name.lower() == "rtx" and codec.params.get("apt") in wanted
    }


# --- answering ------------------------------------------------------------------------------------------------------


def answer(
    offer: Offer, local: Local, slots: Mapping[str, Slot], refused: Iterable[str], preferred: Sequence[str]
) -> str:
    """The answer's text.

    `slots` has the mids that the client receives on; `refused` the mids that are turned down. A section is also turned
    down when it has no codec in common.
    """
    turned_down = {*refused, *(s.mid for s in offer.sections if not usable(s, preferred) or s.direction == "inactive")}
    kept = [section for section in offer.sections if section.mid not in turned_down]
    lines = [
        "v=0",
        f"o=- {local.session} 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "a=group:BUNDLE " + " ".join(section.mid for section in kept),
        "a=msid-semantic: WMS *",
    ]
    for section in offer.sections:
        if section.mid in turned_down:
            lines += _turned_down(section)
        else:
            lines += _section_head(section, offer, local, preferred) + _section_body(section, slots, preferred)
    return "\r\n".join(lines) + "\r\n"


def _turned_down(section: Section) -> list[str]:
    protocol = "UDP/DTLS/SCTP webrtc-datachannel" if section.kind == "application" else "UDP/TLS/RTP/SAVPF 0"
    kind = "audio" if section.kind == "other" else section.kind
    return [f"m={kind} 0 {protocol}", "c=IN IP4 0.0.0.0", f"a=mid:{section.mid}", "a=inactive"]


def _section_head(section: Section, offer: Offer, local: Local, preferred: Sequence[str]) -> list[str]:
    types = [str(codec.pt) for codec in usable(section, preferred)]
    if section.sends:
        types += [str(pt) for pt in repair_types(section, usable(section, preferred))]
    lines = [
        f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(types)}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.pwd}",
        *(f"a=fingerprint:{name} {value}" for name, value in local.fingerprints),
        "a=setup:active" if offer.setup == "passive" else "a=setup:passive",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    for index, (host, port) in enumerate(local.candidates):
        lines.append(f"a=candidate:{index + 1} 1 udp {2130706431 - index * 256} {host} {port} typ host")
    return [*lines, "a=end-of-candidates"]


def _section_body(section: Section, slots: Mapping[str, Slot], preferred: Sequence[str]) -> list[str]:
    slot = slots.get(section.mid)
    sends = section.sends and slot is None
    wanted = (rtp.MID, rtp.RID, rtp.REPAIRED_RID, rtp.AUDIO_LEVEL) if sends else (rtp.SEND_TIME,)
    lines = ["a=recvonly" if sends else "a=sendonly"]
    lines += [f"a=extmap:{section.extensions[uri]} {uri}" for uri in wanted if uri in section.extensions]
    for codec in usable(section, preferred):
        lines += _codec_lines(codec)
    if sends:
        for pt, repaired in repair_types(section, usable(section, preferred)).items():
            lines += [f"a=rtpmap:{pt} rtx/90000", f"a=fmtp:{pt} apt={repaired}"]
        if section.rids:
            lines += [f"a=rid:{rid} recv" for rid in section.rids]
            lines.append("a=simulcast:recv " + ";".join(section.rids))
    if slot is not None:
        lines += [f"a=msid:{slot.label} {slot.label}", f"a=ssrc:{slot.ssrc} cname:{slot.label}"]
    return lines


def _codec_lines(codec: Codec) -> list[str]:
    if codec.name == OPUS:
        return [f"a=rtpmap:{codec.pt} opus/48000/2", f"a=fmtp:{codec.pt} minptime=10;useinbandfec=1;usedtx=1"]
    lines = [f"a=rtpmap:{codec.pt} {codec.name}/{codec.clock}"]
    if codec.params:
        kept = ("level-asymmetry-allowed", "packetization-mode", "profile-level-id")
        pairs = [f"{name}={codec.params[name]}" for name in kept if name in codec.params]
        lines += [f"a=fmtp:{codec.pt} " + ";".join(pairs)] if pairs else []
    return lines + [f"a=rtcp-fb:{codec.pt} {feedback}" for feedback in ("goog-remb", "ccm fir", "nack", "nack pli")]
