"""Bad HTTP at the guarded port: how far it gets, and what of it reaches the log."""

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

from conference import guard
from tests.conference.floods import opened, sends
from tests.conference.live import live

GET = b"GET /api/home HTTP/1.1\r\nHost: x\r\nX: upgrade: websocket\r\n\r\n"


def test_connection_that_only_speaks_of_a_websocket(tmp_path: Path) -> None:
    """A header's text frees nothing: it is cut off at the limit of bytes like any other."""

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            reader, writer = await opened(meeting)
            served = 0
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                for _ in range(2 * guard.MAX_BYTES // len(GET)):
                    writer.write(GET)
                    await reader.readuntil(b"}")
                    served += 1
            assert 0 < served <= guard.MAX_BYTES // len(GET)
            writer.close()

    asyncio.run(scenario())


def test_log_of_requests_that_are_no_http(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line a minute, short, without what the request said: it may have been a ticket."""
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with live(tmp_path) as meeting:
            bad = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer the-ticket\x00\r\n\r\n"
            long = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /" + b"the-ticket" * 6000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
            for at in range(20):
                assert b" 400 " in await sends(meeting, bad, at)
                assert b" 400 " in await sends(meeting, long, at)

    asyncio.run(scenario())
    found = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert len(found) == 1
    assert found[0].getMessage() == "bad requests count=1 error=BadHttpMessage"
    assert "the-ticket" not in caplog.text


def test_fault_of_our_own_is_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    """Only what a client did wrong is shortened."""
    try:
        raise LookupError("ours")
    except LookupError:
        guard.quiet_log().exception("Error handling request")
    assert "LookupError: ours" in caplog.text
