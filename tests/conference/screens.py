"""Pictures of every screen, both languages at three sizes, on sheets that can be looked at: docs/screens/.

    python -m tests.conference.screens [FOLDER]

The pictures are those that `test_screens.py` takes while it checks them; a sheet shows one size and one language.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conference.browser import chromium
from tests.conference.test_screens import SIZES

NAMES = (
    *("home", "waiting", "check", "meeting", "people", "sound", "leave", "lost", "removed", "end"),
    *("code", "denied", "busy", "shared", "sharing", "insecure"),
)
WIDTH = {"phone": 240, "laptop": 480, "wall": 480}
"""Pixels of one picture on its sheet."""
STYLE = "body{margin:8px;display:flex;flex-wrap:wrap;gap:8px;background:#888;font:14px sans-serif}figure{margin:0}"


def take(folder: Path) -> None:
    """Run the test that walks through the screens and keeps what it sees."""
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conference/test_screens.py", "-k", "well_made"]
    subprocess.run([sys.executable, *words], check=True, env={**os.environ, "EDGE_SCREENSHOTS": str(folder)})


async def lay_out(folder: Path, out: Path) -> None:
    """One sheet for each language and size."""
    async with chromium("--allow-file-access-from-files") as browser:
        page = await browser.new_page(viewport={"width": 5 * 488 + 16, "height": 400})
        for language in ("vi", "en"):
            for size in SIZES:
                shown = [
                    f"<figure><img width={WIDTH[size]} src='{name}-{language}-{size}.png'><br>{name}</figure>"
                    for name in NAMES
                ]
                sheet = folder / "sheet.html"
                sheet.write_text(f"<meta charset=utf-8><style>{STYLE}</style>{''.join(shown)}", encoding="utf-8")
                await page.goto(sheet.as_uri())
                await page.screenshot(path=out / f"{language}-{size}.png", full_page=True)


def main() -> None:
    """Take them and lay them out."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screens")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        take(Path(folder))
        asyncio.run(lay_out(Path(folder), out))


if __name__ == "__main__":
    main()
