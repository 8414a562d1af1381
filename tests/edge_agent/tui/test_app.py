"""The full-screen terminal, driven by keys: where they lead, and what the screen never does."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from textual.app import App
from textual.pilot import Pilot

from edge_agent import delivery
from edge_agent.board import PointNow
from edge_agent.show import width
from edge_agent.text import LANGUAGES, texts
from edge_agent.tui import start
from edge_agent.tui.app import Terminal
from edge_agent.tui.given import read
from edge_agent.tui.page import Painter
from edge_agent.tui.picture import Picture
from edge_agent.tui.rows import STATE_MARKS, STATE_STYLES, Place, Row, Span
from edge_agent.tui.runs import Run
from edge_agent.tui.shell import Moment
from edge_agent.tui.terminal import decide
from edge_agent.tui.views import modbus
from edge_agent.tui.views.frame import Frame, letters_of, told
from edge_agent.tui.views.screens import header, of
from tests.edge_agent.tui.pictures import Frozen, picture
from tests.edge_agent.tui.walking import text_of, walk

WARD = [
    PointNow("air-1.air.pm2_5_ugm3", 41.27, "ug/m3", "uncertain", "humid_pm", 12.0, "line-1/11"),
    PointNow("power-1.power.energy_import_kwh", 18_204.51, "kW.h", "good", "ok", 8_520.0, "meters/1"),
    PointNow("cnt-1.traffic.count[lane=1,dir=forward,class=motorcycle]", 1_036_800, "1", "bad", "stale", 90.0, "field"),
    PointNow("water-1.water.level_m", 1.839, "m", "uncertain", "gross_range", 119.0, "field edge/cl-02/water-1"),
]
"""The longest words of each column, as a real ward has them."""


def test_digits_lead_to_the_eight_screens() -> None:
    """Each digit shows its own screen, and Backspace leads back."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("4")
        assert "http://10.0.0.5:8086" in text_of(terminal)
        await pilot.press("2")
        assert "met-1.weather.temp_c" in text_of(terminal)
        await pilot.press("backspace")
        assert "http://10.0.0.5:8086" in text_of(terminal)

    walk("ok", steps)


def test_enter_goes_to_what_is_selected() -> None:
    """From the overview's sentence about the sink to the sink; from a point in the list to its page."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("2", "slash", *"rh_pct", "enter", "down", "enter")
        assert "line-1/5" in text_of(terminal)
        assert "temp_c" not in text_of(terminal)

    walk("ok", steps)


def test_enter_without_a_choice_takes_the_first_that_leads_somewhere() -> None:
    """On the overview that is the worst finding."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        known = terminal._picture.findings.value
        assert known is not None
        await pilot.press("enter")
        assert terminal._place.screen == known.findings[0].screen

    walk("fault", steps)


def test_finding_about_a_device_leads_to_its_own_registers() -> None:
    """Not to the first device of the bus: unit, function and first address of the one that does not answer."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        row = terminal._page.selected
        assert terminal._place.screen == "modbus"
        assert row is not None
        assert row.key == "read line-1 5 ir 1 1 --all-types"

    walk("fault", steps)


def test_selected_row_is_scrolled_into_sight() -> None:
    """Enter on a finding shows the row for it, also on a page that is longer than the terminal."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        known = terminal._picture.findings.value
        assert known is not None
        finding = msgspec.structs.replace(known.findings[0], screen="box", of="settings")
        terminal._picture.findings.value = msgspec.structs.replace(known, findings=[finding])
        terminal.draw()
        await pilot.press("down", "enter")
        await pilot.pause()
        assert terminal._page.selected is not None
        assert terminal._page.selected.key == "file"
        assert "/etc/edge-agent/agent.yaml" in text_of(terminal)

    walk("fault", steps, (80, 18))


def test_selected_row_that_comes_later_or_moves_down() -> None:
    """The cursor goes to its thing as soon as that has a row, and stays in sight when rows come above it."""
    later = [Row((Span("a"),), "first"), *[Row((Span(f"more {i}"),)) for i in range(40)], Row((Span("z"),), "wanted")]

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        page = terminal._page
        page.show(later[:1], select="wanted")
        assert page.selected
        assert page.selected.key == "first"
        page.show(later)
        assert page.cursor == len(later) - 1
        page.show([*later[:20], *later])
        assert "z" in text_of(terminal).splitlines()[page.size.height]
        await pilot.press("home")
        page.show([later[0], *later])
        assert text_of(terminal).splitlines()[1] == "a"

    walk("ok", steps)


