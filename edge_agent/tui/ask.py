"""Asks the agent over its control socket, without ever holding up the screen."""

from __future__ import annotations

import asyncio
import http
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.client import Failed, NotAllowed, NotRunning

LIMIT = 4.0
"""Seconds for an answer; a stopped agent must be noticed within ten."""
MOST_BYTES = 16 << 20


class NotThere(Exception):
    """This agent has no such part."""


class Refused(Exception):
    """The agent understood and will not; the message is for the person."""


class Silent(Exception):
    """The agent takes the question and does not answer."""


async def ask(socket: Path, question: str, kind: Any, body: object = None, token: str = "") -> Any:
    """The decoded answer. A question may begin with its verb; with a body it is POST. `token`: of the maintenance lock.

    Raises NotRunning, NotAllowed, Silent, NotThere, Refused or Failed.
    """
    try:
        async with asyncio.timeout(LIMIT):
            raw = await _exchange(socket, question, body, token)
    except TimeoutError:
        raise Silent(question) from None
    except PermissionError as fault:
        raise NotAllowed(str(socket)) from fault
    except (OSError, EOFError, ValueError) as fault:
        raise NotRunning(str(fault)) from fault
    return _decoded(raw, kind)


async def _exchange(socket: Path, question: str, body: object, token: str) -> bytes:
    """HTTP/1.0: the answer ends where the connection ends, so that no chunk needs to be counted."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=1 << 20)
    verb, _, path = question.rpartition(" ")
    verb = verb or ("GET" if body is None else "POST")
    sent = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = [f"{verb} {path} HTTP/1.0", "Host: edge", f"Content-Length: {len(sent)}"]
    if token:
        lines.append(f"X-Maintain: {token}")
    head = "\r\n".join([*lines, "", ""])
    try:
        writer.write(head.encode() + sent)
        await writer.drain()
        return await _all_of(reader)
    finally:
        writer.close()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await reader.read(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise Failed("answer too long")
    return b"".join(parts)


class _Refusal(msgspec.Struct):
    sentence: str = ""


def _sentence(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Refusal).sentence
    except msgspec.MsgspecError:
        return ""


def _decoded(raw: bytes, kind: Any) -> Any:
    head, found, body = raw.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not found or len(words) < 2 or not words[1].isdigit():
        raise NotRunning("no HTTP answer")
    status = int(words[1])
    said = body[:300].decode("utf-8", "replace")
    if status in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.METHOD_NOT_ALLOWED) and not body.startswith(b"{"):
        raise NotThere(said)
    if 400 <= status < 500:
        raise Refused(_sentence(body) or said)
    if status != http.HTTPStatus.OK:
        raise Failed(f"{status} {said}")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as fault:
        raise Failed(str(fault)) from fault
