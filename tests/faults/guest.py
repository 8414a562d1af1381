"""What runs in the virtual machine: `python -m tests.faults.guest FOLDER ACKNOWLEDGED MORE [PRAGMA …]`.

Says what of the commits 1 to ACKNOWLEDGED the last power cut left, as JSON, then writes so many MORE as `writer` does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from tests.faults import writer
from tests.faults.survived import survived


def main(folder: Path, acknowledged: int, more: int, pragmas: list[str]) -> None:
    """Look, then write."""
    found = survived(folder, acknowledged)
    os.write(1, msgspec.json.encode(found) + b"\n")
    writer.main(folder / "journal.db", found.last + more, pragmas, found.last + 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
