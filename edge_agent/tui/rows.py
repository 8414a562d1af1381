"""What a screen shows: rows of styled text. Views make them; the terminal or plain print draws them."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from edge_agent.show import MARKS, width
from edge_agent.text import SPACE

NOTHING: Mapping[str, str] = {}
PHONE = 72
"""Columns: on narrower terminals things stand below each other."""
LEAST_NAME = 22
"""Columns."""
SPARKS = "▁▂▃▄▅▆▇█"
TWINS = str.maketrans(
    dict(
        zip(
            "●▲✖○◌░…–—·│─┌┐└┘├┤×→↓↑⏎≤≥µ°²³“”‘’" + SPARKS + SPACE,
            "+!xoo..--.|-++++++x>v^^<>uo23\"\"''" + "__..--=# ",
            strict=True,
        )
    )
)
"""Every mark has a twin of one ASCII letter, so that columns stay where they are."""
AMID = re.compile(r"(?<=\S)…(?=\S)")
"""A name without its middle: a dot for it would look like the dots of the name."""
STATE_MARKS = MARKS | {"down": "✖", "refusing": "✖", "throttled": "▲", "up": "●"}
STATE_MARKS |= {"unavailable": "○", "left_out": "○", "old": "◌"}
"""Shape of each state; a word always stands beside it."""
FRESH_MARKS = "●▲✖"
"""Marks that say how something is now."""
STATE_STYLES = {
    "good": "good", "ok": "good", "up": "good",
    "uncertain": "attention", "attention": "attention", "throttled": "attention",
    "bad": "bad", "failed": "bad", "down": "bad", "refusing": "bad",
    "unavailable": "dim", "left_out": "dim", "old": "dim",
}  # fmt: skip


class Span(msgspec.Struct, frozen=True):
    """A piece of a row."""

    text: str
    style: str = ""
    """good, attention, bad, dim, strong, title, or empty."""


class Place(msgspec.Struct, frozen=True):
    """Where the technician is."""

    screen: str = "overview"
    key: str = ""
    """The thing that is selected."""
    detail: bool = False
    """True: the page of that one thing."""


class Row(msgspec.Struct, frozen=True):
    """One line of the terminal."""

    spans: tuple[Span, ...] = ()
    key: str = ""
    """The thing that the row shows; rows with a key can be selected."""
    leads: Place | None = None
    """Where Enter goes."""

    @property
    def plain(self) -> str:
        """The text alone."""
        return "".join(span.text for span in self.spans).rstrip()


Piece = Span | str
Cell = tuple[Span, ...]


def row(*pieces: Piece, key: str = "", leads: Place | None = None) -> Row:
    """A row of pieces."""
    return Row(tuple(Span(piece) if isinstance(piece, str) else piece for piece in pieces), key, leads)


def stated(state: str, words: str) -> Span:
    """A state as shape, word and colour."""
    return Span(f"{STATE_MARKS.get(state, '')} {words}".strip(), STATE_STYLES.get(state, ""))


def aged(piece: Piece) -> Span:
    """The same as of long ago: nothing about it looks fresh, whatever its state was."""
    words = piece if isinstance(piece, str) else piece.text
    mark, _, rest = words.partition(" ")
    return Span(f"{STATE_MARKS['old']} {rest}" if rest and mark in FRESH_MARKS else words, "dim")


def cell(piece: Piece) -> Cell:
    """A cell of a table."""
    return (Span(piece) if isinstance(piece, str) else piece,)


def paragraph(words: str, columns: int, indent: int = 0, style: str = "", key: str = "") -> list[Row]:
    """Text in lines of at most so many columns."""
    space = " " * indent
    filled = textwrap.wrap(
        words, max(10, columns), initial_indent=space, subsequent_indent=space, break_on_hyphens=False
    )
    return [row(Span(line, style), key=key) for line in filled]


def fields(pairs: Iterable[tuple[str, Piece]], columns: int, keys: Mapping[str, str] = NOTHING) -> list[Row]:
    """Names and values below each other; a value that is too long goes on below itself. `keys`: by names."""
    known = list(pairs)
    room = min(24, max((width(name) for name, _ in known), default=0)) + 2
    found: list[Row] = []
    for name, piece in known:
        span = piece if isinstance(piece, Span) else Span(piece)
        key = keys.get(name, "")
        if columns < PHONE and width(span.text) > columns - room - 1:
            found += [row(f" {name}", key=key), *paragraph(span.text, columns - 1, 3, span.style)]
            continue
        lines = paragraph(span.text, columns - room - 1) or [row()]
        head = name if width(name) < room else name[: room - 2] + "…"
        found.append(row(f" {head}{' ' * (room - width(head))}", Span(lines[0].plain, span.style), key=key))
        found += [row(" " * (room + 1), Span(line.plain, span.style)) for line in lines[1:]]
    return found


class Line(msgspec.Struct, frozen=True):
    """A row of a table before its columns are known."""

    cells: tuple[Cell, ...]
    key: str = ""
    leads: Place | None = None


def table(
    head: Sequence[str],
    lines: Sequence[Line],
    columns: int,
    right: Sequence[int] = (),
    shortest: Sequence[tuple[int, int]] = (),
) -> list[Row]:
    """Columns as wide as their widest cell.

    Where the terminal is too narrow, columns are cut in the order of `shortest`, each down to so many letters; then
    names (the first column) lose their middle; then the last columns are left out.
    """
    top = Line(tuple((Span(name, "dim"),) for name in head))
    widths = [max(_width(line.cells[i]) for line in (top, *lines)) for i in range(len(head))]
    for i, low in shortest:
        over = sum(widths) + 2 * len(widths) - 1 - columns
        widths[i] = max(min(widths[i], low), widths[i] - max(0, over))
    least = min(widths[0], LEAST_NAME)
    while len(widths) > 1 and least + sum(widths[1:]) + 2 * len(widths) - 1 > columns:
        widths.pop()
    widths[0] = min(widths[0], columns - sum(widths[1:]) - 2 * len(widths) + 1)
    return [_laid_out(line, widths, right) for line in (top, *lines)]


def _laid_out(line: Line, widths: Sequence[int], right: Sequence[int]) -> Row:
    spans = [Span(" ")]
    for i, wide in enumerate(widths):
        spans += _padded(line.cells[i], wide, i in right)
        if i < len(widths) - 1:
            spans.append(Span("  "))
    return Row(tuple(spans), line.key, line.leads)


def _padded(pieces: Cell, wide: int, flush_right: bool) -> list[Span]:
    space = wide - _width(pieces)
    if space < 0:
        return [Span(cut("".join(piece.text for piece in pieces), wide), pieces[0].style)]
    fill = [Span(" " * space)] if space else []
    return [*fill, *pieces] if flush_right else [*pieces, *fill]


def shortened(text: str, wide: int) -> str:
    """A name without its middle: both ends tell things apart."""
    if len(text) <= wide:
        return text
    end = min(wide // 2, 14)
    return f"{text[: wide - end - 1]}…{text[len(text) - end :]}"


def cut(text: str, wide: int) -> str:
    """A sentence without its end, a name without its middle."""
    return shortened(text, wide) if " " not in text or len(text) <= wide else f"{text[: wide - 1].rstrip()}…"


def _width(pieces: Cell) -> int:
    return sum(width(piece.text) for piece in pieces)


def sparkline(values: Sequence[float | None], columns: int) -> str:
    """The course of the values as heights, squeezed into so many columns; a gap where there was none."""
    if len(values) > columns:
        size = len(values) / columns
        groups = [values[int(i * size) : int((i + 1) * size)] for i in range(columns)]
        values = [next((value for value in reversed(group) if value is not None), None) for group in groups]
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(SPARKS) - 1) or 1.0
    return "".join(" " if value is None else SPARKS[round((value - low) / step)] for value in values)


def in_ascii(text: str) -> str:
    """For terminals without these letters: twins for marks, Vietnamese letters without their marks."""
    parts = unicodedata.normalize("NFD", with_twins(text).replace("đ", "d").replace("Đ", "D"))
    return "".join(letter for letter in parts if not unicodedata.combining(letter)).encode("ascii", "replace").decode()


def bare(text: str) -> str:
    """For searching: small letters without marks, as many as before."""
    return in_ascii(unicodedata.normalize("NFC", text)).casefold()


def with_twins(text: str) -> str:
    """Letters stay, marks become ASCII: for fonts that have one but not the other."""
    return AMID.sub("~", text).translate(TWINS)
