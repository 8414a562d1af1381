"""Client of the control socket for the one-shot commands: plain standard library, so that they start at once."""

from __future__ import annotations

import http
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

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


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("edge", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def follow(control: Path, question: str, answer: type[T] | Any, *, quiet: bool = False) -> Iterator[T | None]:
    """Ask for an answer of many lines; each as it comes. Closing the iterator ends the agent's work.

    With `quiet`, None comes for each line that only says that the work goes on.

    Raises NotRunning, NotAllowed or Failed.
    """
    connection = _Connection(control)
    try:
        connection.request("GET", question)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise Failed(f"{response.status} {response.read()[:200].decode('utf-8', 'replace')}")
        while line := response.readline():
            if line.strip():
                yield msgspec.json.decode(line, type=answer)
            elif quiet:
                yield None
    except TimeoutError as error:
        raise Failed(f"no answer within {TIMEOUT:.0f} s") from error
    except PermissionError as error:
        raise NotAllowed(str(control)) from error
    except (OSError, http.client.HTTPException) as error:
        raise NotRunning(str(error)) from error
    finally:
        connection.close()


def ask(control: Path, question: str, answer: type[T] | Any) -> T:
    """Ask the agent and decode its answer. Raises NotRunning, NotAllowed or Failed."""
    connection = _Connection(control)
    try:
        connection.request("GET", question)
        response = connection.getresponse()
        body = response.read()
    except TimeoutError as error:
        raise Failed(f"no answer within {TIMEOUT:.0f} s") from error
    except PermissionError as error:
        raise NotAllowed(str(control)) from error
    except (OSError, http.client.HTTPException) as error:
        raise NotRunning(str(error)) from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise Failed(f"{response.status} {body[:200].decode('utf-8', 'replace')}")
    decoded: T = msgspec.json.decode(body, type=answer)
    return decoded
