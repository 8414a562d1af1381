"""What is said of a Modbus device that gives nothing: why, and when it is asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drivers.driver import Trouble
from drivers.quarantine import Cause
from edge_agent.look import wire_lines
from edge_agent.point_now import Wire
from edge_agent.status import failing_device
from edge_agent.text import texts

TEXTS = Path(__file__).parents[2] / "edge_agent" / "text"


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("language", ["vi", "en"])
def test_next_try_of_every_cause(cause: Cause, language: str) -> None:
    """Whatever is wrong with a device, the sentence says when it is asked again."""
    sentences = json.loads((TEXTS / f"{language}.json").read_text(encoding="utf-8"))
    assert "{next:duration}" in sentences[f"trouble.device_{cause.value}"]
    assert sentences[f"cause_now.{cause.value}"]


def test_failing_device_for_scripts() -> None:
    """`edge status --json` has the cause and the seconds to the next try as fields."""
    facts: dict[str, str | int | float] = {"device": "met-1", "bus": "line-1", "unit": 1, "next": 31.44}
    found = failing_device(Trouble("device_garbled", "met-1", 1e9, facts, failed=True))
    assert (found.device, found.bus, found.cause, found.partly) == ("met-1", "line-1", "garbled", False)
    assert found.next_try_s == 31.4


def test_point_of_a_failing_device() -> None:
    """`edge point` says why its device gives nothing now, and when it is asked again."""
    counts = {"requests_ok": 5, "timeouts": 9, "garbled": 0, "exceptions": 0, "late": 0}
    place = {"bus": "line-1", "where": "/dev/ttyUSB0", "unit": 1, "profile": "xy-md02", "function": 4, "address": 1}
    about = {"count": 1, "type": "u16", "order": "ABCD", "scale": 0.1, "raw": "", "block": "1 +2", "traps": []}
    rest = {"last_error": "timeout", "last_ok": None, "answer_ms": None, "cause": "silent", "next_try_s": 40.0}
    lines = wire_lines(Wire(**place, **about, **counts, **rest), texts("en"))  # type: ignore[arg-type]
    assert "Now: no answer; next try in 40 seconds" in lines
