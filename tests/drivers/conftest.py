"""Fixtures of the driver tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a coroutine to its end, on both event loops: uvloop is the one in use."""
    chosen = asyncio.run if request.param == "asyncio" else uvloop.run
    return lambda main: chosen(asyncio.wait_for(main, 20))
