"""An address as a QR code of letters, for the telephone of whoever stands before the screen."""

from __future__ import annotations

from functools import lru_cache

from edge_agent.tui.rows import Row, Span, row

QUIET = 2
"""Light modules around it: half of what the standard wants, and enough for a screen."""
HALVES = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
"""Light above, light below. What is light is drawn: most terminals are dark."""


def qr(link: str, columns: int, *, marks: bool) -> list[Row]:
    """Half blocks, or where the font has none two letters for a module; nothing where there is no room."""
    lines = _halves(link) if marks else _twins(link)
    if not lines or len(lines[0]) + 1 > columns:
        return []
    return [row(" ", Span(line, "qr")) for line in lines]


@lru_cache(maxsize=4)
def _light(link: str) -> list[list[bool]]:
    """The lowest correction, since a screen has no scratches."""
    import segno

    code = segno.make(link, error="l", boost_error=False, micro=False)
    return [[not module for module in line] for line in code.matrix_iter(border=QUIET)]


def _halves(link: str) -> list[str]:
    light = _light(link)
    below = [*light[1::2], [False] * len(light[0])] if len(light) % 2 else light[1::2]
    pairs = zip(light[::2], below, strict=True)
    return ["".join(HALVES[pair] for pair in zip(above, under, strict=True)) for above, under in pairs]


def _twins(link: str) -> list[str]:
    return ["".join("##" if module else "  " for module in line) for line in _light(link)]
