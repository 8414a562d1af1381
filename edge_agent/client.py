"""Client of the control socket for the one-shot commands: plain standard library, so that they start at once."""

from __future__ import annotations

import http
import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import msgspec

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds for one answer."""


class NotRunning(Exception):
    """No agent answers on the socket."""


class NotAllowed(Exception):
    """The socket belongs to another group."""


class Failed(Exception):
    """The agent answered that it could not."""


class Refused(Failed):
    """The agent does not make this change now."""

    def __init__(self, what: str, sentence: str) -> None:
        """`sentence` is for the person."""
        super().__init__(sentence)
        self.what, self.sentence = what, sentence


class _Refusal(msgspec.Struct):
    what: str
    sentence: str


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("edge", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def follow(
    control: Path, question: str, answer: type[T] | Any, *, quiet: bool = False, **how: Any
) -> Iterator[T | None]:
    """Ask for an answer of many lines; each as it comes. Closing the iterator ends the agent's work.

    With `quiet`, None comes for each line that only says that the work goes on. `how`: see `ask`, which tells
    what is raised too.
    """
    with opened(control, question, **how) as response:
        while line := response.readline():
            if line.strip():
                yield msgspec.json.decode(line, type=answer)
            elif quiet:
                yield None


def ask(
    control: Path,
    question: str,
    answer: type[T] | Any,
    *,
    method: str = "GET",
    body: bytes | None = None,
    token: str = "",
    timeout: float = TIMEOUT,
) -> T:
    """Ask the agent, or with another `method` tell it, and decode its answer; `bytes` stays as it came.

    `token`: of the maintenance lock, for a change. Raises NotRunning, NotAllowed, Refused or Failed.
    """
    with opened(control, question, method=method, body=body, token=token, timeout=timeout) as response:
        found = response.read()
    if answer is bytes:
        return found  # type: ignore[return-value]  # T is bytes
    decoded: T = msgspec.json.decode(found, type=answer)
    return decoded


@contextmanager
def opened(
    control: Path,
    question: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    token: str = "",
    timeout: float = TIMEOUT,
) -> Iterator[http.client.HTTPResponse]:
    """The answer while it still comes. Raises as `ask`."""
    connection = _Connection(control, timeout)
    try:
        connection.request(method, quote(question, safe="/?=&[],:%+;"), body, {"X-Maintain": token} if token else {})
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            _fail(response.status, response.read())
        yield response
    except TimeoutError as error:
        raise Failed(f"no answer within {timeout:.0f} s") from error
    except PermissionError as error:
        raise NotAllowed(str(control)) from error
    except (OSError, http.client.HTTPException) as error:
        raise NotRunning(str(error)) from error
    finally:
        connection.close()


def _fail(status: int, body: bytes) -> NoReturn:
    words = body[:300].decode("utf-8", "replace")
    if status == http.HTTPStatus.CONFLICT:
        try:
            refusal = msgspec.json.decode(body, type=_Refusal)
        except msgspec.DecodeError:
            raise Failed(f"{status} {words}") from None
        raise Refused(refusal.what, refusal.sentence)
    if status == http.HTTPStatus.NOT_FOUND:
        raise Refused("not_found", words)
    raise Failed(f"{status} {words}")
