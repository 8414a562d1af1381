"""`edge tui` on a real terminal of a chosen size: a tmux server of its own, read with capture-pane."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


class Screen:
    """The terminal in a folder with an `agent.yaml`; `environ` and `words` come before and after `edge tui`."""

    def __init__(
        self, folder: Path, *words: str, columns: int = 80, lines: int = 24, environ: str = "LANG=C.UTF-8"
    ) -> None:
        """Start it."""
        self._tmux = ["tmux", "-S", str(folder / "tmux.sock"), "-f", "/dev/null"]
        more = " ".join(words)
        command = f"{environ} {sys.executable} -m edge_agent tui -c {folder}/agent.yaml {more}; sleep 60"
        size = ["-x", str(columns), "-y", str(lines)]
        # Without set-clipboard tmux would not take what the terminal is asked to copy (tmux(1), OSC 52).
        first = ["set", "-g", "set-clipboard", "on", ";"]
        subprocess.run(
            [*self._tmux, "start-server", ";", *first, "new-session", "-d", *size, "-c", str(folder), command],
            check=True,
        )

    def _said(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=False).stdout

    def lines(self) -> list[str]:
        """What stands on the screen, line by line."""
        return self._said("capture-pane", "-p").splitlines()

    def shown(self) -> str:
        """The same without line breaks."""
        return " ".join(self._said("capture-pane", "-p").split())

    def selected(self) -> str:
        """The rows that stand in reverse."""
        return " ".join(in_reverse(self._said("capture-pane", "-p", "-e")))

    def copied(self) -> str:
        """What the terminal was asked to copy last."""
        return self._said("show-buffer")

    def press(self, *keys: str) -> None:
        """Keys, by tmux's names for them."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def type(self, words: str) -> None:
        """Letters as they are."""
        subprocess.run([*self._tmux, "send-keys", "-l", words], check=True)

    def close(self) -> None:
        """End its own server."""
        subprocess.run([*self._tmux, "kill-server"], check=False)


def in_reverse(shown: str) -> list[str]:
    """The rows of which something stands in reverse; tmux says only what changes, from line to line as well."""
    rows, on = [], False
    for line in shown.splitlines():
        any_of_it = on and not line.startswith("\x1b[")
        for codes, words in re.findall(r"((?:\x1b\[[0-9;]*m)+)([^\x1b]*)", line):
            for code in re.findall(r"[0-9]+", codes) or ["0"]:
                on = code == "7" or (on and code not in ("0", "27"))
            any_of_it = any_of_it or (on and bool(words))
        if any_of_it:
            rows.append(re.sub(r"\x1b\[[0-9;]*m", "", line))
    return rows
