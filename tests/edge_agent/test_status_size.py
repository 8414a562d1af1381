"""`edge status` stays within its kilobyte, whatever there is to tell."""

from __future__ import annotations

import pytest

from edge_agent.commands import _fitting
from edge_agent.text import texts

LONG = "  - Không kết nối được tới thiết bị trên đường bus → xem dây và nguồn. " * 8


@pytest.mark.parametrize("lines", [[LONG], [LONG, LONG], ["short", LONG], ["short"] * 200], ids=len)
def test_findings_that_do_not_fit(lines: list[str]) -> None:
    """The first is told, cut short if need be; the others as far as there is room, and how many are left out."""
    shown = _fitting(lines, 300, texts("vi"))
    assert len("\n".join(["", *shown]).encode()) <= 300
    assert shown[0].removesuffix("…") == lines[0][: len(shown[0].removesuffix("…"))] != ""
    told = len(shown) if len(shown) == len(lines) else len(shown) - 1
    if told < len(lines):
        assert shown[-1] == "  " + texts("vi")("status.more", count=len(lines) - told)


def test_findings_that_fit() -> None:
    """Nothing is cut, and nothing said of a rest."""
    assert _fitting(["one", "two"], 300, texts("en")) == ["one", "two"]
