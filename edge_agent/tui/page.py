"""The widget that shows rows: it draws only what changed, for on a slow line every letter costs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from edge_agent.show import width
from edge_agent.tui.rows import Row, Span, with_twins

PAINTS = {
    "good": Style(color="green"),
    "attention": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
    "dim": Style(dim=True),
    "strong": Style(bold=True),
    "title": Style(color="cyan", bold=True),
    "bar": Style(reverse=True),
    "qr": Style(color="bright_white", bgcolor="black"),
}
"""The terminal's own colours: few bytes, and readable on whatever background it has."""
SELECTED = Style(reverse=True)


class Painter:
    """From rows to what the terminal draws."""

    def __init__(self, *, marks: bool, colour: bool) -> None:
        """`marks`: the font has our marks. `colour`: False leaves bold, dim and reverse only."""
        self.marks, self._colour = marks, colour

    def strip(self, row: Row, columns: int, over: Style | None = None) -> Strip:
        """One line, as wide as the terminal; `over` lies above every style."""
        segments = [Segment(self._letters(span.text), self._style(span.style, over)) for span in row.spans]
        return Strip(segments).adjust_cell_length(columns, over or Style.null())

    def _letters(self, text: str) -> str:
        return text if self.marks else with_twins(text)

    def _style(self, words: str, over: Style | None) -> Style:
        style = Style.combine([Style.null(), *(PAINTS[word] for word in words.split())])
        if not self._colour:
            style = Style(bold=style.bold, dim=style.dim, reverse=style.reverse)
        return style + over if over else style