@pytest.mark.parametrize(("of", "words"), [("bus", "line line-1"), ("points", "plan line-1")])
def test_finding_about_a_whole_bus_leads_to_the_tool_for_it(of: str, words: str) -> None:
    """The line doctor where the line is at fault, the plan where it has too much to do."""
    known = picture("fault")
    assert known.findings.value is not None
    finding = known.findings.value.findings[1]
    subject = "met-1" if of == "points" else "line-1"
    finding = msgspec.structs.replace(finding, of=of, item=subject, subject=subject, bus="line-1")
    assert modbus.item(known, finding) == words


def test_device_of_the_bench_is_asked_where_its_own_map_begins(tmp_path: Path) -> None:
    """An XY-MD02 has input registers from 1 on, an energy meter floats from 0: each is offered its own."""
    file = tmp_path / "agent.yaml"
    devices = (
        "{id: met-1, profile: xy-md02, unit: 9, every: 5s}, {id: power-1, profile: eastron-sdm630, unit: 1, every: 5s}"
    )
    bus = f'{{id: line-1, tcp: "127.0.0.1:1", devices: [{devices}]}}'
    file.write_text(f"site: cl-02\nstate: ./state\nbuses: [{bus}]\n", encoding="utf-8")
    met, power = read(file).buses[0].slaves
    assert (met.id, met.unit, met.space, met.first, met.count) == ("met-1", 9, "ir", 1, 1)
    assert (power.unit, power.space, power.first, power.count) == (1, "ir", 0, 2)
    file.write_text(file.read_text().replace("xy-md02", "renke-01f4-station"), encoding="utf-8")
    whole = read(file).buses[0].slaves[0]
    assert (whole.space, whole.first, whole.count) == ("hr", 500, 16), "it leaves a part of its block unanswered"


def test_visitor_in_a_browser_starts_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test on the network screen and no bundle: both are refused in a sentence."""
    monkeypatch.setenv("TEXTUAL_DRIVER", "textual.drivers.web_driver:WebDriver")
    monkeypatch.chdir(tmp_path)

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("5", "c", "b")
        await pilot.pause()
        assert {" ".join(notice.message.split()) for notice in terminal._notifications} == {texts("vi")("tui.visitor")}
        assert not any(run.running or run.lines for run in terminal._picture.runs.values())

    walk("ok", steps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("language", LANGUAGES)
def test_small_terminals_show_trend_and_source(columns: int, language: str) -> None:
    """Of every point: none of its columns is left out where words can be cut instead."""
    known = picture("ok")
    known.points.take(WARD, 100_000.0)
    known.trends.take({point.point: [float(minute % 7) for minute in range(60)] for point in WARD}, 100_000.0)
    moment = Frozen()
    frame = Frame(texts(language), columns, moment.now(), moment.wall(), Place("points"))
    lines = [row.plain for row in of(Place("points")).rows(known, frame)]
    shown = "\n".join(lines)
    assert max(map(width, lines)) <= columns
    assert shown.count("█") >= len(WARD)
    for point in WARD:
        assert point.source[:3] in shown
        assert point.source[-3:] in shown


def test_filter_leaves_only_what_fits() -> None:
    """Rows follow the typing; Esc drops the filter."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("2", "slash", *"water", "enter")
        assert "level_m" in text_of(terminal)
        assert "rh_pct" not in text_of(terminal)
        await pilot.press("escape")
        assert "rh_pct" in text_of(terminal)

    walk("ok", steps)


def test_paused_screen_holds_still() -> None:
    """`p`: it says so, and whatever comes is not shown until the next `p`."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("2", "p")
        before = text_of(terminal)
        assert texts("vi")("tui.paused") in before
        known = terminal._picture.points.value
        assert known is not None
        terminal._picture.points.take([msgspec.structs.replace(each, value=77.0) for each in known], 100_000.0)
        terminal._tick()
        await pilot.pause()
        assert text_of(terminal) == before
        await pilot.press("p")
        assert "77" in text_of(terminal)

    walk("ok", steps)


def test_language_changes_at_a_key() -> None:
    """`l` is the other language, on every line."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("l")
        assert "Everything is working." in text_of(terminal)
        assert "CHỈ XEM" not in text_of(terminal)

    walk("ok", steps)


