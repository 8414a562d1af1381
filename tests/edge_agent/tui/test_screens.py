"""Every screen in every state, both languages and three sizes, compared with the pictures beside this file.

`EDGE_PICTURES=write pytest tests/edge_agent/tui/test_screens.py` draws them anew, to be looked at in the difference.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import msgspec
import pytest

from edge_agent.show import width
from edge_agent.text import Text, texts
from edge_agent.tui.page import Painter
from edge_agent.tui.picture import Away
from edge_agent.tui.rows import Place
from edge_agent.tui.views import log
from edge_agent.tui.views.frame import Frame
from edge_agent.tui.views.screens import SCREENS, header
from tests.edge_agent.tui.pictures import CHANGING, NOW, STATES, Frozen, picture
from tests.edge_agent.tui.walking import Still

EIGHT = "".join(str(number) for number, _ in enumerate(SCREENS, 1))
FOLDER = Path(__file__).parent / "screens"
SIZES = ((40, 20), (80, 24), (200, 60))
DOCS = Path(__file__).parents[3] / "docs" / "screens"
SHOTS = [
    ("overview", "fault", "1"),
    ("points", "fault", "2"),
    ("scan", "scan", "3"),
    ("uplink", "fault", "4"),
    ("meeting", "ok", "6"),
    ("box", "ok", "8"),
]
WRITE = os.environ.get("EDGE_PICTURES") == "write"


async def drawn(state: str, language: str, size: tuple[int, int], keys: str = EIGHT, maintain: str = "") -> str:
    """The screens of these keys below each other; `maintain`: by whom things are changed."""
    painter, text = Painter(marks=True, colour=True), texts(language, strict=True)
    terminal = Still(picture(state, language), text, painter, Frozen(), maintain)
    terminal._maintain._token = maintain
    parts = []
    async with terminal.run_test(size=size) as pilot:
        for key in keys:
            await pilot.press(key)
            too_wide = [row.plain for row in terminal.rows() if width(row.plain) > size[0]]
            assert not too_wide
            parts.append(terminal.as_text())
    return "\f\n".join(parts)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("state", STATES)
def test_screens_look_as_they_did(state: str, language: str, size: tuple[int, int]) -> None:
    """What a technician sees changes only on purpose, and no line is wider than the terminal."""
    _compare(asyncio.run(drawn(state, language, size)), state, language, size)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("state", CHANGING)
def test_changes_look_as_they_did(state: str, language: str, size: tuple[int, int]) -> None:
    """On every size the countdown and the way back are seen, and who may change things."""
    shown = asyncio.run(drawn(state, language, size, keys="8", maintain="nguyen-van-tuan"))
    _compare(shown, state, language, size)
    text = texts(language, strict=True)
    whole = " ".join(shown.split())
    assert f"[{text('tui.maintain', name='')}" in shown.splitlines()[0]
    trial = text("tui.config.trial", name="tuan.nv", left=118.0)
    assert (trial in whole, text.duration(118) in shown.splitlines()[0]) == (state == "trial", state == "trial")
    assert (text("tui.config.next") in whole) == (state == "candidate")


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("maintain", ["", "nguyen-van-tuan"])
def test_mode_is_always_seen(columns: int, maintain: str) -> None:
    """Whatever else wants the first line: a long name, a filter, a slow line, a pause, a trial, an old screen."""
    known = picture("trial")
    assert known.status.value
    named = msgspec.structs.replace(known.status.value, name="Trạm bơm Nguyễn Thị Minh Khai – cụm đầu mối")
    known.status.take(named, NOW)
    known.away = Away("silent", NOW - 20)
    text = texts("vi", strict=True)
    frame = Frame(text=text, columns=columns, now=NOW, wall=Frozen().wall(), find="mực-nước-cống-2", maintain=maintain)
    frame = msgspec.structs.replace(frame, interval=5.0, paused=True)
    for now in (NOW, NOW + 60):
        shown = header(known, msgspec.structs.replace(frame, now=now)).plain
        assert text("tui.maintain" if maintain else "tui.read_only", name="") in shown
        assert width(shown) <= columns


def _compare(shown: str, state: str, language: str, size: tuple[int, int]) -> None:
    file = FOLDER / f"{size[0]}x{size[1]}-{state}-{language}.txt"
    if WRITE:
        FOLDER.mkdir(exist_ok=True)
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("language", ["vi", "en"])
def test_sentences_a_third_longer_fit(language: str, columns: int) -> None:
    """On every screen, whatever its state and the level of the log: a translation may grow without being cut."""
    longer = Text(language, {key: grown(words) for key, words in texts(language).sentences.items()})
    for state in (*STATES, *CHANGING, "fault", "scan"):
        known = picture(state, language)
        for screen in SCREENS:
            for level in log.CHOICES if screen.name == "log" else ("all",):
                frame = Frame(longer, columns, NOW, Frozen().wall(), Place(screen.name), level=level)
                assert [row.plain for row in screen.rows(known, frame) if width(row.plain) > columns] == []


def grown(words: str) -> str:
    """A third longer: by more words where there are several, else by letters."""
    more = len(words) // 3
    return f"{words}{'x' * more}" if " " not in words else f"{words} {('xxxxx ' * more)[:more]}".rstrip()


@pytest.mark.parametrize("language", ["vi", "en"])
def test_screens_are_never_blank(language: str) -> None:
    """Whatever the state, each screen says something below its first line."""
    for state in STATES:
        for screen in asyncio.run(drawn(state, language, (80, 24))).split("\f\n"):
            assert any(line.strip() for line in screen.splitlines()[1:-1])


@pytest.mark.parametrize(("name", "state", "key"), SHOTS)
def test_documentation_has_its_pictures(name: str, state: str, key: str) -> None:
    """What they show is what is drawn now, by the same command; they load nothing from elsewhere."""
    file = DOCS / f"terminal-{name}.svg"
    if WRITE:
        DOCS.mkdir(exist_ok=True)
        file.write_text(asyncio.run(svg(state, key)), encoding="utf-8")
    kept = file.read_text(encoding="utf-8")
    assert words_of(kept) == words_of(asyncio.run(svg(state, key)))
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", kept)


def words_of(picture: str) -> list[str]:
    """What stands in a picture, line by line; its colours' names carry a number of their own."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


async def svg(state: str, key: str) -> str:
    """One screen as a picture, in the reader's own fixed font."""
    terminal = Still(picture(state), texts("vi", strict=True), Painter(marks=True, colour=True), Frozen())
    async with terminal.run_test(size=(80, 24)) as pilot:
        await pilot.press(key)
        terminal.clear_notifications()
        drawn_so_far = terminal.export_screenshot(title="edge tui")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn_so_far, flags=re.DOTALL)
