"""What the documents name exists: paths, links, make targets, commands, options. And no file names a machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("drivers", "conference", "edge_agent", "config", "systemd", "tests", "bench", "docs", "tools")
COMMAND_TIMEOUT = 30


class Said(msgspec.Struct, frozen=True):
    """A piece of code in a document: a backticked word or a line of a fenced block."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def _documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "systemd").rglob("*.md")])


def code(text: str, file: str = "") -> Iterator[Said]:
    """Every backticked word and every line of a fenced block, without its comment."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            yield Said(file, number, re.sub(r"(^|\s)#.*", "", line).strip())
        else:
            yield from (Said(file, number, word) for word in re.findall(r"`([^`]+)`", line))


@cache
def _all_code() -> tuple[Said, ...]:
    return tuple(
        said for file in _documents() for said in code(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)))
    )


def paths(text: str) -> list[str]:
    """The paths of this project that a piece of code names; `<model>` stands for any."""
    words = [re.sub(r"<[^>]*>", "*", word).rstrip(".,:;") for word in text.split()]
    return [word for word in words if word.startswith(tuple(f"{folder}/" for folder in FOLDERS))]


def targets(text: str) -> list[str]:
    """The make targets that a piece of code calls."""
    return re.findall(r"[a-z]+", found[1]) if (found := re.search(r"(?:^|\s)make((?: [a-z]+)+)$", text)) else []


def commands(text: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(command words, options) of each call of `edge` in a piece of code."""
    if found := re.match(r"(?:sudo )?(?:\S*/)?edge((?: \S+)+)$", text):
        words = found[1].split()
        first = next((at for at, word in enumerate(words) if not re.fullmatch(r"[a-z]+", word)), len(words))
        yield tuple(words[:first]), tuple(word for word in words[first:] if re.fullmatch(r"--?[a-z][a-z-]*", word))


@cache
def _help(words: tuple[str, ...]) -> tuple[int, str]:
    line = [sys.executable, "-m", "edge_agent", *words, "--help"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, cwd=ROOT, check=False)
    return done.returncode, done.stdout + done.stderr


def test_paths_in_documents() -> None:
    """A file or folder that a document names is there."""
    named = [(said, path) for said in _all_code() for path in paths(said.text)]
    assert len(named) > 10, "the documents name some paths, or the search for them is broken"
    assert [str(said) for said, path in named if not any(ROOT.glob(path.rstrip("/")))] == []


def test_make_targets_in_documents() -> None:
    """`make X` in a document is a target of the Makefile."""
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = [(said, target) for said in _all_code() for target in targets(said.text)]
    assert {"demo", "test", "check"} <= {target for _, target in called}
    assert [str(said) for said, target in called if target not in known] == []


def test_commands_in_documents() -> None:
    """`edge X --option` in a document is a command, and has that option."""
    called = [(said, *call) for said in _all_code() for call in commands(said.text)]
    assert called, "the documents name some commands, or the search for them is broken"
    wrong = [str(said) for said, words, _ in called if _help(words)[0] != 0]
    wrong += [
        f"{said} ({option})" for said, words, options in called for option in options if option not in _help(words)[1]
    ]
    assert wrong == []


def _links(file: Path) -> Iterator[tuple[str, str]]:
    for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield path, anchor


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", _documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_links_of_a_document(file: Path) -> None:
    """Every link within the project leads somewhere, and so does its anchor."""
    for path, anchor in _links(file):
        target = file.parent / path if path else file
        assert target.exists(), f"{file.name}: {path}"
        assert not anchor or anchor in _anchors(target), f"{file.name}: {path}#{anchor}"


def test_changelog() -> None:
    """The changelog has a section for what is not released yet."""
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_trouble_is_explained() -> None:
    """Each trouble that `edge status` can name has its section in docs/operations.md, and no section is left over."""
    sentences = json.loads((ROOT / "edge_agent/text/en.json").read_text(encoding="utf-8"))
    troubles = {key.removeprefix("trouble.") for key in sentences if key.startswith("trouble.")}
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### .*\((.*)\)$", operations, re.MULTILINE)
    explained = {name for heading in headings for name in re.findall(r"`(\w+)`", heading)}
    assert (troubles - explained, explained - troubles) == (set(), set())


# Written apart, so that this file does not name them either.
MACHINE = re.compile(r"(?<![\w.*])/(?:work|root|home/\w+)/")
REGISTRY = re.compile(
    r"pypi\.(?:org|python)|pythonhosted\.|registry\.(?:npmjs|yarnpkg)\.|(?:deb|security)\.debian\.org|piwheels\."
)


def _tracked() -> list[Path]:
    """Files of the repository, those not yet added included."""
    line = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout: {error}")
    return [file for name in done.stdout.split("\0") if name and (file := ROOT / name).is_file()]


def machine_words(text: str) -> list[str]:
    """Paths of somebody's machine and hosts of package registries in a text."""
    return [*MACHINE.findall(text), *REGISTRY.findall(text)]


def test_no_file_names_a_machine_or_a_registry() -> None:
    """What is in the repository works anywhere; only uv.lock says where packages come from, as it must."""
    texts = {file: file.read_bytes().decode("utf-8", "ignore") for file in _tracked() if file.name != "uv.lock"}
    assert {str(file.relative_to(ROOT)): words for file, text in texts.items() if (words := machine_words(text))} == {}


def test_the_readers_of_documents() -> None:
    """The searches of this file find what they are for."""
    assert [said.text for said in code("a `b c`\n```sh\nmake x  # why\n```\n`d`")] == ["b c", "make x", "d"]
    assert paths("cat drivers/devices/<model>.yaml docs/a.md. /etc/drivers/x") == [
        "drivers/devices/*.yaml",
        "docs/a.md",
    ]
    assert targets("DEMO_SECONDS=30 make demo") == ["demo"]
    assert list(commands(".venv/bin/edge journal stat -c FILE --json")) == [(("journal", "stat"), ("-c", "--json"))]
    assert list(commands("edge-agent.service")) == []
    assert machine_words("see /" + "root/x and pypi" + ".org, not docs/root/x") != []
