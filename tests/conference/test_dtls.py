"""The seam to aiortc and pylibsrtp: every private name that dtls.py uses is there and does what is relied on."""

import inspect

import aiortc
import pylibsrtp
from aiortc import rtcdtlstransport
from aiortc.rtcdtlstransport import RTCDtlsTransport
from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found]

from conference import dtls, rtp


def test_versions_are_the_ones_that_were_read() -> None:
    """A new version means reading its transport again."""
    assert aiortc.__version__ == "1.16.0"
    assert pylibsrtp.__version__ == "1.0.0"


def test_private_names_of_aiortc_exist() -> None:
    """Names of the transport, and how it uses the object below it."""
    source = inspect.getsource(RTCDtlsTransport)
    for name in ("_rx_srtp", "_tx_srtp", "_srtp_profiles", "_role"):
        assert f"self.{name}" in source
    assert list(inspect.signature(RTCDtlsTransport._set_role).parameters) == ["self", "role"]
    assert "self.transport._recv()" in source
    assert "self.transport._send(data)" in source
    assert 'self.emit("statechange")' in source
    for profile in (*dtls.GCM_FIRST, *dtls.CM_FIRST):
        assert profile in rtcdtlstransport.SRTP_PROFILES


def test_private_names_of_pylibsrtp_exist() -> None:
    """The native session and the four functions."""
    for name in ("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp", "srtp_unprotect_rtcp"):
        assert callable(getattr(lib, name))
    assert ffi.typeof(session(b"k" * 30)._srtp[0]) is ffi.typeof("srtp_t")


def session(key: bytes, *, inbound: bool = False) -> Session:
    kind = Policy.SSRC_ANY_INBOUND if inbound else Policy.SSRC_ANY_OUTBOUND
    return Session(Policy(key=key, ssrc_type=kind))


def test_what_is_protected_comes_back() -> None:
    """RTP and RTCP through both directions; a changed packet, a repeated one and a short one are empty."""
    ours = dtls.Srtp(session(b"b" * 30, inbound=True), session(b"a" * 30))
    theirs = dtls.Srtp(session(b"a" * 30, inbound=True), session(b"b" * 30))
    rtp.write_plain(dtls.scratch, 96, 7, 8, 9)
    dtls.scratch[12:17] = b"media"
    size = ours.protect(17)
    sent = bytes(dtls.scratch[:size])
    assert rtp.parse(theirs.unprotect(sent)) == rtp.Packet(7, 8, 9, 96, False, b"media")
    assert theirs.unprotect(sent) == b""
    assert theirs.unprotect(sent[:-1] + b"\0") == b""
    assert theirs.unprotect(b"\x80") == b""
    report = bytes((0x80, 201, 0, 1, 0, 0, 0, 1))
    assert theirs.unprotect_rtcp(ours.protect_rtcp(report)) == report
    assert theirs.unprotect_rtcp(b"\x80\xc9" + bytes(2000)) == b""
