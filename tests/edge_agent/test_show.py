"""What the commands print: aligned in any language, readable without colour."""

from __future__ import annotations

import io
import sys

import pytest

from drivers.reading import quantities
from edge_agent.show import (
    colours,
    mark,
    meaning,
    origin,
    painted,
    quality_words,
    service_state,
    table,
    unit,
    width,
)
from edge_agent.text import LANGUAGES, texts
from edge_agent.tui.rows import in_ascii, paragraph, with_twins


def test_columns_are_aligned_with_vietnamese_marks() -> None:
    """A letter with its marks takes one column, composed or not."""
    lines = table(("ĐIỂM ĐO", "GIÁ TRỊ"), [("mực nước", "1"), ("a", "22")], right=(1,)).splitlines()
    assert {width(line) for line in lines} == {17}
    assert width("mực nước") == 8
    assert width("a\N{COMBINING ACUTE ACCENT}") == 1


def test_table_too_wide_for_the_terminal_loses_its_last_columns() -> None:
    """Lines are never wrapped."""
    cut = table(("A", "B", "C"), [("a" * 10, "b" * 10, "c" * 10)], most=25)
    assert cut.splitlines() == ["A           B", "aaaaaaaaaa  bbbbbbbbbb"]


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in files, not with NO_COLOR, not on a dumb terminal; the word is there in any case."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert painted("tốt", "good") == "tốt"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert painted("tốt", "good") == "\x1b[32mtốt\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours()


def test_marks_and_units_have_twins_for_poor_character_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ASCII terminal gets ASCII."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert [mark(state) for state in ("good", "uncertain", "bad")] == ["+", "!", "x"]
    assert unit("ug/m3") == "ug/m3"
    assert unit("kW.h") == "kWh"


def test_words_of_other_programs_are_told_in_the_language() -> None:
    """A Modbus address and a service's state have words of their own; what is not known stays as it is."""
    text = texts("vi")
    assert origin("line-1 unit 9 eastron-sdm630", text) == "line-1 địa chỉ 9 eastron-sdm630"
    assert origin("field/cnt-1", text) == "field/cnt-1"
    assert [service_state(state, text) for state in ("active", "failed", "maintenance")] == [
        "đang chạy",
        "lỗi",
        "maintenance",
    ]


def test_every_quantity_has_its_meaning_in_both_languages() -> None:
    """Of the whole naming table, also behind a point's tags."""
    for language in LANGUAGES:
        text = texts(language, strict=True)
        assert all(meaning(f"met-1.{name}", text) for name in quantities())
    assert meaning("met-1.weather.temp_c[place=1.5m]", texts("vi")) == "nhiệt độ không khí"


def test_numbers_do_not_break_at_their_own_space() -> None:
    """A line ends before a number or after it; without Vietnamese letters the space is an ordinary one."""
    number = texts("vi").number(1_036_800)
    assert [row.plain for row in paragraph(f"đã gửi {number} số liệu", 14)] == ["đã gửi", f"{number} số", "liệu"]
    assert (in_ascii(number), with_twins(number)) == ("1 036 800", "1 036 800")


def test_quality_is_said_once() -> None:
    """A reason stands beside the word only where there is one."""
    text = texts("vi")
    assert quality_words("good", "ok", text) == f"{mark('good')} tốt"
    assert quality_words("bad", "timeout", text).endswith(f" ({text('reason.timeout')})")


@pytest.mark.parametrize(("name", "shown"), [("met-1.we…er.temp_c", "met-1.we~er.temp_c"), ("đang hỏi…", "đang hỏi.")])
def test_name_without_its_middle_is_told_from_a_dotted_one(name: str, shown: str) -> None:
    """On terminals that lack the mark: a dot there would belong to the name."""
    assert with_twins(name) == shown
