"""docs/signalling.md and the messages say the same."""

import re
from pathlib import Path
from typing import get_args

import msgspec

from conference import messages, sdp, signalling

DOC = (Path(__file__).parents[2] / "docs" / "signalling.md").read_text()


def documented(heading: str) -> dict[str, set[str]]:
    """Kind -> keys, from the table under a heading."""
    part = DOC.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w\w+)` \|([^|]*)\|", part, flags=re.MULTILINE)
    return {kind: set(re.findall(r"`(\w+)`", keys)) for kind, keys in rows}


def declared(union: object) -> dict[str, set[str]]:
    kinds: tuple[type[msgspec.Struct], ...] = get_args(union)
    return {kind.__name__.lower(): set(kind.__struct_fields__) for kind in kinds}


def test_every_message_is_documented() -> None:
    """Both tables have exactly the kinds and keys of the types."""
    assert documented("Page to box") == declared(messages.FromPage)
    assert documented("Box to page") == declared(messages.ToPage)


def test_keys_of_parts_are_documented() -> None:
    """Persons and pictures too."""
    for part in (messages.Person, messages.Seen):
        for key in part.__struct_fields__:
            assert f"`{key}`" in DOC


def test_limits_are_the_ones_in_force() -> None:
    """The numbers in the text are those of the code."""
    for number in (messages.MAX_MESSAGE, sdp.MAX_SIZE):
        assert f"{number:,}" in DOC
    assert f"{messages.MESSAGES_PER_SECOND} messages a second ({messages.BURST} at once)" in DOC
    assert f"within {signalling.HELLO_TIME:.0f} seconds" in DOC
    assert f"Version {messages.VERSION}." in DOC
