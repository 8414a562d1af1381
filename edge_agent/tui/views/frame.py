"""What every view is given besides the picture: words, room, time, and what the technician chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent.show import width
from edge_agent.text import Text
from edge_agent.tui.picture import Known, Picture
from edge_agent.tui.rows import PHONE, Piece, Place, Row, Span, aged, bare, paragraph, row, stated
from edge_agent.tui.runs import Run

if TYPE_CHECKING:
    from edge_agent.trial_now import ConfigNow


class Frame(msgspec.Struct, frozen=True):
    """One moment of one terminal."""

    text: Text
    columns: int
    now: float
    """Monotonic seconds."""
    wall: datetime
    """The same moment on the clock, in the site's time zone."""
    place: Place = Place()
    find: str = ""
    """Only rows that contain this, in any case."""
    sort: str = "worst"
    """worst or name."""
    level: str = "all"
    """From which level on the log is shown: all, warning, error."""
    interval: float = 1.0
    """Seconds between refreshes."""
    paused: bool = False
    marks: bool = True
    """The font has our marks and half blocks."""
    plain: bool = False
    """Lines are printed; what only a full screen can do is not offered."""
    maintain: str = ""
    """Name of the technician who may change things; empty: read-only."""

    @property
    def narrow(self) -> bool:
        """A phone."""
        return self.columns < PHONE

    def fits(self, words: str) -> bool:
        """The filter lets it through; one that is typed without marks finds words with marks too."""
        wanted = self.find.casefold()
        return wanted in words.casefold() or wanted in bare(words)


View = Callable[[Picture, Frame], list[Row]]


class Screen(msgspec.Struct, frozen=True):
    """One of the eight."""

    name: str
    rows: View
    needs: tuple[str, ...]
    """Questions, by their names in the picture."""


def away(picture: Picture, frame: Frame) -> list[Row]:
    """Why nothing new comes, and what to try; empty while the agent answers."""
    text = frame.text
    if picture.away is None and picture.old(frame.now, frame.interval):
        return [row(" ", stated("old", text("tui.screen_old", ago=picture.age(frame.now) or 0))), row()]
    if picture.away is None:
        return []
    facts = {"socket": str(picture.socket), "file": str(picture.file), "ago": frame.now - picture.away.since}
    head = paragraph(text(f"tui.away.{picture.away.what}", **facts), frame.columns - 4)
    mark = stated("failed", "").text
    found = [row(Span(f" {mark if i == 0 else ' '} {line.plain}", "bad")) for i, line in enumerate(head)]
    return found + paragraph(text(f"tui.away.{picture.away.what}.try", **facts), frame.columns - 1, 3) + [row()]


def unknown(known: Known[Any], picture: Picture, frame: Frame) -> list[Row]:
    """What stands where an answer is missing: being asked, not built, or failed."""
    if known.fault == "missing":
        return paragraph(frame.text("tui.missing"), frame.columns - 1, 1, "dim")
    if known.fault:
        return paragraph(frame.text("tui.failed", error=known.fault), frame.columns - 1, 1, "bad")
    if picture.away:
        return []
    return [row(Span(f" {frame.text('tui.asking')}", "dim"))]


PAINTED = {"●": "good", "▲": "attention", "✖": "bad"}


def letters_of(columns: int) -> int:
    """How long the lines of a command may be on a page so wide: as `told` shows them, longer ones would break twice."""
    return columns - 2


def told(run: Run, frame: Frame) -> list[Row]:
    """The lines of a command, those with a mark in its colour."""
    words = f"edge {' '.join(run.words)}"
    if run.running:
        state = frame.text("tui.run.running")
    else:
        state = frame.text("tui.run.done", ago=frame.now - (run.at or frame.now))
    found = [row(Span(f" {words}", "strong"), Span(f"  {state}", "dim"))]
    if width(found[0].plain) > frame.columns:
        found = [*paragraph(words, frame.columns - 1, 1, "strong"), *paragraph(state, frame.columns - 1, 1, "dim")]
    for line in run.lines:
        if frame.fits(line):
            style = PAINTED.get(line.strip()[:1], "")
            indent = len(line) - len(line.lstrip())
            found += paragraph(line.strip(), frame.columns - 1, indent + 1, style) or [row()]
    return found


def as_old(pairs: Sequence[tuple[str, Piece]], picture: Picture, frame: Frame) -> list[tuple[str, Piece]]:
    """Names and values; once the agent has stopped answering none of them looks fresh."""
    if not picture.old(frame.now, frame.interval):
        return list(pairs)
    return [(name, aged(piece)) for name, piece in pairs]


def left_of_trial(picture: Picture, frame: Frame) -> float | None:
    """Seconds in which a configuration on trial must be confirmed; None: no trial."""
    now: ConfigNow | None = picture.config.value
    if now is None or now.trial_by is None:
        return None
    return max(0.0, now.left_s - (frame.now - (picture.config.at or frame.now)))


def title(words: str, columns: int) -> Row:
    """A heading with a rule to the right edge."""
    line = "─" * max(0, min(columns, 100) - len(words) - 4)
    return row(Span("─ ", "dim"), Span(words, "title"), Span(f" {line}", "dim"))


def clock(frame: Frame, ago: float) -> str:
    """The time of day so many seconds ago; with the date where that was another day."""
    from datetime import timedelta

    moment = frame.wall - timedelta(seconds=ago)
    return moment.strftime("%H:%M" if moment.date() == frame.wall.date() else "%d/%m %H:%M")
