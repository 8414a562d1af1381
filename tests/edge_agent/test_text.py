"""Sentences, numbers, durations and sizes in Vietnamese and English."""

from __future__ import annotations

import pytest

from edge_agent.text import Text, texts

VI, EN = texts("vi", strict=True), texts("en", strict=True)


def test_sentence_with_facts() -> None:
    """A sentence has its facts as its language writes them."""
    facts = {"device": "met-1", "bus": "line-1", "unit": 5, "ago": 34 * 60, "next": 60}
    vi = "met-1: không trả lời đã 34 phút (đường bus line-1, địa chỉ 5)."
    assert VI("trouble.device_silent", **facts).startswith(vi)
    assert EN("trouble.device_silent", **facts).startswith("met-1: no answer for 34 minutes (bus line-1, unit 5).")


def test_counts_and_names() -> None:
    """A count is grouped, a number that is only a name (a port, a line) is not."""
    facts = {"sink": "centre", "where": "10.1.0.10:8086", "error": "refused", "waiting": 14400}
    assert "14\u00a0400 số liệu" in VI("trouble.sink_unreachable", **facts)
    assert "14,400 readings" in EN("trouble.sink_unreachable", **facts)
    assert "dòng 12345" in VI("config.id_twice", value="a", first_line=12345)


@pytest.mark.parametrize(
    ("value", "digits", "vi", "en"),
    [
        (1234.5, None, "1\u00a0234,5", "1,234.5"),
        (1234.5, 2, "1\u00a0234,50", "1,234.50"),
        (-0.125, None, "-0,125", "-0.125"),
        (3, None, "3", "3"),
        (12_000_000, None, "12\u00a0000\u00a0000", "12,000,000"),
        (230.1, 0, "230", "230"),
    ],
)
def test_number(value: float, digits: int | None, vi: str, en: str) -> None:
    """Vietnamese groups with a blank and has a decimal comma."""
    assert (VI.number(value, digits), EN.number(value, digits)) == (vi, en)


@pytest.mark.parametrize(
    ("seconds", "vi", "en"),
    [
        (0, "0 giây", "0 seconds"),
        (1.2, "1 giây", "1 second"),
        (119, "119 giây", "119 seconds"),
        (34 * 60 + 5, "34 phút", "34 minutes"),
        (2 * 3600 + 5 * 60, "2 giờ 5 phút", "2 hours 5 minutes"),
        (3600, "1 giờ", "1 hour"),
        (3 * 86400, "3 ngày", "3 days"),
        (86400 + 7200, "1 ngày 2 giờ", "1 day 2 hours"),
        (-3, "0 giây", "0 seconds"),
    ],
)
def test_duration(seconds: float, vi: str, en: str) -> None:
    """A duration is said in words, to two units at most."""
    assert (VI.duration(seconds), EN.duration(seconds)) == (vi, en)


def test_size() -> None:
    """A size has three figures and a unit of 1024."""
    assert [VI.size(n) for n in (0, 999, 1536, 64 << 20, 2 << 30)] == ["0 B", "999 B", "1,5 KiB", "64,0 MiB", "2,0 GiB"]


def test_missing_sentence_and_missing_fact() -> None:
    """In the field a gap in the texts is visible but harmless; in tests it raises."""
    lax = Text("vi", {"a": "có {n:number} việc"})
    assert lax("nothing.here", n=3) == "nothing.here n=3"
    assert lax("a") == "có … việc"
    with pytest.raises(KeyError):
        VI("nothing.here")
    with pytest.raises(KeyError):
        VI("config.id_twice", value="a")