class Page(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows below each other; the cursor stands on rows that have a key."""

    DEFAULT_CSS = "Page { scrollbar-size: 0 0; height: 1fr; }"

    def __init__(self, painter: Painter) -> None:
        """Empty."""
        super().__init__()
        self.painter = painter
        self.rows: Sequence[Row] = ()
        self.cursor = -1
        """Index of the selected row, -1: none."""
        self._wish = ""
        """The thing to stand on, while its row has not come yet."""

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def first(self) -> Row | None:
        """The first row in sight that leads somewhere: what Enter is for while nothing is selected."""
        top = self.scroll_offset.y
        return next((row for row in self.rows[top : top + self.size.height] if row.leads), None)

    def show(self, rows: Sequence[Row], select: str = "") -> None:
        """New rows; the cursor stays on its thing, or goes to `select` (as soon as that has a row)."""
        held = select or self._wish or (self.selected.key if self.selected else "")
        before, seen = self._visible(), self._in_sight()
        self.rows = rows
        self.cursor = found(rows, held) if held else -1
        self._wish = "" if self.selected and belongs(self.selected.key, held) else held
        size = Size(self.size.width, len(rows))
        if size != self.virtual_size:
            self.virtual_size = size
        if select or seen:
            self._follow()
        self._redraw(before)

    def move(self, step: int) -> None:
        """The cursor to the next thing that can be selected; past the last one the page scrolls."""
        before, self._wish = self._visible(), ""
        wanted = range(self.cursor + step, len(self.rows) if step > 0 else -1, step)
        found = next((i for i in wanted if self.rows[i].key), None)
        if found is None or abs(found - self.cursor) > max(1, self.size.height) > 0 <= self.cursor:
            self._scroll(self.scroll_offset.y + step)
        if found is not None:
            self.cursor = found
            self._follow()
        self._redraw(before)

    def turn(self, pages: int) -> None:
        """Scroll by whole pages."""
        self._scroll(self.scroll_offset.y + pages * max(1, self.size.height - 1))

    def to_top(self) -> None:
        """A new place begins above."""
        self.cursor, self._wish = -1, ""
        self._scroll(0)

    def to_end(self) -> None:
        """The newest line, for the log."""
        self._scroll(max(0, len(self.rows) - self.size.height))

    def render_line(self, y: int) -> Strip:
        """One line of what is visible."""
        at = y + self.scroll_offset.y
        if not 0 <= at < len(self.rows):
            return Strip.blank(self.size.width)
        strip = self.painter.strip(self.rows[at], self.size.width, SELECTED if at == self.cursor else None)
        below = self.scroll_offset.y + self.size.height
        words = f" ↓{len(self.rows) - below} "
        return strip if y != self._signed(below, len(words)) else self._with(strip, words)

    def _signed(self, below: int, room: int) -> int:
        """The line that says how many stand below the page: the last with room for it; -1: none."""
        if below >= len(self.rows):
            return -1
        last = range(below - 1, max(below - 4, self.scroll_offset.y), -1)
        at = next((i for i in last if width(self.rows[i].plain) <= self.size.width - room), -1)
        return at - self.scroll_offset.y if at >= 0 else -1

    def _with(self, strip: Strip, words: str) -> Strip:
        sign = self.painter.strip(Row((Span(words, "bar"),)), len(words))
        return Strip.join([strip.crop(0, self.size.width - sign.cell_length), sign])

    def _follow(self) -> None:
        top, height = self.scroll_offset.y, max(1, self.size.height)
        first = 0 if not any(row.key for row in self.rows[: self.cursor]) else self.cursor
        if first < top:
            self._scroll(first)
        elif self.cursor >= top + height:
            self._scroll(self.cursor - height + 1)

    def _in_sight(self) -> bool:
        return 0 <= self.cursor - self.scroll_offset.y < self.size.height

    def _scroll(self, top: int) -> None:
        # At once: a scroll put off until after the next picture would undo the one that follows it.
        self.scroll_to(y=top, animate=False, force=True, immediate=True)

    def _visible(self) -> list[Strip]:
        return [self.render_line(y) for y in range(self.size.height)]

    def _redraw(self, before: Sequence[Strip]) -> None:
        redraw(self, before, self._visible())


def found(rows: Sequence[Row], thing: str) -> int:
    """The row of a thing: its own, else one of what belongs to it (a point of a device), else one that names it."""
    keys = [row.key for row in rows]
    if thing in keys:
        return keys.index(thing)
    fits = (lambda key: key.startswith(f"{thing}."), lambda key: belongs(key, thing), bool)
    return next((i for fit in fits for i, key in enumerate(keys) if fit(key)), -1)


def belongs(key: str, thing: str) -> bool:
    """True for the row of the thing, of a part of it, and one that names it."""
    return key == thing or key.startswith(f"{thing}.") or thing in key.split()


class Bar(Widget):
    """One line at the top or the bottom."""

    DEFAULT_CSS = "Bar { height: 1; }"

    def __init__(self, painter: Painter) -> None:
        """Empty."""
        super().__init__()
        self._painter = painter
        self._row = Row()

    def show(self, row: Row) -> None:
        """A new line."""
        before = [self.render_line(0)]
        self._row = row
        redraw(self, before, [self.render_line(0)])

    def render_line(self, y: int) -> Strip:
        """The line."""
        return self._painter.strip(self._row, self.size.width)


def redraw(widget: Widget, before: Sequence[Strip], after: Sequence[Strip]) -> None:
    """Ask for the parts of lines that differ, and for nothing else."""
    changed = [
        Region(first, y, last - first, 1)
        for y, (old, new) in enumerate(zip(before, after, strict=True))
        if (span := changed_cells(old, new)) is not None
        for first, last in [span]
    ]
    if changed:
        widget.refresh(*changed)


def changed_cells(old: Strip, new: Strip) -> tuple[int, int] | None:
    """First column that differs and the one after the last; None where nothing does."""
    if old == new:
        return None
    one, two = _cells(old), _cells(new)
    if len(one) != len(two):
        return 0, max(len(one), len(two))
    differing = [i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    return (differing[0], differing[-1] + 1) if differing else None


def _cells(strip: Strip) -> list[tuple[str, Style | None]]:
    return [(letter, segment.style) for segment in strip for letter in segment.text]
