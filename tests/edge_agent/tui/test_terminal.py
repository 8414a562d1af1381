"""What a terminal can show is decided from its name, its line and its character set."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edge_agent.tui.terminal import decide, mend_locale

GOOD = {"TERM": "xterm-256color", "LANG": "vi_VN.UTF-8"}


@pytest.mark.parametrize(
    ("environ", "tty", "baud", "columns", "why"),
    [
        (GOOD, "/dev/pts/1", 38400, 80, ""),
        (GOOD, "/dev/pts/1", 9600, 40, ""),
        (GOOD, "/dev/ttyS0", 115200, 80, ""),
        (GOOD, "/dev/ttyAMA0", 38400, 80, "serial"),
        (GOOD, "/dev/ttyUSB1", 9600, 80, "serial"),
        (GOOD, "/dev/ttyGS0", 9600, 80, "serial"),
        ({"TERM": "vt100", "LANG": "C.UTF-8"}, "/dev/pts/1", 38400, 80, "term"),
        ({"TERM": "vt220"}, "/dev/pts/1", 38400, 80, "term"),
        ({"TERM": "dumb"}, "/dev/pts/1", 38400, 80, "term"),
        ({}, "/dev/pts/1", 38400, 80, "term"),
        ({"TERM": "xterm", "LANG": "en_US.ISO-8859-1"}, "/dev/pts/1", 0, 80, "charset"),
        ({"TERM": "xterm", "LC_ALL": "vi_VN.TCVN", "LANG": "vi_VN.UTF-8"}, "/dev/pts/1", 0, 80, "charset"),
        ({"TERM": "xterm", "LANG": "C"}, "/dev/pts/1", 0, 80, ""),
        ({"TERM": "xterm"}, "/dev/pts/1", 0, 80, ""),
        (GOOD, "/dev/pts/1", 0, 39, "narrow"),
        (GOOD, "", 0, 0, "no_terminal"),
    ],
)
def test_plain_mode_comes_by_itself(environ: dict[str, str], tty: str, baud: int, columns: int, why: str) -> None:
    """Slow serial lines, dumb terminals, other charsets and narrow windows get lines; a pty's speed says nothing."""
    terminal = decide(environ, tty, baud, columns)
    assert (terminal.plain, terminal.why) == (bool(why), why)


@pytest.mark.parametrize(
    ("environ", "lang"),
    [
        ({}, "C.UTF-8"),
        ({"LANG": "C"}, "C.UTF-8"),
        ({"LANG": "vi_VN.UTF-8", "LC_ALL": "POSIX"}, "C.UTF-8"),
        ({"LANG": "vi_VN.UTF-8"}, "vi_VN.UTF-8"),
    ],
)
def test_a_locale_that_says_nothing_becomes_utf8(environ: dict[str, str], lang: str) -> None:
    """Else every Vietnamese letter would become a question mark; a locale that was chosen stays."""
    mend_locale(environ)
    assert environ["LANG"] == lang
    assert "LC_ALL" not in environ


def test_colour_is_left_out_on_wish() -> None:
    """no-color.org: present means no, whatever it contains."""
    assert not decide({**GOOD, "NO_COLOR": ""}, "/dev/pts/1", 0, 80).colour
    assert decide(GOOD, "/dev/pts/1", 0, 80).colour


def test_terminal_stays_small() -> None:
    """Nothing that a screen needs brings in the configuration's checker or a server: each is 10 MB of a small box."""
    parts = ("tui.app", "point_now", "machine", "trial_now", "meeting_now")
    screens = ", ".join(f"edge_agent.{part}" for part in parts)
    heavy = {"pydantic", "aiohttp", "pymodbus", "paho", "aiortc", "yaml"}
    script = f"import sys, {screens}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