def test_language_changes_for_errors_of_the_file_too() -> None:
    """What is wrong with the configuration was read in both languages."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        terminal._picture.problems = {"vi": ["agent.yaml:3: sai"], "en": ["agent.yaml:3: wrong"]}
        await pilot.press("l")
        assert "agent.yaml:3: wrong" in text_of(terminal)
        assert "sai" not in text_of(terminal)

    walk("ok", steps)


@pytest.mark.parametrize("said", [True, False], ids=["silent", "late"])
def test_silent_agent_makes_everything_old(*, said: bool) -> None:
    """No value and no state looks fresh on any of the eight screens once the agent stopped answering."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        if not said:
            terminal._picture.away = None
        for key in "12345678":
            await pilot.press(key)
            head, _, below = text_of(terminal).partition("\n")
            assert "MÀN HÌNH CŨ" in head
            assert ("không trả lời" if said else "MÀN HÌNH CŨ") in below
            shown = "\n".join(row.plain for row in terminal.rows())
            assert "●" not in shown
            assert "Thử lại sau" not in shown
            assert "cách đây 2 giây" not in shown
        shown = "\n".join(row.plain for row in terminal.rows())
        assert "◌ đã đồng bộ" in shown
        assert "◌ 58,4" in shown

    walk("error", steps, size=(100, 24))


def test_nothing_is_sent_more_often_than_once_a_second(tmp_path: Path) -> None:
    """Also where asking takes no time: here nobody answers."""

    class Counting(Terminal):
        draws = 0

        def draw(self, select: str = "") -> None:
            self.draws += 1
            super().draw(select)

    async def watch() -> int:
        """Pictures of two seconds: of the answer and of the ages, which may fall together or not."""
        nobody = Picture(tmp_path / "control.sock", tmp_path / "agent.yaml")
        painter, moment = Painter(marks=True, colour=True), Moment("Asia/Ho_Chi_Minh")
        terminal = Counting(nobody, texts("vi"), painter, moment)
        async with terminal.run_test() as pilot:
            await pilot.pause()
            before = terminal.draws
            await pilot.pause(2.2)
            return terminal.draws - before

    assert 1 <= asyncio.run(watch()) <= 5


@pytest.mark.parametrize(("thin", "colours"), [(False, "256"), (True, "standard")])
def test_colours_and_marks_of_a_thin_terminal(thin: bool, colours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 colours at most; `--thin` leaves sixteen, and letters of ASCII for the marks."""
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "full")
    monkeypatch.setenv("TEXTUAL_COLOR_SYSTEM", "auto")
    monkeypatch.delenv("TEXTUAL_COLOR_SYSTEM")
    start._prepare(thin=thin)
    assert os.environ["TEXTUAL_COLOR_SYSTEM"] == colours
    known = decide({"TERM": "xterm", "LANG": "C.UTF-8"}, "/dev/pts/1", 0, 80)
    assert start._painter(known, thin=thin).marks is not thin


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_lines_of_a_command_are_broken_once(columns: int) -> None:
    """The command fills its lines, and the page shows each as it came."""
    frame = Frame(texts("vi"), columns, 0.0, Frozen().wall(), Place("network"))
    run = Run()
    run.words, run.at = ("net",), 0.0
    run.lines.append(f"      {'x' * (letters_of(columns) - 8)} y")
    assert told(run, frame)[-1].plain.strip().startswith("xx")


def test_crash_is_told_by_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What started the terminal must not take a traceback for a technician who left."""

    def broken(_: Terminal) -> list[Row]:
        raise ZeroDivisionError

    monkeypatch.setattr(Terminal, "rows", broken)
    monkeypatch.setattr(Terminal, "run", lambda self, mouse: App.run(self, headless=True))
    assert start._full(picture("ok"), texts("vi"), Painter(marks=True, colour=True), "Asia/Ho_Chi_Minh", "") == 1


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", delivery.STATES)
def test_every_state_of_a_sink_has_shape_and_word(state: str, language: str) -> None:
    """Whatever the delivery calls its sink, no screen stumbles over it and none leaves it without a mark."""
    known = picture("fault")
    assert known.status.value
    known.status.value.sinks[0] = msgspec.structs.replace(known.status.value.sinks[0], state=state)
    moment = Frozen()
    frame = Frame(text=texts(language, strict=True), columns=80, now=moment.now(), wall=moment.wall())
    assert header(known, frame).plain
    for screen in ("overview", "uplink"):
        shown = "\n".join(row.plain for row in of(Place(screen)).rows(known, frame))
        assert STATE_MARKS[state] in shown
        assert STATE_STYLES[state]


def test_quitting_says_that_the_box_goes_on(tmp_path: Path) -> None:
    """`q` leaves at once."""

    async def steps(terminal: Terminal, pilot: Pilot[None]) -> None:
        await pilot.press("q")
        assert not terminal.is_running

    walk("ok", steps)
