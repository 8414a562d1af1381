"""What the terminal can show, decided before Textual is imported: full screen, thin, or plain lines; and why."""

from __future__ import annotations

import os
import re
import termios
from collections.abc import Mapping
from pathlib import Path

import msgspec

SERIAL = re.compile(r"/dev/tty(S|AMA|USB|GS|ACM)\d+$")
SLOW_BAUD = 38_400
LEAST_COLUMNS = 40
NO_CHARSET = {"", "C", "POSIX"}
FALLBACK = "C.UTF-8"
DUMB = re.compile(r"(dumb|unknown|vt\d+.*)?$")
SPEEDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if re.fullmatch(r"B\d+", name)}


class Terminal(msgspec.Struct, frozen=True):
    """How to show things here."""

    plain: bool
    """Lines instead of screens."""
    why: str = ""
    """Which sentence `tui.plain.<why>` tells the reason."""
    facts: dict[str, str | int] = {}
    letters: bool = True
    """False: the character set has no Vietnamese letters."""
    marks: bool = True
    """False: marks are shown by their ASCII twins."""
    colour: bool = True


def decide(environ: Mapping[str, str], tty: str, baud: int, columns: int) -> Terminal:
    """`tty`: the device; `baud`: its speed, 0 where it has none; `columns`: 0 where unknown."""
    term = environ.get("TERM", "")
    charset = charset_of(environ)
    letters = charset.upper().replace("-", "").startswith("UTF8")
    why, facts = _why_plain(term, tty, baud, columns, "" if letters else charset)
    return Terminal(
        plain=bool(why),
        why=why,
        facts=facts,
        letters=letters,
        marks=letters and term != "linux" and not DUMB.match(term),
        colour="NO_COLOR" not in environ and not DUMB.match(term),
    )


def _why_plain(term: str, tty: str, baud: int, columns: int, charset: str) -> tuple[str, dict[str, str | int]]:
    if not tty:
        return "no_terminal", {}
    if SERIAL.match(tty) and 0 < baud <= SLOW_BAUD:
        return "serial", {"tty": tty, "baud": baud}
    if DUMB.match(term):
        return "term", {"term": term or "–"}
    if charset:
        return "charset", {"charset": charset}
    if 0 < columns < LEAST_COLUMNS:
        return "narrow", {"columns": columns, "least": LEAST_COLUMNS}
    return "", {}


def locale_of(environ: Mapping[str, str]) -> str:
    """The locale that decides about letters (POSIX: LC_ALL, then LC_CTYPE, then LANG)."""
    return environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""


def charset_of(environ: Mapping[str, str]) -> str:
    """The character set that the user chose; UTF-8 where none was chosen."""
    said = locale_of(environ)
    if said in NO_CHARSET:
        return "UTF-8"
    # A locale without a charset (`vi_VN`) means UTF-8 for Vietnamese and Latin-1 for most others in glibc.
    _, dot, charset = said.partition(".")
    return charset.partition("@")[0] if dot else ("UTF-8" if said.startswith("vi") else "ISO-8859-1")


def mend_locale(environ: dict[str, str] | os._Environ[str]) -> None:
    """A locale that says nothing becomes C.UTF-8, before anything reads it."""
    if locale_of(environ) in NO_CHARSET:
        environ.pop("LC_ALL", None)
        environ["LC_CTYPE"] = FALLBACK
        environ["LANG"] = FALLBACK


def in_browser() -> bool:
    """True where textual-serve shows the screens in a browser: it asks for a driver of its own."""
    return os.environ.get("TEXTUAL_DRIVER", "").endswith("WebDriver")


def given_environ() -> Mapping[str, str]:
    """The environment as it was given to us: Python itself puts LC_CTYPE in for a locale that is not installed."""
    try:
        raw = Path("/proc/self/environ").read_bytes()
    except OSError:
        return os.environ
    pairs = (part.partition(b"=") for part in raw.split(b"\0") if part)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def this_terminal() -> tuple[str, int, int]:
    """Device, speed and columns of the terminal that we are on."""
    try:
        tty = os.ttyname(1)
        speed = termios.tcgetattr(1)[5]
        return tty, SPEEDS.get(speed, 0), os.get_terminal_size(1).columns
    except (OSError, termios.error):
        return "", 0, 0
